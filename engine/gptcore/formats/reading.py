"""Read a data file as checked records, row by row."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gptcore.formats.checks import CallChecker, Duplicates
from gptcore.formats.dialects import recognise
from gptcore.formats.problems import Problem, RowError
from gptcore.formats.records import Record
from gptcore.formats.rows import Mark, RowReader


class Read(NamedTuple):
    """A row that can be used.

    Args:
        row: Its number, from 1.
        line: Its line, from 1; None where lines do not count.
        dialect: How it was written.
        record: What it says.
        size: Bytes that it took, about.
    """

    row: int
    line: int | None
    dialect: str
    record: Record
    size: int


class RecordReader:
    """Reads one file; iterating again reads again.

    A row with the same content as an earlier one is a problem too: learned twice by accident, or
    in both the training and the held-out part.

    Args:
        path: The file.
        name: For people; empty: the path.
        duplicates: Shared between files to find rows that stand in two; None: this file's own.
    """

    def __init__(self, path: Path, name: str = "", duplicates: Duplicates | None = None) -> None:
        self.path = path
        self._name = name or str(path)
        self._rows = RowReader(path)
        self._shared = duplicates
        self._calls = CallChecker()

    @property
    def bytes_read(self) -> int:
        """How much of the file has been read, so far."""
        return self._rows.bytes_read

    @property
    def marks(self) -> list[Mark]:
        """Places from which rows can be read without those before, as far as it has been read."""
        return self._rows.marks

    def __iter__(self) -> Iterator[Read | Problem]:
        """Yield records, and problems for the rows that cannot be used, in order.

        Raises:
            UserError: The file cannot be opened.
        """
        duplicates = Duplicates() if self._shared is None else self._shared
        check_calls, check_twice, name = self._calls.check, duplicates.check, self._name
        for row in self._rows:
            if isinstance(row, Problem):
                yield row
                continue
            number, line, value, size = row
            try:
                dialect = recognise(value)
                record = dialect.read(value)
                if record.tools:
                    check_calls(record)
                check_twice(record, name, number)
                yield Read(number, line, dialect.name, record, size)
            except RowError as error:
                yield Problem(self.path, row.line, error.reason, row.number, error.field)
            except RecursionError:
                yield Problem(self.path, row.line, "is nested too deeply", row.number)
