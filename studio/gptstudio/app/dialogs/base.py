"""A dialog: a framed box over the screen, with its hints in it."""

from typing import TypeVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from gptstudio.app.keys import bindings
from gptstudio.app.screens.base import SMALLEST

Result = TypeVar("Result")

#: Cells of a dialog with its frame, where the screen has them.
WIDTH = 76


class Dialog(ModalScreen[Result | None], inherit_bindings=False):
    """A box; subclasses give its title, content and hints.

    Args:
        title: In the frame; outside text is fine once cleaned.
        hints: The keys that matter, at the bottom of the frame.
        urgent: Whether it is about something that hurts.
    """

    BINDINGS = bindings("dialog")
    DEFAULT_CSS = """
    Dialog { align: center middle; background: $background 60%; }
    Dialog > Vertical {
        width: 76; max-width: 96%; height: auto; max-height: 92%;
        background: $surface; border: round $border; padding: 0 1; overflow-y: auto;
        border-title-style: bold; border-subtitle-color: $text-muted;
        &.-urgent { border: round $error; }
    }
    .-ascii Dialog > Vertical { border: ascii $border; }
    """

    def __init__(self, title: str, hints: str = "esc cancel", *, urgent: bool = False) -> None:
        super().__init__()
        self._title = title
        self._hints = hints
        self._urgent = urgent

    def compose(self) -> ComposeResult:
        """The box and what the subclass puts in."""
        box = Vertical(*self.content(), classes="-urgent" if self._urgent else "")
        box.border_title = Content(self._title)  # never markup
        box.border_subtitle = Content(self._hints)
        yield box

    def on_resize(self, event: Resize) -> None:
        """What cannot be read cannot be answered."""
        width, height = event.size
        self.set_class(width < SMALLEST[0] or height < SMALLEST[1], "-too-small")

    def content(self) -> list[Widget]:
        """What is in the box, from top to bottom."""
        raise NotImplementedError

    def action_close(self) -> None:
        """Leave without an answer."""
        self.dismiss(None)


def text(content: Content | str) -> Static:
    """Some lines in a dialog, never markup."""
    return Static(content, markup=False)
