"""The lines that every screen has: the tabs above, the status of the run below."""

from collections.abc import Sequence

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
        place = self._workspace if len(self._workspace) <= room else self._workspace[-room:]
        if room < 8:
            return left
        return Content.assemble(left.pad_right(room + 2 - len(place)), (place, "$muted"))


class StatusBar(Static):
    """Run, stage, step, loss, speed, time left, memory, heartbeat: always there."""

    DEFAULT_CSS = "StatusBar { height: 1; background: $panel; padding: 0 1; }"

    def __init__(self, *, readonly: bool) -> None:
        super().__init__(markup=False)
        self._readonly = readonly
        self._status: Status | None = None
        self._line = Content("")

    def show(self, status: Status | None) -> None:
        """Say how the run stands; draws only where that has changed."""
        self._status = status
        line = status_line(status, self.size.width, readonly=self._readonly)
        if line != self._line:
            self._line = line
            self.refresh()

    def on_resize(self) -> None:
        """Another width, another choice of words."""
        self.show(self._status)

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

    def render(self) -> Content:
        """The line."""
        return Content("   ").join(
            Content.assemble((label(key), "$text-accent bold"), f" {key.title}")
            for key in self._keys
        )


class PaneBar(Static):
    """The panes of a screen that shows one at a time, and how to get to the others."""

    DEFAULT_CSS = "PaneBar { height: 1; padding: 0 1; color: $text-muted; }"

    def show(self, titles: Sequence[str], current: int) -> None:
        """Name the panes, the one that is shown marked."""
        names = [
            Content.styled(f"[{title}]", "bold $foreground")
            if number == current
            else Content(f" {title} ")
            for number, title in enumerate(titles)
        ]
        hint = Content.styled("  tab: next", "$muted")
        self.update(fitted([(0, Content("").join(names)), (1, hint)], self.size.width or 78, ""))
