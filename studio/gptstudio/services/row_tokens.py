"""Rows of data as tokens: how many, what of them is learned, what a context length cuts off."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from gptcore.conversation import Span
from gptcore.encoding import TextEncoder, encode_conversation, encode_spans
from gptcore.formats.problems import RowError
from gptcore.formats.records import Conversation, Preference, Record

if TYPE_CHECKING:
    from gptstudio.services.data_row import Part
    from gptstudio.services.token_encoder import TokenEncoder

#: learned: counts in the loss. masked: is seen and not learned. cut: beyond the context.
TokenState = Literal["learned", "masked", "cut"]


class Token(msgspec.Struct, frozen=True):
    """One token.

    Attributes:
        id: In the tokenizer.
        text: What it stands for; bytes that are no whole character by their numbers.
        state: Whether it is learned, masked or cut off.
        is_control: Whether it is a control token.
    """

    id: int
    text: str
    state: TokenState
    is_control: bool


class Fit(msgspec.Struct, frozen=True):
    """How a row fits into a context.

    Attributes:
        tokens: Of the whole row; of a pair, of its longer side.
        learned: Those that count in the loss, once it has been cut.
        num_cut: Messages at its end that are cut off.
        problem: Why it is left out altogether; empty: it is not.
    """

    tokens: int
    learned: int
    num_cut: int = 0
    problem: str = ""


class EncodedPart(NamedTuple):
    """A rendered part of a row.

    Args:
        part: Its spans.
        pieces: The ids of each span.
    """

    part: "Part"
    pieces: list[list[int]]

    @property
    def size(self) -> int:
        """Tokens."""
        return sum(map(len, self.pieces))


class Fitting(NamedTuple):
    """What rows are held against.

    Args:
        encoder: The tokenizer.
        context: Tokens that fit.
    """

    encoder: TextEncoder
    context: int

    def of(self, record: Record) -> Fit:
        """How a row fits."""
        return fit(record, encode_parts(record, self.encoder), self.encoder, self.context)


def encode_parts(record: Record, encoder: TextEncoder) -> list[EncodedPart]:
    """A row as ids, a part after the other."""
    from gptstudio.services.data_row import parts_of

    return [EncodedPart(part, encode_spans(part.spans, encoder)) for part in parts_of(record)]


def fit(
    record: Record, encoded: Sequence[EncodedPart], encoder: TextEncoder, context: int | None
) -> Fit:
    """Hold a row against a context length.

    A conversation loses turns at its end, as in `gptcore.encoding`. A pair must fit on both sides,
    and a prompt must leave room for an answer: neither can be cut.

    Args:
        record: The row.
        encoded: Its parts.
        encoder: The tokenizer.
        context: Tokens at most; None: any number.
    """
    sizes = [each.size for each in encoded]
    if isinstance(record, Conversation):
        [whole] = encoded
        if context is None or whole.size <= context:
            return Fit(whole.size, _num_learned(whole))
        try:
            cut = encode_conversation(record.messages, record.tools, encoder, context)
        except RowError as error:
            return Fit(whole.size, 0, len(record.messages), error.reason)
        return Fit(whole.size, sum(cut.learned), cut.left_out)
    if isinstance(record, Preference):
        prompt, *sides = sizes
        learned = sum(map(_num_learned, encoded))
        size, room = prompt + max(sides), 0
    else:
        size, learned, room = sum(sizes), 0, 1
    if context is None or size + room <= context:
        return Fit(size, learned)
    return Fit(size, 0, 0, f"is longer than the context: {size} tokens, and {context} fit")


def _num_learned(encoded: EncodedPart) -> int:
    spans = zip(encoded.part.spans, encoded.pieces, strict=True)
    return sum(len(piece) for span, piece in spans if span.is_learned)


def state_of(span: Span, kept: int | None) -> TokenState:
    """What becomes of a span.

    Args:
        span: Of the rendered row.
        kept: Messages that fit; None: all do.
    """
    if kept is not None and span.message >= kept:
        return "cut"
    return "learned" if span.is_learned else "masked"


def tokens_of(encoded: EncodedPart, encoder: "TokenEncoder", kept: int | None) -> Iterator[Token]:
    """The tokens of a rendered part, in order.

    Args:
        encoded: The part.
        encoder: The tokenizer.
        kept: Messages that fit; None: all do.
    """
    for span, ids in zip(encoded.part.spans, encoded.pieces, strict=True):
        state = state_of(span, kept)
        for index in ids:
            yield Token(index, encoder.text_of(index), state, span.is_control)


def kept_messages(record: Record, found: Fit) -> int | None:
    """Messages that fit, as `state_of` takes it."""
    if found.problem:
        return -1  # even what belongs to no message, as the tools alone, is left out
    if not found.num_cut or not isinstance(record, Conversation):
        return None
    return len(record.messages) - found.num_cut
