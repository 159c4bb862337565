"""The lines that every screen has: the tabs above, the status of the run below."""

from collections.abc import Sequence

from rich.cells import cell_len
from textual.content import Content
from textual.widgets import Static

from gptcore.status import Status
from gptstudio.app.keys import Key, label
from gptstudio.app.words import fitted, status_line

#: Name of a screen's mode, and its title, in the order of their keys.
SCREENS: tuple[tuple[str, str], ...] = (
    ("train", "Train"),
    ("data", "Data"),
    ("monitor", "Monitor"),
    ("logs", "Logs"),
    ("chat", "Chat"),
)


class TabBar(Static):
    """The screens by number, the workspace, and whether the studio only looks on.

    Args:
        current: Mode of the screen that it stands on.
        workspace: Path of the workspace, harmless.
        readonly: Whether it only looks on.
    """

    DEFAULT_CSS = "TabBar { height: 1; background: $panel; color: $foreground; padding: 0 1; }"

    def __init__(self, current: str, workspace: str, *, readonly: bool) -> None:
        super().__init__(markup=False)
        self._current = current
        self._workspace = workspace
        self._readonly = readonly

    def render(self) -> Content:
        """The line."""
        tabs = [
            Content.styled(f" {number} {title} ", "reverse bold" if name == self._current else "")
            for number, (name, title) in enumerate(SCREENS, 1)
        ]
        parts = [(0, Content("").join(tabs))]
        if self._readonly:
            parts.append((1, Content.styled("READ-ONLY", "$text-warning bold")))
        left = fitted(parts, self.size.width)
        room = self.size.width - left.cell_length - 2
        if room < 8:
            return left
        place = _end_of(self._workspace, room)
        gap = self.size.width - left.cell_length - cell_len(place)
        return Content.assemble(left, " " * gap, (place, "$muted"))


def _end_of(text: str, width: int) -> str:
    """`text`, or of a longer one its end, in at most `width` cells."""
    if cell_len(text) <= width:
        return text
    while cell_len(text) > width - 1:
        text = text[1:]
    return f"…{text}"


class StatusBar(Static):
    """Run, stage, step, loss or reward, speed, time left, memory, heartbeat: always there."""

    DEFAULT_CSS = "StatusBar { height: 1; background: $panel; padding: 0 1; }"

    def __init__(self, *, readonly: bool) -> None:
        super().__init__(markup=False)
        self._readonly = readonly
        self._status: Status | None = None
        self._stale = 0.0
        self._line = Content("")

    def show(self, status: Status | None, stale: float) -> None:
        """Say how the run stands; draws only where that has changed.

        Args:
            status: Of the run; None: there is none.
            stale: Seconds for which the runs could not be looked at; 0: they can.
        """
        self._status, self._stale = status, stale
        line = status_line(status, self.size.width, readonly=self._readonly, stale=stale)
        if line != self._line:
            self._line = line
            self.refresh()

    def on_resize(self) -> None:
        """Another width, another choice of words."""
        self.show(self._status, self._stale)

    def render(self) -> Content:
        """The line."""
        return self._line


class HintBar(Static):
    """The keys that matter most here.

    Args:
        keys: In their order.
    """

    DEFAULT_CSS = "HintBar { height: 1; padding: 0 1; }"

    def __init__(self, keys: Sequence[Key]) -> None:
        super().__init__(markup=False)
        self._keys = keys
        self._shown: list[Key] = []

    def show(self, status: Status | None, *, readonly: bool) -> None:
        """Name the keys that do something now."""
        state = status.state if status else ""
        keys = [
            key
            for key in self._keys
            if (not key.states or state in key.states) and not (readonly and key.changes)
        ]
        if keys != self._shown:
            self._shown = keys
            self.refresh()

    def render(self) -> Content:
        """The line."""
        return Content("   ").join(
            Content.assemble((label(key), "$text-accent bold"), f" {key.title}")
            for key in self._shown
        )


class PaneBar(Static):
    """The panes of a screen that shows one at a time, and how to get to the others."""

    DEFAULT_CSS = """
    PaneBar { height: 1; padding: 0 1; color: $text-muted; display: none; }
    PaneBar.-there { display: block; }
    """

    def show(self, titles: Sequence[str], current: int) -> None:
        """Name the panes, the one that is shown marked."""
        names = [
            Content.styled(f"[{title}]", "bold $foreground")
            if number == current
            else Content(f" {title} ")
            for number, title in enumerate(titles)
        ]
        hint = Content.styled("  tab: next", "$muted")
        width = self.screen.size.width - 2
        line = Content("").join(names)
        if line.cell_length > width:
            line = Content.assemble(names[current], f" {current + 1} of {len(titles)}")
        self.update(fitted([(0, line), (1, hint)], width, ""))
