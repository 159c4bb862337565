"""A row of data as text: as it stands in its file, and as the model sees it."""

import json
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any, TextIO

from gptcore.conversation import SPECIAL_TOKENS, Span
from gptcore.formats.records import Prompt, to_row
from gptcore.text import steady
from gptstudio.services.data_row import DataRow
from gptstudio.text import paint, takes_colour

_STYLES = {"learned": "1;32", "learned control": "1;36", "masked": "2", "control": "36"}
_SPELLED = re.compile("|".join(re.escape(token) for token in SPECIAL_TOKENS))
#: Beyond what can be seen everywhere as it is; in JSON this stands within strings alone.
_BEYOND_ASCII = re.compile(r"[^\n\x20-\x7e]")


def row_lines(row: DataRow, name: str, stream: TextIO) -> list[str]:
    """A row as it stands in its file, and as the model sees it."""
    line = f" (line {row.line})" if row.line is not None else ""
    what = f": {row.record.form}, written as {row.dialect}" if row.record else ""
    lines = [f"{steady(name)} row {row.row}{line}{what}", ""]
    if row.is_json:
        lines += [readable_json(row.raw), ""]
    if row.problem is not None:
        words = [steady(word) for word in (row.problem.field, row.problem.reason) if word]
        return [*lines, f"{paint('cannot be used:', 'red', stream)} {': '.join(words)}"]
    opening, closing = ("«", "»") if _can_show("«»", stream) else ("<<", ">>")
    if takes_colour(stream):
        shown = " ".join(_styled(name, code, stream) for name, code in _STYLES.items())
        lines.append(f"as the model sees it: {shown}")
    else:
        lines.append(
            f"as the model sees it; what is learned stands between {opening} and {closing}"
        )
    for part in row.parts:
        lines += ["", f"--- {part.title}"] if part.title else [""]
        lines += _rendered(part.spans, opening, closing, stream)
    if isinstance(row.record, Prompt) and row.record.reference:
        lines += ["", "--- for the reward", readable_json(row.record.reference)]
    return lines


def row_for_programs(row: DataRow, name: str) -> dict[str, Any]:
    """A row with everything that is known of it."""
    made: dict[str, Any] = {"path": name, "row": row.row, "line": row.line, "raw": row.raw}
    if row.problem is not None or row.record is None:
        return made | {"problem": row.problem}
    return made | {
        "form": row.record.form,
        "dialect": row.dialect,
        "record": to_row(row.record),
        "parts": [
            {"title": part.title, "spans": [span._asdict() for span in part.spans]}
            for part in row.parts
        ],
    }


def readable_json(value: Any) -> str:
    """JSON for people, which is JSON still: what would not be seen is written as numbers."""
    plain = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return _BEYOND_ASCII.sub(_escaped_unless_seen, plain)


def _escaped_unless_seen(match: re.Match[str]) -> str:
    character = match.group()
    if steady(character) == character:
        return character
    return json.dumps(character)[1:-1] if ord(character) > 0x7F else f"\\u{ord(character):04x}"


def _rendered(spans: Sequence[Span], opening: str, closing: str, stream: TextIO) -> list[str]:
    """Spans as text, a turn after the other, each from the start of a line."""
    lines = []
    has_colour = takes_colour(stream)
    for _, turn in groupby(spans, key=lambda span: span.message):
        text = ""
        for is_learned, run in groupby(turn, key=lambda span: span.is_learned):
            inner = "".join(_span(span, stream) for span in run)
            text += inner if has_colour or not is_learned else f"{opening}{inner}{closing}"
        lines.append(text)
    return lines


def _span(span: Span, stream: TextIO) -> str:
    if span.is_control:
        return _styled(
            span.text, _STYLES["learned control" if span.is_learned else "control"], stream
        )
    # What only spells a control token must not look like one.
    text = _SPELLED.sub(lambda match: "\\" + match.group(), steady(span.text, lines=True))
    code = _STYLES["learned" if span.is_learned else "masked"]
    # Line by line: a pager forgets a style at the end of a line.
    return "\n".join(_styled(line, code, stream) for line in text.split("\n"))


def _styled(text: str, code: str, stream: TextIO) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if text and takes_colour(stream) else text


def _can_show(text: str, stream: TextIO) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
