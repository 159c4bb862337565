"""What went wrong with the run, until it is mended: it stays, where news only pass."""

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from gptcore.status import Status
from gptcore.text import clean
from gptstudio.app.words import failure_lines


class ErrorBar(Static):
    """The failure of the chosen run and its remedy; not there while all is well."""

    DEFAULT_CSS = """
    ErrorBar {
        height: auto; max-height: 9; padding: 0 1; display: none;
        background: $error-muted; color: $foreground; border-left: outer $error;
    }
    .-ascii ErrorBar { border-left: ascii $error; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._said: list[tuple[str, str]] = []

    def show(self, status: Status | None, last_words: Sequence[str]) -> None:
        """Say why the run failed, if it did.

        Args:
            status: Of the run.
            last_words: What its processes printed last; raw.
        """
        said: list[tuple[str, str]] = [*failure_lines(status)] if status else []
        if said:
            said[1:1] = [("log", clean(line)) for line in last_words]
        if said == self._said:
            return
        self._said = said
        self.display = bool(said)
        if said:
            self.update(Content("\n").join([_line(kind, text) for kind, text in said] + [_KEYS]))


_KEYS = Content.assemble(("R", "bold"), " resume   ", ("4", "bold"), " its log")


def _line(kind: str, text: str) -> Content:
    if kind == "what":
        return Content.assemble(("✗ ", "$text-error bold"), (text, "bold"))
    label = {"where": "where: ", "fix": "to do: ", "log": "| "}[kind]
    return Content.assemble((label, "$muted"), text)
