"""A row of data as text: as it stands in its file, and as the model sees it."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, TextIO

from gptcore.conversation import Span
from gptcore.formats.records import Prompt, to_row
from gptcore.text import steady
from gptstudio.services.data_report import Noted
from gptstudio.services.data_row import DataRow
from gptstudio.services.row_lines import Line
from gptstudio.services.row_tokens import state_of, tokens_of
from gptstudio.services.row_view import (
    Encoded,
    encode_row,
    fit_words,
    paint_of,
    readable_json,
    shown_text,
    text_lines,
    token_lines,
)
from gptstudio.services.token_choice import TokenChoice
from gptstudio.text import paint, takes_colour

_STYLES = {
    "learned": "1;32",
    "learned control": "1;36",
    "masked": "2",
    "control": "36",
    "cut": "9;31",
}


def row_lines(row: DataRow, name: str, stream: TextIO, tokens: TokenChoice) -> list[str]:
    """A row as it stands in its file, and as the model sees it.

    Args:
        row: The row.
        name: Of its file.
        stream: Where it is printed.
        tokens: Tells what a context length cuts off.
    """
    lines = [_heading(row, name), ""]
    if row.is_json:
        lines += [readable_json(row.raw), ""]
    if row.problem is not None:
        return [*lines, _problem(row.problem, stream)]
    marks = _marks(stream)
    if takes_colour(stream):
        lines.append(f"as the model sees it: {_legend(stream)}")
    else:
        lines.append(
            f"as the model sees it; what is learned stands between {marks[0]} and {marks[1]}"
        )
    encoded = encode_row(row, tokens.encoder, tokens.context)
    kept = encoded.kept if encoded else None
    if kept is not None and not takes_colour(stream):
        lines[-1] += f", what is cut off between {marks[2]} and {marks[3]}"
    lines.append(_in_tokens(encoded, tokens, stream))
    for part in row.parts:
        lines += ["", f"--- {part.title}"] if part.title else [""]
        lines += _rendered(part.spans, kept, marks, stream)
    if isinstance(row.record, Prompt) and row.record.reference:
        lines += ["", "--- for the reward", readable_json(row.record.reference)]
    return lines


def token_view_lines(row: DataRow, name: str, stream: TextIO, tokens: TokenChoice) -> list[str]:
    """A row as tokens, each line behind the mark that says what becomes of it."""
    lines = [_heading(row, name)]
    if row.problem is not None:
        return [*lines, _problem(row.problem, stream)]
    encoded = encode_row(row, tokens.encoder, tokens.context)
    lines.append(_in_tokens(encoded, tokens, stream))
    if encoded is None:  # characters, then, with the same marks
        made = [(part.title, text_lines(part.spans, None)) for part in row.parts]
    else:
        bar = "│" if _can_show("│", stream) else "|"
        made = [
            (part.part.title, token_lines(part, encoded.encoder, encoded.kept, bar))
            for part in encoded.parts
        ]
    lines.append("+ learned   x cut off by the context length   the rest is masked")
    for title, found in made:
        lines += ["", f"--- {title}"] if title else [""]
        lines += [_marked(line, stream) for line in found]
    return lines


def _heading(row: DataRow, name: str) -> str:
    line = f" (line {row.line})" if row.line is not None else ""
    what = f": {row.record.form}, written as {row.dialect}" if row.record else ""
    return f"{steady(name)} row {row.row}{line}{what}"


def _problem(problem: Noted, stream: TextIO) -> str:
    words = [steady(word) for word in (problem.field, problem.reason) if word]
    return f"{paint('cannot be used:', 'red', stream)} {': '.join(words)}"


def _in_tokens(encoded: Encoded | None, tokens: TokenChoice, stream: TextIO) -> str:
    if encoded is None:
        return f"not counted in tokens: {steady(tokens.lacking)}"
    words = fit_words(encoded.fit, tokens.context, encoded.encoder.name)
    is_hurt = encoded.fit.problem or encoded.fit.num_cut
    return paint(words, "yellow", stream) if is_hurt else words


def _legend(stream: TextIO) -> str:
    return " ".join(_styled(name, code, stream) for name, code in _STYLES.items())


def _marked(line: Line, stream: TextIO) -> str:
    # The marks of a part's lines stand apart from its text, so that none is taken for it.
    parts = "".join(_styled(text, _STYLES.get(name, ""), stream) for text, name in line.parts)
    return f"{line.mark} {parts}" if line.mark else parts


def row_for_programs(
    row: DataRow, name: str, tokens: TokenChoice, *, with_tokens: bool = False
) -> dict[str, Any]:
    """A row with everything that is known of it.

    Args:
        row: The row.
        name: Of its file.
        tokens: Tells how it fits.
        with_tokens: Whether each token is named, too.
    """
    made: dict[str, Any] = {"path": name, "row": row.row, "line": row.line, "raw": row.raw}
    if row.problem is not None or row.record is None:
        return made | {"problem": row.problem}
    encoded = encode_row(row, tokens.encoder, tokens.context)
    parts: list[dict[str, Any]] = [
        {"title": part.title, "spans": [span._asdict() for span in part.spans]}
        for part in row.parts
    ]
    if encoded is not None and with_tokens:
        for part, found in zip(parts, encoded.parts, strict=True):
            part["tokens"] = list(tokens_of(found, encoded.encoder, encoded.kept))
    return made | {
        "form": row.record.form,
        "dialect": row.dialect,
        "record": to_row(row.record),
        "tokenizer": encoded.encoder.name if encoded else None,
        "context": tokens.context,
        "fit": encoded.fit if encoded else None,
        "parts": parts,
    }


def _rendered(
    spans: Sequence[Span], kept: int | None, marks: Sequence[str], stream: TextIO
) -> list[str]:
    """Spans as text, a turn after the other, each from the start of a line."""
    lines = []
    has_colour = takes_colour(stream)
    around = {"learned": marks[:2], "cut": marks[2:]}
    for _, turn in groupby(spans, key=lambda span: span.message):
        text = ""
        for state, run in groupby(turn, key=lambda span: state_of(span, kept)):
            inner = "".join(_span(span, kept, stream) for span in run)
            before, after = ("", "") if has_colour else around.get(state, ("", ""))
            text += f"{before}{inner}{after}"
        lines.append(text)
    return lines


def _span(span: Span, kept: int | None, stream: TextIO) -> str:
    # Line by line: a pager forgets a style at the end of a line.
    code = _STYLES[paint_of(state_of(span, kept), is_control=span.is_control)]
    return "\n".join(_styled(line, code, stream) for line in shown_text(span).split("\n"))


def _marks(stream: TextIO) -> tuple[str, str, str, str]:
    """What stands around what is learned, and around what is cut off."""
    return ("«", "»", "[-", "-]") if _can_show("«»", stream) else ("<<", ">>", "[-", "-]")


def _styled(text: str, code: str, stream: TextIO) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if text and code and takes_colour(stream) else text


def _can_show(text: str, stream: TextIO) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
