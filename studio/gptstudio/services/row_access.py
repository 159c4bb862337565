"""Rows of a data file by their numbers, in bounded memory.

Files are read forwards. Where rows stand one a line, or in Parquet, a mark a MiB or row group is
kept, so that any row that was passed once is found again at once; an array or a compressed file is
read from its beginning again, unless the row is among the last ones that were read.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

from gptcore.formats.problems import Problem
from gptcore.formats.rows import Mark, Row, RowReader
from gptstudio.services.row_view import readable_json

#: Rows that were read last and are kept, and their bytes, about.
MOST_KEPT, MOST_KEPT_BYTES = 200, 4 << 20
#: Rows between two calls of `on_bytes`.
_ROWS_BETWEEN = 256

#: Told how many bytes have been read, of how many; what it raises ends the search for a row.
OnBytes = Callable[[int, int], None]
Found = Row | Problem


class RowAccess:
    """The rows of one file.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be looked at.
    """

    def __init__(self, path: Path) -> None:
        #: Size, time of modification and inode when it was opened.
        self.stamp = stamp(path)
        self._reader = RowReader(path)
        self._rows: Iterator[Found] | None = None
        self._at = 0
        self._recent: OrderedDict[int, Found] = OrderedDict()
        self._recent_bytes = 0
        #: How many rows there are; None: the end has not been seen.
        self.count: int | None = None

    def learn(self, marks: list[Mark]) -> None:
        """Take marks over that somebody has made who has read the file."""
        if len(marks) > len(self._reader.marks):
            self._reader.marks = list(marks)

    def find(self, number: int, on_bytes: OnBytes) -> Found | None:
        """A row.

        Args:
            number: From 1; 0: the last.
            on_bytes: Told now and then how far it is.

        Returns:
            The row, or why it cannot be read; None where there are not so many.

        Raises:
            UserError: The file cannot be opened.
        """
        if number == 0:
            number = self.count if self.count is not None else self._last(on_bytes)
        if self.count is not None and not 1 <= number <= self.count:
            return None
        if number in self._recent:
            return self._recent[number]
        self._go_before(number)
        return next((row for row in self._read_on(on_bytes) if self._at == number), None)

    def search(self, words: str, number: int, on_bytes: OnBytes, *, forwards: bool) -> int | None:
        """Number of the next row that holds some words, in any case; None: none does.

        Backwards it reads from the beginning, for files are read forwards.

        Args:
            words: As they stand in the row when it is shown raw.
            number: Of the row to begin behind, or before; it goes on from the other end.
            on_bytes: Told now and then how far it is.
            forwards: The way.
        """
        needle = words.casefold()
        return (
            self._search_on(needle, number, on_bytes)
            if forwards
            else self._search_back(needle, number, on_bytes)
        )

    def _search_on(self, needle: str, number: int, on_bytes: OnBytes) -> int | None:
        for first, last in ((number + 1, None), (1, number)):
            self._go_before(first)
            for row in self._read_on(on_bytes):
                if last is not None and self._at > last:
                    break
                if self._at >= first and _holds(row, needle):
                    return self._at
        return None

    def _search_back(self, needle: str, number: int, on_bytes: OnBytes) -> int | None:
        nearest: int | None = None
        self._go_before(1)
        for row in self._read_on(on_bytes):
            if nearest is not None and nearest < number <= self._at:
                return nearest
            if _holds(row, needle):
                nearest = self._at
        return nearest

    def _last(self, on_bytes: OnBytes) -> int:
        """Number of the last row."""
        self._go_before(max([self._at + 1, *(mark.row + 1 for mark in self._reader.marks)]))
        for _ in self._read_on(on_bytes):
            pass
        return self.count or 0

    def _go_before(self, number: int) -> None:
        """Make the reading go on at or before a row, as near to it as is known."""
        marks = [mark for mark in self._reader.marks if mark.row < number]
        nearest = marks[-1] if marks else None
        ahead = self._rows is not None and self._at < number
        if not ahead or (nearest is not None and nearest.row > self._at):
            self._rows = self._reader.rows_from(nearest)
            self._at = nearest.row if nearest is not None else 0

    def _read_on(self, on_bytes: OnBytes) -> Iterator[Found]:
        """The rows that come next, each kept for a while."""
        total = self.stamp[0]
        while self._rows is not None and (row := next(self._rows, None)) is not None:
            self._at += 1
            self._keep(row)
            yield row
            if self._at % _ROWS_BETWEEN == 0:
                on_bytes(self._reader.bytes_read, total)
        self.count = self._at
        self._rows = None

    def _keep(self, row: Found) -> None:
        if (before := self._recent.pop(self._at, None)) is not None:
            self._recent_bytes -= _size(before)
        self._recent[self._at] = row
        self._recent_bytes += _size(row)
        while self._recent_bytes > MOST_KEPT_BYTES or len(self._recent) > MOST_KEPT:
            self._recent_bytes -= _size(self._recent.popitem(last=False)[1])


def stamp(path: Path) -> tuple[int, int, int]:
    """What tells that a file is another than it was."""
    status = path.stat()
    return (status.st_size, status.st_mtime_ns, status.st_ino)


def _size(row: Found) -> int:
    return row.size if isinstance(row, Row) else 0


def _holds(row: Found, needle: str) -> bool:
    return isinstance(row, Row) and needle in readable_json(row.value).casefold()
