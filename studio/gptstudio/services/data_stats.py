"""Numbers about rows of data: turns, lengths, calls; all files together, in one pass."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from gptcore.formats.checks import Duplicates
from gptcore.formats.problems import Problem, RowError
from gptcore.formats.reading import Read
from gptcore.formats.records import Conversation, Message, Preference, Record, arguments_text
from gptstudio.services.data_files import DataFile
from gptstudio.services.data_report import FileReport, OnBytes, read_records
from gptstudio.services.row_tokens import encode_parts, fit

if TYPE_CHECKING:
    from gptcore.encoding import TextEncoder
    from gptstudio.services.token_encoder import TokenEncoder

#: Functions whose calls are counted apart; those beyond are counted together.
MOST_FUNCTIONS = 1000
OTHER_FUNCTIONS = "other functions"


class Bucket(msgspec.Struct, frozen=True):
    """Rows of about one length.

    Attributes:
        least: Characters, or tokens, of the shortest that belong here.
        most: And of the longest.
        rows: How many there are.
    """

    least: int
    most: int
    rows: int


class TokenStats(msgspec.Struct):
    """Numbers about the good rows in tokens.

    Attributes:
        tokenizer: What counted them.
        tokens: By role, the control tokens of a turn with it.
        learned: Tokens that count in the loss, once rows have been cut.
        shortest: Row, in tokens; of a pair its longer side.
        longest: Row, in tokens.
        lengths: Rows by length; each bucket goes twice as far as the one before.
        context: Tokens that fit; None: none was named.
        cut: Rows that lose turns at their end to fit.
        left_out: Rows that cannot be made to fit.
    """

    tokenizer: str
    tokens: dict[str, int] = {}
    learned: int = 0
    shortest: int = 0
    longest: int = 0
    lengths: list[Bucket] = []
    context: int | None = None
    cut: int = 0
    left_out: int = 0


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
        in_tokens: The same in tokens; None where there is no tokenizer.
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
    in_tokens: TokenStats | None = None


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


class _Lengths:
    """Rows by their length, in as many buckets as it has binary digits."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self.shortest = self.longest = 0

    def add(self, length: int) -> None:
        self.shortest = min(self.shortest, length) if self._rows else length
        self.longest = max(self.longest, length)
        digits = length.bit_length()
        self._rows[digits] = self._rows.get(digits, 0) + 1

    def buckets(self) -> list[Bucket]:
        digits = range(min(self._rows, default=1), max(self._rows, default=0) + 1)
        return [Bucket((1 << it) >> 1, (1 << it) - 1, self._rows.get(it, 0)) for it in digits]


class TokenCounter:
    """Counts the tokens of row after row.

    Args:
        encoder: The tokenizer.
        name: What it is called.
        context: Tokens that fit; None: any number.
    """

    def __init__(self, encoder: "TextEncoder", name: str, context: int | None) -> None:
        self._encoder = encoder
        self._made = TokenStats(name, context=context)
        self._lengths = _Lengths()

    def add(self, record: Record) -> None:
        """Count a row."""
        made, tokens = self._made, self._made.tokens
        encoded = encode_parts(record, self._encoder)
        for messages, each in zip(_sides(record), encoded, strict=True):
            for span, piece in zip(each.part.spans, each.pieces, strict=True):
                inside = 0 <= span.message < len(messages)
                opened = "system" if span.message < 0 else "assistant"
                role = messages[span.message].role if inside else opened
                tokens[role] = tokens.get(role, 0) + len(piece)
        found = fit(record, encoded, self._encoder, made.context)
        made.learned += found.learned
        made.left_out += bool(found.problem)
        made.cut += bool(found.num_cut and not found.problem)
        self._lengths.add(found.tokens)

    def result(self) -> TokenStats:
        """The numbers so far."""
        made, lengths = self._made, self._lengths
        made.shortest, made.longest = lengths.shortest, lengths.longest
        made.lengths = lengths.buckets()
        return made


class StatsCounter:
    """Counts file after file.

    Args:
        encoder: Counts tokens, too; None: characters alone.
        context: Tokens that fit; None: any number.
    """

    def __init__(self, encoder: "TokenEncoder | None" = None, context: int | None = None) -> None:
        self._tokens = TokenCounter(encoder, encoder.name, context) if encoder else None
        self._report = FileReport("")
        self._duplicates = _CountedDuplicates()
        self._stats = Stats()
        self._lengths = _Lengths()

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
                if self._tokens is not None:
                    self._tokens.add(item.record)

    def result(self) -> Stats:
        """The numbers so far."""
        made, report = self._stats, self._report
        made.rows, made.good, made.bad = report.rows, report.good, report.bad
        made.forms, made.dialects, made.reasons = report.forms, report.dialects, report.reasons
        made.duplicates = self._duplicates.found
        made.is_complete = not self._duplicates.is_full
        made.shortest, made.longest = self._lengths.shortest, self._lengths.longest
        made.lengths = self._lengths.buckets()
        made.in_tokens = self._tokens.result() if self._tokens is not None else None
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
        self._lengths.add(length)

    def _count_call(self, name: str) -> None:
        calls = self._stats.calls
        if name not in calls and len(calls) >= MOST_FUNCTIONS:
            name = OTHER_FUNCTIONS
        calls[name] = calls.get(name, 0) + 1


def _sides(record: Record) -> Sequence[Sequence[Message]]:
    """The turns of each part that is rendered."""
    if isinstance(record, Preference):
        return (record.prompt, record.chosen, record.rejected)
    return (record.messages,)


def messages_of(record: Record) -> Sequence[Message]:
    """All turns of a record, those of a pair one after the other."""
    if isinstance(record, Preference):
        return (*record.prompt, *record.chosen, *record.rejected)
    return record.messages
