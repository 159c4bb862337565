"""The numbers about a file, as they are counted and then to be read."""

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from gptcore.text import steady
from gptstudio.app.dialogs.reading import Reading
from gptstudio.services.data_answers import StatsWish


class Statistics(Reading):
    """Numbers; what it answers when it is left is that nobody waits for them any more.

    Args:
        wish: The file and what counts it.
    """

    def __init__(self, wish: StatsWish) -> None:
        super().__init__(f"Statistics of {steady(wish.path)}", Content("reading ..."))
        #: What it waits for.
        self.wish = wish

    def progress(self, done: int, total: int) -> None:
        """Say how far it is."""
        self._say([f"reading ... {done / max(1, total):.0%}", "esc leaves it"])

    def show(self, lines: Sequence[str]) -> None:
        """Show the numbers, or why there are none."""
        self._say(lines)

    def _say(self, lines: Sequence[str]) -> None:
        self.query_one(Static).update(Content("\n".join(lines)))
