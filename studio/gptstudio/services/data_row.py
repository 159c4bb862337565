"""One row of a data file: as it stands there, and as the model sees it."""

from pathlib import Path
from typing import Any

import msgspec

from gptcore.conversation import Span, render
from gptcore.errors import UserError
from gptcore.formats.checks import CallChecker
from gptcore.formats.dialects import recognise
from gptcore.formats.problems import Problem, RowError
from gptcore.formats.reading import Read, RecordReader
from gptcore.formats.records import Conversation, Preference, Record
from gptcore.formats.rows import Row, RowReader
from gptstudio.services.data_files import refuse_text
from gptstudio.services.data_report import Noted, note


class Part(msgspec.Struct, frozen=True):
    """Turns that are rendered together.

    Attributes:
        title: What they are in their row; empty: all of it.
        spans: As the model sees them.
    """

    title: str
    spans: list[Span]


class DataRow(msgspec.Struct, frozen=True):
    """A row.

    Attributes:
        row: Its number, from 1.
        line: Its line, from 1; None where lines do not count.
        is_json: Whether it could be read at all.
        raw: As it stands in the file, where it could be read.
        dialect: How it was written; empty where it cannot be used.
        record: What it says; None where it cannot be used.
        parts: The record rendered.
        problem: Why it cannot be used; None where it can.
    """

    row: int
    line: int | None
    is_json: bool
    raw: Any
    dialect: str = ""
    record: Record | None = None
    parts: list[Part] = []
    problem: Noted | None = None


def read_row(path: Path, number: int) -> DataRow:
    """A row of a file.

    Args:
        path: The file.
        number: Of the row, from 1.

    Raises:
        UserError: The file cannot be read, or has not so many rows.
    """
    refuse_text(path)
    last: Read | Problem | None = None
    # Two readers, row by row: the one knows how a row was written, the other what it says.
    for raw, read in zip(RowReader(path), RecordReader(path), strict=True):
        if read.row == number:
            is_json = not isinstance(raw, Problem)
            value = None if isinstance(raw, Problem) else raw.value
            if isinstance(read, Problem):
                return DataRow(number, read.line, is_json, value, problem=note(read))
            parts = parts_of(read.record)
            return DataRow(number, read.line, is_json, value, read.dialect, read.record, parts)
        last = read
    raise _beyond(path, number, last)


def as_data_row(number: int, found: Row | Problem, calls: CallChecker) -> DataRow:
    """A row that was read alone: whether it stands twice in its file is not known.

    Args:
        number: Of the row, from 1.
        found: As it stands in the file.
        calls: Holds its calls against its tools.
    """
    if isinstance(found, Problem):
        return DataRow(number, found.line, False, None, problem=note(found))
    try:
        dialect = recognise(found.value)
        record = dialect.read(found.value)
        calls.check(record)
    except RowError as error:
        problem = note(Problem(Path(), found.line, error.reason, number, error.field))
        return DataRow(number, found.line, True, found.value, problem=problem)
    except RecursionError:
        problem = note(Problem(Path(), found.line, "is nested too deeply", number))
        return DataRow(number, found.line, False, None, problem=problem)
    parts = parts_of(record)
    return DataRow(number, found.line, True, found.value, dialect.name, record, parts)


def _beyond(path: Path, number: int, last: Read | Problem | None) -> UserError:
    count = (last.row or 0) if last is not None else 0
    why = f"; {note(last).reason}" if isinstance(last, Problem) else ""
    return UserError(
        f"there is no row {number}: {count} are all there are{why}",
        where=str(path),
        fix=f"--row 1 to {count}" if count else "choose another file",
    )


def parts_of(record: Record) -> list[Part]:
    """A record as the model sees it."""
    if isinstance(record, Conversation):
        return [Part("", render(record.messages, record.tools))]
    if isinstance(record, Preference):
        return [
            Part("prompt", render(record.prompt, record.tools)),
            Part("chosen", render(record.chosen)),
            Part("rejected", render(record.rejected)),
        ]
    return [Part("prompt", render(record.messages, record.tools, goes_on=True))]
