"""How a file looks: the mark in a row's first cell, matches, and what is said about the whole."""

from rich.cells import chop_cells
from rich.segment import Segment
from rich.style import Style

from gptcore.text import steady
from gptstudio.app.widgets.file_rows import Row, tidy
from gptstudio.app.widgets.file_viewport import Screenful
from gptstudio.services.text_lines import show
from gptstudio.text import human_bytes

_LEVEL_MARKS = {"error": "!", "warning": "*"}


def mark_of(row: Row) -> str:
    """What the first cell says: `>` found, `!` error, `*` warning, `+` the rest of a cut line."""
    if row.marked and (row.matches or not row.begin):
        return ">"
    if row.begin:
        return " "
    return _LEVEL_MARKS.get(row.line.level, "+" if row.line.continued else " ")


def differing(before: tuple[Row, ...], after: tuple[Row, ...]) -> list[int]:
    """The rows that do not look as they did."""
    looks = [_look(row) for row in after]
    old = [_look(row) for row in before]
    height = max(len(looks), len(old))
    looks += [None] * (height - len(looks))
    old += [None] * (height - len(old))
    return [y for y in range(height) if looks[y] != old[y]]


def _look(row: Row) -> tuple[object, ...] | None:
    return mark_of(row), row.text, row.matches, row.line.level


def draw(row: Row, style: Style, match: Style, *, gutter: bool) -> list[Segment]:
    """A row with its matches.

    Args:
        row: The row.
        style: Of its text.
        match: Of matches, in addition.
        gutter: Whether there is room for the mark.
    """
    segments = [Segment(mark_of(row), style)] if gutter else []
    drawn = 0
    for begin, end in row.matches:
        segments.append(Segment(row.text[drawn:begin], style))
        segments.append(Segment(row.text[begin:end], style + match))
        drawn = end
    segments.append(Segment(row.text[drawn:], style))
    return [segment for segment in segments if segment.text]


def where(screen: Screenful | None, *, following: bool) -> str:
    """Where in its file a screenful is; empty where there is no file, or nothing in it."""
    if screen is None or not (size := screen.page.size):
        return ""
    parts = [f"nothing of {human_bytes(size)}"]
    if rows := screen.rows:
        share = 100 if screen.at_end else min(99, 100 * rows[-1].line.end // size)
        parts = [f"{share} % of {human_bytes(size)}, byte {rows[0].line.offset}"]
    if screen.wish.level != "all" and screen.wish.mode == "log":
        parts.append(f"{screen.wish.level} only")
    if following:
        parts.append("following")
    return "  ".join(parts)


def instead_of(screen: Screenful) -> str:
    """What is said where a file that can be read has no row to show."""
    if not screen.page.size:
        return f"the file is empty: {screen.wish.path}"
    return f"the file has no {screen.wish.level}"


def in_rows(said: str, width: int) -> list[str]:
    """Words of ours, which may name a file, wrapped to `width` cells."""
    lines = [tidy(show(steady(line).encode(), "data")) for line in said.split("\n")]
    return [row for line in lines for row in chop_cells(line, width) or [""]]
