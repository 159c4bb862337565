"""A row of data as lines for the eye: each of one state, with a mark before it.

The mark says without colours what becomes of a line: `+` is learned, `x` is cut off by the context
length, anything else is seen and not learned.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from gptcore.conversation import (
    ASSISTANT,
    FUNCTION_CALL,
    FUNCTION_RESULT,
    SPECIAL_TOKENS,
    SYSTEM,
    USER,
    Span,
)
from gptcore.formats.records import Prompt, Record
from gptcore.text import steady
from gptstudio.services.data_row import DataRow
from gptstudio.services.row_lines import Line, Paint, View
from gptstudio.services.row_tokens import (
    EncodedPart,
    Fit,
    TokenState,
    encode_parts,
    fit,
    kept_messages,
    state_of,
    tokens_of,
)
from gptstudio.services.token_encoder import TokenEncoder

MARKS: dict[TokenState, str] = {"learned": "+", "masked": " ", "cut": "x"}

#: The control tokens that begin a turn or a call.
_OPENING = frozenset((SYSTEM, USER, ASSISTANT, FUNCTION_CALL, FUNCTION_RESULT))
_SPELLED = re.compile("|".join(re.escape(token) for token in SPECIAL_TOKENS))
#: Beyond what can be seen everywhere as it is; in JSON this stands within strings alone.
_BEYOND_ASCII = re.compile(r"[^\n\x20-\x7e]")


class Encoded(msgspec.Struct, frozen=True):
    """A row in tokens.

    Attributes:
        parts: Its ids.
        fit: How it fits.
        kept: Messages that fit; None: all do.
        encoder: The tokenizer.
    """

    parts: list[EncodedPart]
    fit: Fit
    kept: int | None
    encoder: TokenEncoder


def encode_row(row: DataRow, encoder: TokenEncoder | None, context: int | None) -> Encoded | None:
    """A row in tokens; None where there is no tokenizer, or nothing that could be encoded."""
    if encoder is None or row.record is None:
        return None
    parts = encode_parts(row.record, encoder)
    found = fit(row.record, parts, encoder, context)
    return Encoded(parts, found, kept_messages(row.record, found), encoder)


def fit_words(found: Fit, context: int | None, tokenizer: str) -> str:
    """How a row fits, in a line."""
    words = f"{found.tokens:,} tokens of {steady(tokenizer)}, {found.learned:,} learned"
    if found.problem:
        return f"{words}; left out: {found.problem}"
    if found.num_cut:
        several = "message" if found.num_cut == 1 else "messages"
        return f"{words}; the last {found.num_cut} {several} cut to fit {context:,}"
    return f"{words}; {context:,} fit" if context else words


def view_lines(row: DataRow, view: View, encoded: Encoded | None) -> Iterator[Line]:
    """A row as lines, made as they are taken.

    Args:
        row: The row.
        view: What of it.
        encoded: In tokens; without them nothing is known of what is cut.
    """
    if row.problem is not None:
        words = ": ".join(steady(it) for it in (row.problem.field, row.problem.reason) if it)
        yield Line((("! cannot be used: ", "problem"), (words, "problem")))
    if view == "raw" or row.record is None:
        if row.is_json:
            yield from (Line(((line, "plain"),)) for line in readable_json(row.raw).split("\n"))
        return
    kept = encoded.kept if encoded is not None else None
    for number, part in enumerate(row.parts):
        if part.title:
            yield Line(((f"--- {part.title}", "title"),))
        if view == "tokens" and encoded is not None:
            yield from token_lines(encoded.parts[number], encoded.encoder, kept)
        elif view == "supervised":
            yield from _supervised(part.spans, kept)
        else:
            yield from text_lines(part.spans, kept)
    yield from _reference(row.record, view)


def _reference(record: Record, view: View) -> Iterator[Line]:
    if view != "supervised" and isinstance(record, Prompt) and record.reference:
        yield Line((("--- for the reward", "title"),))
        lines = readable_json(record.reference).split("\n")
        yield from (Line(((line, "plain"),)) for line in lines)


def text_lines(spans: Sequence[Span], kept: int | None) -> Iterator[Line]:
    """Spans as text; a turn, and what is learned of it, begins a line."""
    for _, turn in groupby(spans, key=lambda span: span.message):
        for state, run in groupby(turn, key=lambda span: state_of(span, kept)):
            line: list[tuple[str, Paint]] = []
            for span in run:
                first, *others = shown_text(span).split("\n")
                line.append((first, paint_of(state, is_control=span.is_control)))
                for each in others:
                    yield Line(tuple(line), MARKS[state])
                    line = [(each, paint_of(state, is_control=span.is_control))]
            yield Line(tuple(line), MARKS[state])


def token_lines(
    part: EncodedPart, encoder: TokenEncoder, kept: int | None, bar: str = "│"
) -> Iterator[Line]:
    """Tokens with bars between them; a turn, a state and a line feed begin a line."""
    line: list[tuple[str, Paint]] = []
    before: TokenState = "masked"
    for token in tokens_of(part, encoder, kept):
        opens = token.is_control and token.text in _OPENING
        if line and (token.state != before or opens):
            yield Line(tuple(line), MARKS[before])
            line = []
        before = token.state
        text = token.text if token.is_control else _SPELLED.sub(_escaped, _one_line(token.text))
        paint = paint_of(token.state, is_control=token.is_control)
        if line and line[-1][1] == paint:
            line[-1] = (f"{line[-1][0]}{bar}{text}", paint)
        else:
            line.append((f"{bar}{text}" if line else text, paint))
        if "\n" in token.text:
            yield Line(tuple(line), MARKS[before])
            line = []
    if line:
        yield Line(tuple(line), MARKS[before])


def _one_line(text: str) -> str:
    """A token's text: each of its characters is seen, white space too."""
    return steady(text.replace("\t", "\\t").replace("\r", "\\r"))


def _supervised(spans: Sequence[Span], kept: int | None) -> Iterator[Line]:
    """What is learned alone, an answer after the other."""
    found = False
    for message, turn in groupby(spans, key=lambda span: span.message):
        learned = [span for span in turn if state_of(span, kept) == "learned"]
        if learned:
            found = True
            yield Line(((f"message {message + 1}", "title"),))
            yield from text_lines(learned, kept)
    if not found:
        yield Line((("nothing of this is learned", "masked"),))


def shown_text(span: Span) -> str:
    """A span's text, harmless; what only spells a control token must not look like one."""
    if span.is_control:
        return span.text
    return _SPELLED.sub(_escaped, steady(span.text, lines=True))


def _escaped(match: re.Match[str]) -> str:
    return "\\" + match.group()


def paint_of(state: TokenState, *, is_control: bool) -> Paint:
    """How a token or span is painted."""
    if state == "cut":
        return "cut"
    if state == "learned":
        return "learned control" if is_control else "learned"
    return "control" if is_control else "masked"


def readable_json(value: Any) -> str:
    """JSON for people, which is JSON still: what would not be seen is written as numbers."""
    plain = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return _BEYOND_ASCII.sub(_escaped_unless_seen, plain)


def _escaped_unless_seen(match: re.Match[str]) -> str:
    character = match.group()
    if steady(character) == character:
        return character
    return json.dumps(character)[1:-1] if ord(character) > 0x7F else f"\\u{ord(character):04x}"
