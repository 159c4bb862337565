"""What data files hold: recognised by their first rows, or checked row by row.

Files are streamed: memory does not grow with them, whatever they hold.
"""

import re
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from gptcore.errors import UserError
from gptcore.formats.checks import Duplicates
from gptcore.formats.problems import Problem
from gptcore.formats.reading import Read, RecordReader
from gptstudio.services.data_files import DataFile
from gptstudio.services.row_tokens import Fitting

#: Rows and bytes of a file that are looked at to recognise it.
FIRST_ROWS, FIRST_BYTES = 300, 8 << 20
#: Reasons that are counted apart; those beyond are counted together.
MOST_REASONS = 100
OTHER_REASONS = "other reasons"
#: Characters of a reason and of a field that are kept.
LONGEST_REASON, LONGEST_FIELD = 400, 100
#: Rows between two words about progress.
_ROWS_BETWEEN = 256
#: What differs in reasons of one kind: quoted text and numbers.
_VARYING = re.compile(r"'[^'…]*['…]|\"[^\"…]*[\"…]|\d+")
_INDEX = re.compile(r"\[\d+\]")

#: Told how many bytes of the file have been read.
OnBytes = Callable[[int], None]


class Noted(msgspec.Struct, frozen=True):
    """A problem, as it is reported.

    Attributes:
        line: From 1; None where lines do not count.
        row: From 1; None when it is about the whole file.
        field: Where in the row; empty: all of it.
        reason: What is wrong; may hold text from the file.
    """

    line: int | None
    row: int | None
    field: str
    reason: str


class FileReport(msgspec.Struct):
    """What rows were found in one file, or in several.

    Attributes:
        path: The file's name for people.
        rows: All; what cannot be divided into rows counts as one.
        good: Those that can be used.
        bad: Those that cannot.
        cut: Good rows that lose turns to fit into the context that was named.
        forms: Good rows by form.
        dialects: Good rows by dialect.
        reasons: Bad rows by kind of reason.
        problems: The first ones, in order.
        problems_left_out: How many more there were.
    """

    path: str
    rows: int = 0
    good: int = 0
    bad: int = 0
    cut: int = 0
    forms: dict[str, int] = {}
    dialects: dict[str, int] = {}
    reasons: dict[str, int] = {}
    problems: list[Noted] = []
    problems_left_out: int = 0

    def add(self, item: Read | Problem, most: int = 0) -> None:
        """Count a row.

        Args:
            item: As it was read.
            most: Problems to keep; the rest are counted.
        """
        self.rows += 1
        if isinstance(item, Read):
            self.good += 1
            form = item.record.form
            self.forms[form] = self.forms.get(form, 0) + 1
            self.dialects[item.dialect] = self.dialects.get(item.dialect, 0) + 1
            return
        self.bad += 1
        reason = kind_of_reason(item)
        if reason not in self.reasons and len(self.reasons) >= MOST_REASONS:
            reason = OTHER_REASONS
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        if len(self.problems) < most:
            self.problems.append(note(item))
        else:
            self.problems_left_out += 1


class Listed(msgspec.Struct, frozen=True):
    """A file and what its first rows are.

    Attributes:
        file: Which one.
        first: What was found in the first rows; nothing for text.
        is_whole: Whether those are all.
    """

    file: DataFile
    first: FileReport
    is_whole: bool


def look_at(file: DataFile) -> Listed:
    """Recognise a file by its first rows."""
    report = FileReport(file.name)
    is_whole = True
    if file.kind == "data":
        room = FIRST_BYTES
        items = read_records(file, Duplicates())
        for item in islice(items, FIRST_ROWS):
            report.add(item, most=1)
            room -= item.size if isinstance(item, Read) else 0
            if room <= 0:
                break
        is_whole = next(items, None) is None
    return Listed(file, report, is_whole)


def check_file(
    file: DataFile,
    duplicates: Duplicates,
    most: int,
    on_bytes: OnBytes | None = None,
    fitting: Fitting | None = None,
) -> FileReport:
    """Read all rows of a file.

    Args:
        file: Which one.
        duplicates: Shared between files to find rows that stand in two.
        most: Problems to keep; the rest are counted.
        on_bytes: Told now and then how far it is.
        fitting: Rows that do not fit are bad, too; None: any length is good.
    """
    report = FileReport(file.name)
    for item in read_records(file, duplicates, on_bytes):
        if fitting is not None and isinstance(item, Read):
            found = fitting.of(item.record)
            if found.problem:
                report.add(Problem(file.path, item.line, found.problem, item.row), most)
                continue
            report.cut += bool(found.num_cut)
        report.add(item, most)
    return report


def read_records(
    file: DataFile, duplicates: Duplicates, on_bytes: OnBytes | None = None
) -> Iterator[Read | Problem]:
    """The rows of a file; one that cannot be opened is a problem too."""
    reader = RecordReader(file.path, file.name, duplicates)
    try:
        for number, item in enumerate(reader):
            yield item
            if on_bytes is not None and number % _ROWS_BETWEEN == 0:
                on_bytes(reader.bytes_read)
    except UserError as error:
        yield Problem(file.path, None, error.what)


def note(problem: Problem) -> Noted:
    """A problem as it is reported, its words cut to a length that can be read."""
    return Noted(
        problem.line,
        problem.row,
        _cut(problem.field, LONGEST_FIELD),
        _cut(problem.reason, LONGEST_REASON),
    )


def kind_of_reason(problem: Problem) -> str:
    """Why a row is bad, without what is this row's alone."""
    reason = _cut(problem.reason, LONGEST_REASON).split(": ")[0].split("; ")[0]
    field = _INDEX.sub("[]", _cut(problem.field, LONGEST_FIELD))
    return f"{field}: {_VARYING.sub('…', reason)}" if field else _VARYING.sub("…", reason)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"
