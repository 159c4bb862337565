"""Conversations as ids: what is learned is marked, and what is too long ends after a whole turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gptcore.conversation import Span, render
from gptcore.formats.problems import RowError
from gptcore.formats.records import Message, Tool


class TextEncoder(Protocol):
    """A tokenizer: ours, or one from elsewhere that has the control tokens."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text; control tokens spelled in it stay text."""

    def id_of(self, token: str) -> int:
        """The id of a control token."""


@dataclass(frozen=True, slots=True)
class EncodedConversation:
    """A rendered conversation.

    Args:
        ids: Tokens.
        learned: For each, whether it counts in the loss.
        left_out: Messages at the end that did not fit.
    """

    ids: list[int]
    learned: list[bool]
    left_out: int = 0


def encode_spans(spans: Sequence[Span], tokenizer: TextEncoder) -> list[list[int]]:
    """Ids of each span; what spells a control token in a text stays text."""
    texts = iter(tokenizer.encode_batch([span.text for span in spans if not span.is_control]))
    return [[tokenizer.id_of(span.text)] if span.is_control else next(texts) for span in spans]


def encode_conversation(
    messages: Sequence[Message],
    tools: Sequence[Tool],
    tokenizer: TextEncoder,
    longest: int | None = None,
) -> EncodedConversation:
    """Render and encode; what is too long loses whole turns at its end, so no call is cut in half.

    Args:
        messages: In their order.
        tools: What may be called.
        tokenizer: Encodes the text between the control tokens.
        longest: Tokens at the most; None: any number.

    Raises:
        RowError: No turn to learn would be left.
    """
    spans = render(messages, tools)
    pieces = encode_spans(spans, tokenizer)
    kept = len(messages)
    size = sum(map(len, pieces))
    if longest is not None and size > longest:
        kept = _fitting(messages, spans, pieces, longest)
        if kept == 0:
            raise RowError(f"is longer than the context: {size} tokens, and {longest} fit")
    ids: list[int] = []
    learned: list[bool] = []
    for span, piece in zip(spans, pieces, strict=True):
        if span.message < kept:
            ids += piece
            learned += [span.is_learned] * len(piece)
    return EncodedConversation(ids, learned, len(messages) - kept)


def _fitting(
    messages: Sequence[Message], spans: Sequence[Span], pieces: Sequence[list[int]], longest: int
) -> int:
    """How many messages fit, so that the last is one to learn; 0: none do."""
    ends: dict[int, int] = {}
    size = 0
    for span, piece in zip(spans, pieces, strict=True):
        size += len(piece)
        ends[span.message] = size
    fits = [
        number + 1
        for number, message in enumerate(messages)
        if message.role == "assistant" and message.is_learned and ends[number] <= longest
    ]
    return max(fits, default=0)
