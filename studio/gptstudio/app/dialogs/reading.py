"""Some text to read, as long as it likes."""

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from gptstudio.app.dialogs.base import Dialog, text
from gptstudio.app.keys import bindings


class _Scroll(VerticalScroll, inherit_bindings=False):
    BINDINGS = bindings("reading")
    DEFAULT_CSS = "_Scroll { height: auto; max-height: 100%; }"


class Reading(Dialog[None]):
    """A text; every way out is the same.

    Args:
        title: Of it.
        content: The text.
    """

    BINDINGS = bindings("reader")

    def __init__(self, title: str, content: Content) -> None:
        super().__init__(title, "j k scroll   esc close")
        self._content = content

    def content(self) -> list[Widget]:
        """The text, which scrolls."""
        return [_Scroll(text(self._content))]
