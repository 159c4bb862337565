"""A framed part of a screen with a title: the unit of focus, zoom and staleness."""

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget

from gptcore.text import steady
from gptstudio.app.feeds import Source
from gptstudio.text import human_time


class Pane(Vertical):
    """One pane.

    Args:
        content: What is in it, from top to bottom.
        title: Its name.
        target: What takes the focus when the pane does; it may come later, with `fill`.
        source: Where its content comes from; it is marked when that falls silent.
        id: In the screen.
    """

    DEFAULT_CSS = """
    Pane {
        border: round $border-blurred; border-title-color: $text-muted; padding: 0 1;
        border-subtitle-color: $text-warning;
        &:focus-within {
            border: round $border; border-title-color: $foreground; border-title-style: bold;
        }
    }
    .-ascii Pane { border: ascii $border-blurred; &:focus-within { border: ascii $border; } }
    """

    def __init__(
        self,
        *content: Widget,
        title: str,
        target: Widget | None = None,
        source: Source | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__(*content, id=id)
        self.name_of_pane = title
        self.target: Widget = self if target is None else target
        self.source: Source | None = source
        #: Whether there is anything to show in it: else tab passes it by.
        self.offered = True
        self._extra = ""
        self._stale = ""
        self._title()

    def fill(self, content: Widget) -> None:
        """Put in what the pane is for, once it has been made."""
        self.target = content
        self.mount(content)

    def rename(self, title: str) -> None:
        """Give the pane another name."""
        if title != self.name_of_pane:
            self.name_of_pane = title
            self._title()

    def say(self, extra: str) -> None:
        """Put a few words behind the title; outside text is fine."""
        if extra != self._extra:
            self._extra = extra
            self._title()

    def mark_stale(self, seconds: float, reason: str = "") -> None:
        """Say that the content is old; 0: that it is not."""
        why = f": {steady(reason)}" if reason else ""
        stale = f"stale since {human_time(seconds)}{why}" if seconds else ""
        if stale != self._stale:
            self._stale = stale
            self.border_subtitle = Content(stale)  # never markup

    def _title(self) -> None:
        title = f"{self.name_of_pane}  {steady(self._extra)}" if self._extra else self.name_of_pane
        self.border_title = Content(title)  # never markup
