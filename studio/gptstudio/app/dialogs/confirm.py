"""Questions before something that hurts: yes or no, or the name of the run typed out."""

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from gptcore.text import steady
from gptstudio.app.dialogs.base import Dialog, text
from gptstudio.app.keys import bindings


class Confirm(Dialog[bool]):
    """A question with the cursor on no; enter never says yes.

    Args:
        question: Harmless.
        consequence: What will be so afterwards.
    """

    BINDINGS = bindings("answer")

    def __init__(self, question: str, consequence: str) -> None:
        super().__init__(question, "y yes   n no", urgent=True)
        self._consequence = consequence

    def content(self) -> list[Widget]:
        """The consequence, and the two answers."""
        answers = Content.assemble("    yes (y)      ", ("> no (n) ", "reverse"))
        return [text(self._consequence), text(""), text(answers)]

    def action_yes(self) -> None:
        """Do it."""
        self.dismiss(True)


class TypeName(Dialog[bool]):
    """A question that is answered by typing a name out.

    Args:
        question: Harmless.
        consequence: What will be so afterwards.
        name: What is to be typed.
    """

    def __init__(self, question: str, consequence: str, name: str) -> None:
        super().__init__(question, "enter when typed   esc cancel", urgent=True)
        self._consequence = consequence
        self._wanted = name

    def content(self) -> list[Widget]:
        """The consequence, and the line to type in."""
        return [
            text(self._consequence),
            text(Content.assemble("type ", (steady(self._wanted), "bold"), " to go on:")),
            Input(compact=True),
            Static("", id="mismatch", markup=False),
        ]

    @on(Input.Submitted)
    def _compare(self, event: Input.Submitted) -> None:
        if event.value.strip() == self._wanted:
            self.dismiss(True)
        else:
            self.query_one("#mismatch", Static).update("that is not its name; esc leaves it be")
