"""The log of the chosen run: the file itself, whatever its size."""

from collections.abc import Iterator
from pathlib import Path

from textual import on
from textual.widget import Widget

from gptstudio.app.feeds import Source
from gptstudio.app.keys import bindings
from gptstudio.app.screens.run import RunScreen
from gptstudio.app.widgets.file_view import FileView
from gptstudio.app.widgets.pane import Pane


class LogsScreen(RunScreen):
    """One pane: the file."""

    MODE = "logs"
    SCOPES = (
        "logs",
        "run",
    )
    BINDINGS = bindings(*SCOPES)

    def __init__(self) -> None:
        super().__init__()
        self._log: Path | None = Path()  # none that there is

    def body(self) -> Iterator[Widget]:
        """The file."""
        self._view = FileView(id="file")
        yield Pane(self._view, title="Log", target=self._view, id="file-pane")

    def hear(self, source: Source) -> None:
        """Another run was chosen: another file."""
        if source != "runs":
            return
        chosen = self.studio.state.chosen
        log = self.studio.workspace.run(chosen).log if chosen else None
        if log != self._log:
            self._log = log
            empty = "No run yet: its log will stand here.\n1 then s starts one."
            self._view.show(log, follow=True, mode="log", empty=empty)
            self._say_where()

    @on(FileView.Changed)
    def _say_where(self) -> None:
        path = self._view.path
        name = self.studio.workspace.relative(path) if path else ""
        view = self._view
        words = (name, view.position, view.busy)
        self.query_one(Pane).say("  ".join(word for word in words if word))

    def action_toggle_follow(self) -> None:
        """Stay at the end as the file grows, or where one is."""
        self._view.action_toggle_follow()

    def action_toggle_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self._view.action_toggle_wrap()

    def action_cycle_level(self) -> None:
        """All lines, warnings, errors."""
        self._view.action_cycle_level()
