"""Numbers about rows of data: turns, lengths, calls; all files together, in one pass."""

from collections.abc import Sequence

import msgspec

from gptcore.formats.checks import Duplicates
from gptcore.formats.problems import Problem, RowError
from gptcore.formats.reading import Read
from gptcore.formats.records import Conversation, Message, Preference, Record, arguments_text
from gptstudio.services.data_files import DataFile
from gptstudio.services.data_report import FileReport, OnBytes, read_records

#: Functions whose calls are counted apart; those beyond are counted together.
MOST_FUNCTIONS = 1000
OTHER_FUNCTIONS = "other functions"


class Bucket(msgspec.Struct, frozen=True):
    """Rows of about one length.

    Attributes:
        least: Characters of the shortest that belong here.
        most: And of the longest.
        rows: How many there are.
    """

    least: int
    most: int
    rows: int


class Stats(msgspec.Struct):
    """Numbers about the rows of one or several files.

    Attributes:
        files: How many.
        rows: All; what cannot be divided into rows counts as one.
        good: Those that can be used. Everything below but `duplicates` is about these.
        bad: Those that cannot.
        reasons: Bad rows by kind of reason.
        duplicates: Rows that stood before; they are among the bad ones.
        is_complete: Whether all rows were remembered to find duplicates; there is a limit.
        forms: Rows by form.
        dialects: Rows by dialect.
        turns: By role.
        characters: By role; a call counts as its name and arguments.
        masked_answers: Turns of the assistant's that are not learned.
        no_answer_last: Conversations whose last turns are not learned by anyone.
        with_tools: Rows that say what may be called.
        tools_unused: Of those, the ones without a call.
        calls: By function.
        shortest: Row, in characters.
        longest: Row, in characters.
        lengths: Rows by length; each bucket goes twice as far as the one before.
    """

    files: int = 0
    rows: int = 0
    good: int = 0
    bad: int = 0
    reasons: dict[str, int] = {}
    duplicates: int = 0
    is_complete: bool = True
    forms: dict[str, int] = {}
    dialects: dict[str, int] = {}
    turns: dict[str, int] = {}
    characters: dict[str, int] = {}
    masked_answers: int = 0
    no_answer_last: int = 0
    with_tools: int = 0
    tools_unused: int = 0
    calls: dict[str, int] = {}
    shortest: int = 0
    longest: int = 0
    lengths: list[Bucket] = []


class _CountedDuplicates(Duplicates):
    """Also counts what it finds."""

    def __init__(self) -> None:
        super().__init__()
        self.found = 0

    def check(self, record: Record, file: str, row: int) -> None:
        try:
            super().check(record, file, row)
        except RowError:
            self.found += 1
            raise


class StatsCounter:
    """Counts file after file."""

    def __init__(self) -> None:
        self._report = FileReport("")
        self._duplicates = _CountedDuplicates()
        self._stats = Stats()
        self._by_length: dict[int, int] = {}  # by binary digits of the length

    def read(self, file: DataFile, on_bytes: OnBytes | None = None) -> None:
        """Count the rows of a file.

        Args:
            file: Which one.
            on_bytes: Told now and then how far it is.
        """
        self._stats.files += 1
        for item in read_records(file, self._duplicates, on_bytes):
            self._report.add(item)
            if not isinstance(item, Problem):
                self._count(item)

    def result(self) -> Stats:
        """The numbers so far."""
        made, report = self._stats, self._report
        made.rows, made.good, made.bad = report.rows, report.good, report.bad
        made.forms, made.dialects, made.reasons = report.forms, report.dialects, report.reasons
        made.duplicates = self._duplicates.found
        made.is_complete = not self._duplicates.is_full
        digits = range(min(self._by_length, default=1), max(self._by_length, default=0) + 1)
        made.lengths = [
            Bucket((1 << each) >> 1, (1 << each) - 1, self._by_length.get(each, 0))
            for each in digits
        ]
        return made

    def _count(self, item: Read) -> None:
        made, record = self._stats, item.record
        messages = messages_of(record)
        length, has_calls = 0, False
        for message in messages:
            size = len(message.content)
            for call in message.calls:
                size += len(call.name) + len(arguments_text(call))
                self._count_call(call.name)
                has_calls = True
            role = message.role
            made.turns[role] = made.turns.get(role, 0) + 1
            made.characters[role] = made.characters.get(role, 0) + size
            made.masked_answers += role == "assistant" and not message.is_learned
            length += size
        if record.tools:
            made.with_tools += 1
            made.tools_unused += not has_calls
        last = messages[-1]
        if isinstance(record, Conversation) and not (last.role == "assistant" and last.is_learned):
            made.no_answer_last += 1
        digits = length.bit_length()
        self._by_length[digits] = self._by_length.get(digits, 0) + 1
        made.shortest = length if self._report.good == 1 else min(made.shortest, length)
        made.longest = max(made.longest, length)

    def _count_call(self, name: str) -> None:
        calls = self._stats.calls
        if name not in calls and len(calls) >= MOST_FUNCTIONS:
            name = OTHER_FUNCTIONS
        calls[name] = calls.get(name, 0) + 1


def messages_of(record: Record) -> Sequence[Message]:
    """All turns of a record, those of a pair one after the other."""
    if isinstance(record, Preference):
        return (*record.prompt, *record.chosen, *record.rejected)
    return record.messages
