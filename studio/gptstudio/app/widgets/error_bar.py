"""What went wrong with the run, until it is mended: it stays, where news only pass."""

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from gptcore.status import Status
from gptcore.text import steady
from gptstudio.app.words import failure_lines


class ErrorBar(Static):
    """The failure of the chosen run and its remedy; not there while all is well."""

    DEFAULT_CSS = """
    ErrorBar {
        height: auto; max-height: 9; padding: 0 1; display: none;
        &.-there { display: block; }
        background: $error-muted; color: $foreground; border-left: outer $error;
    }
    .-short ErrorBar { max-height: 4; }
    .-ascii ErrorBar { border-left: ascii $error; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._said: list[tuple[str, str]] = []

    def show(self, status: Status | None, last_words: Sequence[str], *, may_resume: bool) -> None:
        """Say why the run failed, if it did.

        Args:
            status: Of the run.
            last_words: What its processes printed last; raw.
            may_resume: Whether the screen has the key for that.
        """
        said: list[tuple[str, str]] = [*failure_lines(status)] if status else []
        if said:  # what matters most comes first: a low screen shows no more
            said.sort(key=lambda line: line[0] == "where")
            said.insert(1, ("keys", "R resume   4 its log" if may_resume else "4 its log"))
            said += [("log", steady(line)) for line in last_words]
        if said == self._said:
            return
        self._said = said
        self.set_class(bool(said), "-there")
        if said:
            self.update(Content("\n").join(_line(kind, text) for kind, text in said))


def _line(kind: str, text: str) -> Content:
    if kind == "what":
        return Content.assemble(("✗ ", "$text-error bold"), (text, "bold"))
    if kind == "keys":
        return Content.styled(text, "$text-accent")
    label = {"where": "where: ", "fix": "to do: ", "log": "| "}[kind]
    return Content.assemble((label, "$muted"), text)
