"""What a file view tells the screen it is on."""

from typing import TYPE_CHECKING

from textual.message import Message

if TYPE_CHECKING:
    from gptstudio.app.widgets.file_view import FileView


class FromFileView(Message):
    """A message of a file view.

    Args:
        view: The view.
    """

    def __init__(self, view: "FileView") -> None:
        super().__init__()
        self.view = view

    @property
    def control(self) -> "FileView":
        """The view."""
        return self.view


class Changed(FromFileView, namespace="file_view"):
    """One of the view's attributes changed; for the line above the file."""


class Found(FromFileView, namespace="file_view"):
    """A search has found a line, and the view is there.

    Args:
        view: The view.
        words: What was looked for.
        wrapped: Whether the search went on from the file's other end.
    """

    def __init__(self, view: "FileView", words: str, wrapped: bool) -> None:
        super().__init__(view)
        self.words = words
        self.wrapped = wrapped


class NotFound(FromFileView, namespace="file_view"):
    """A search has found nothing, or was given up.

    Args:
        view: The view.
        words: What was looked for.
        cancelled: Whether it was given up.
        reason: Why it could not be done; empty: it was.
    """

    def __init__(
        self, view: "FileView", words: str, *, cancelled: bool = False, reason: str = ""
    ) -> None:
        super().__init__(view)
        self.words = words
        self.cancelled = cancelled
        self.reason = reason
