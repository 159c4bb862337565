"""The part of a file that a view shows: where it is, how it moves, what rows it has. Blocking."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptstudio.app.widgets.file_rows import Row, lay_out
from gptstudio.services.text_file import Line, Page, TextFile
from gptstudio.services.text_levels import Filter
from gptstudio.services.text_lines import Mode
from gptstudio.services.text_search import Found


@dataclass(frozen=True, slots=True)
class Wish:
    """What a view wants to see.

    Attributes:
        path: The file.
        number: Of the file among those that were shown: the same path may be shown anew.
        mode: How its bytes are shown.
        width: Cells of a row.
        height: Rows.
        left: Cells left of the view, where lines are not wrapped.
        wrapping: Whether they are.
        level: Which lines.
        following: Whether to stay at the end.
        words: What is looked for.
    """

    path: Path
    number: int
    mode: Mode
    width: int
    height: int
    left: int = 0
    wrapping: bool = False
    level: Filter = "all"
    following: bool = False
    words: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """Move by rows; up where negative."""

    rows: int


@dataclass(frozen=True, slots=True)
class Jump:
    """Go to the line at an offset, as its first row; None: to the end."""

    offset: int | None


Move = Step | Jump


@dataclass(frozen=True, slots=True)
class Screenful:
    """What is to be seen.

    Attributes:
        wish: The wish that it answers.
        rows: At most as many as wished.
        page: The file as it was read, for its size and problem.
        at_end: Whether the last row is the file's last.
    """

    wish: Wish
    rows: tuple[Row, ...]
    page: Page
    at_end: bool


class CancelledError(Exception):
    """A read was called off; the viewport is where it was."""


class Viewport:
    """Shows one file; for one thread.

    Args:
        wish: The first wish; later ones are for the same file.
    """

    def __init__(self, wish: Wish) -> None:
        self.number = wish.number
        self._file = TextFile(wish.path, wish.mode)
        self._generation = 0
        self._top = (0, 0)  # offset of the first line, index of its first character
        self._rows: tuple[Row, ...] = ()
        self._found: int | None = None
        self._page_seen = Page()
        self._cancelled: Callable[[], bool] = lambda: False
        self._on_progress: Callable[[float], None] = lambda share: None

    def show(
        self,
        wish: Wish,
        moves: Sequence[Move],
        cancelled: Callable[[], bool],
        on_progress: Callable[[float], None],
    ) -> Screenful:
        """Make the moves and read what is to be seen.

        Args:
            wish: What the view wants.
            moves: In order.
            cancelled: Asked before every slice that is read.
            on_progress: Told the share of the file that a filter has read.

        Raises:
            CancelledError: It was.
        """
        self._cancelled, self._on_progress = cancelled, on_progress
        look = self._file.look()
        top = self._top
        if look.generation != self._generation:  # another file: no offset means anything
            self._generation, self._found, top = look.generation, None, (0, 0)
        if not wish.words:
            self._found = None
        stay: Move = Jump(None) if wish.following else Step(0)
        for move in moves or (stay,):
            screen = self._moved(wish, top, move)
            top = (screen.rows[0].line.offset, screen.rows[0].begin) if screen.rows else (0, 0)
        self._top, self._rows, self._page_seen = top, screen.rows, screen.page
        return screen

    def looks_different(self) -> bool:
        """Whether the file is not as it was when it was shown."""
        look, last = self._file.look(), self._page_seen
        # Not the page's generation: where the file was replaced in the middle of showing it, what
        # is seen was found by offsets into the one before.
        shown = (last.size, self._generation, last.problem)
        return (look.size, look.generation, look.problem) != shown

    def search(
        self,
        wish: Wish,
        *,
        forwards: bool,
        afresh: bool,
        cancelled: Callable[[], bool],
        on_progress: Callable[[float], None],
    ) -> Found:
        """The next line with the wished words, after or before the last match if that is seen.

        Args:
            wish: What the view wants.
            forwards: Direction.
            afresh: Begin at the top of the view all the same.
            cancelled: Asked before every slice.
            on_progress: Told the share of the file that was searched.
        """
        start = self._rows[0].line.offset - (1 if forwards else 0) if self._rows else -1
        if self._found is not None and not afresh and self._sees(self._found):
            start = self._found
        return self._file.search(
            wish.words,
            start,
            forwards=forwards,
            level=wish.level,
            cancelled=cancelled,
            on_progress=on_progress,
        )

    def mark(self, offset: int | None, height: int) -> list[Move]:
        """Mark a line as found; the moves that bring it into view."""
        self._found = offset
        if offset is None or self._sees(offset):
            return [Step(0)]
        return [Jump(offset), Step(-(height // 3))]

    def row_of(self, offset: int) -> Row | None:
        """The first row of a line, where that is seen."""
        return next((row for row in self._rows if row.line.offset == offset), None)

    def _sees(self, offset: int) -> bool:
        return self.row_of(offset) is not None

    def _moved(self, wish: Wish, top: tuple[int, int], move: Move) -> Screenful:
        if isinstance(move, Step):
            return self._from(wish, top, move.rows)
        if move.offset is None:
            return self._end(wish)
        return self._from(wish, (move.offset, 0), 0)

    def _from(self, wish: Wish, top: tuple[int, int], step: int) -> Screenful:
        """The rows from `step` rows after a place on; the last ones where the file ends before."""
        offset, begin = top
        page = self._page(wish, offset, wish.height + abs(step), min(0, step))
        at = next((i for i, line in enumerate(page.lines) if line.end > offset), None)
        if at is None:
            return self._end(wish)
        rows, first = self._rows_of(wish, page.lines[at]), step
        if page.lines[at].offset == offset:
            first += bisect_right([row.begin for row in rows], begin, lo=1) - 1
        above, below = at, at + 1
        while first < 0 < above:
            above -= 1
            more = self._rows_of(wish, page.lines[above])
            rows, first = more + rows, first + len(more)
        first = max(0, first)
        while len(rows) < first + wish.height:
            if below == len(page.lines):
                return self._end(wish)
            rows += self._rows_of(wish, page.lines[below])
            below += 1
        last = page.at_end and below == len(page.lines) and len(rows) == first + wish.height
        return Screenful(wish, tuple(rows[first : first + wish.height]), page, last)

    def _end(self, wish: Wish) -> Screenful:
        """The last rows."""
        page = self._page(wish, None, wish.height, 0)
        rows: list[Row] = []
        for line in reversed(page.lines):
            if len(rows) >= wish.height:
                break
            rows = self._rows_of(wish, line) + rows
        return Screenful(wish, tuple(rows[-wish.height :]), page, True)

    def _page(self, wish: Wish, anchor: int | None, height: int, skip: int) -> Page:
        page = self._file.page(
            anchor,
            height,
            skip=skip,
            level=wish.level,
            cancelled=self._cancelled,
            on_progress=self._on_progress,
        )
        if page.cancelled:
            raise CancelledError
        return page

    def _rows_of(self, wish: Wish, line: Line) -> list[Row]:
        return lay_out(
            line,
            wish.width,
            left=wish.left,
            wrapping=wish.wrapping,
            words=wish.words,
            marked=line.offset == self._found,
        )
