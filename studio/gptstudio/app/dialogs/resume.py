"""Before an ended run goes on: what may be changed, filled in with the remedy of its failure."""

import shlex

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from gptcore.status import Status
from gptcore.text import steady
from gptstudio.app.dialogs.base import Dialog, text
from gptstudio.app.words import failure_lines
from gptstudio.changes import change_named


class Resume(Dialog[list[str]]):
    """Asks for settings to change, none being fine; answers with them.

    Args:
        status: Of the run.
    """

    def __init__(self, status: Status) -> None:
        super().__init__(f"Resume {steady(status.run)}", "enter resume   esc cancel")
        self._status = status

    def content(self) -> list[Widget]:
        """How it ended, and the line for settings."""
        status = self._status
        step = f" at step {status.step:,}" if status.step else ""
        said = [line for _, line in failure_lines(status)] or [f"It was {status.state}{step}."]
        change = change_named(status.error.fix) if status.error else ""
        return [
            text("\n".join(said)),
            text("It goes on from its last checkpoint."),
            text(Content.styled("settings to change (section.key=value), or none:", "$muted")),
            Input(value=change, placeholder="pretrain.lr=3e-4", compact=True),
            Static("", id="mistake", markup=False),
        ]

    @on(Input.Submitted)
    def _read(self, event: Input.Submitted) -> None:
        try:
            settings = shlex.split(event.value)
        except ValueError as error:
            self._say(str(error))
            return
        if wrong := [word for word in settings if "=" not in word]:
            self._say(f"{wrong[0]} is not of the form section.key=value")
        elif unfilled := [word for word in settings if word.endswith("=...")]:
            self._say(f"put a value for the dots of {unfilled[0]}")
        else:
            self.dismiss(settings)

    def _say(self, mistake: str) -> None:
        self.query_one("#mistake", Static).update(steady(mistake))
