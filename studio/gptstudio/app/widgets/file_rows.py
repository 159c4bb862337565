"""Lines of text laid out in rows of cells: wrapped or cut, with matches; knows no terminal.

A character takes 0, 1 or 2 cells. Those of no cells stay with the one before them, at most
`MARKS_A_CELL` of them, so that no stack of them grows out of its row.
"""

import re
from dataclasses import dataclass

from rich.cells import get_character_cell_size as cells_of

from gptstudio.services.text_file import Line
from gptstudio.services.text_search import ignores_case

MARKS_A_CELL = 4
#: Where more marks than that may stand in a row; mostly these are other characters.
_STACKS = re.compile(rf"(?:[^\w\x00-\u02ff]|[\u1160-\u11ff\ud7b0-\ud7ff]){{{MARKS_A_CELL + 1},}}")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the screen.

    Attributes:
        line: The line it shows a piece of.
        begin: Index of the piece's first character in the line's tidy text.
        text: The piece.
        matches: Matches as ranges of `text`, ascending.
        marked: Whether the row is part of the line that a search has found.
        cut: Whether the line goes on to the right of it, out of sight.
    """

    line: Line
    begin: int
    text: str
    matches: tuple[tuple[int, int], ...] = ()
    marked: bool = False
    cut: bool = False


def tidy(text: str) -> str:
    """Text whose characters of no cells all have one to stand on, and are not too many there."""
    if text.isascii():
        return text
    text = _STACKS.sub(_thin, text)
    return " " + text if cells_of(text[0]) == 0 else text


def _thin(stack: re.Match[str]) -> str:
    kept: list[str] = []
    marks = 0
    for character in stack.group():
        marks = 0 if cells_of(character) else marks + 1
        if marks <= MARKS_A_CELL:
            kept.append(character)
    return "".join(kept)


def wrap(text: str, width: int) -> list[int]:
    """Indices at which the rows of a tidy text begin, where a row has `width` cells.

    A character wider than that has a row of its own.
    """
    if text.isascii():
        return list(range(0, len(text), width)) or [0]
    begins = [0]
    filled = 0
    for index, character in enumerate(text):
        cells = cells_of(character)
        filled += cells
        if filled > width and cells and index > begins[-1]:
            begins.append(index)
            filled = cells
    return begins


def crop(text: str, left: int, width: int) -> tuple[int, int, int]:
    """The piece of a tidy text in a window of cells.

    Args:
        text: The text.
        left: Cells left of the window.
        width: Cells of the window.

    Returns:
        Index of the first character in the window, index after the last one, and blank cells
        before the first one: 1 where half a character is out of the window.
    """
    if text.isascii():
        return min(left, len(text)), min(left + width, len(text)), 0
    begin = at = 0
    while begin < len(text) and (at < left or cells_of(text[begin]) == 0):
        at += cells_of(text[begin])
        begin += 1
    blank = max(0, at - left)
    end = begin
    while end < len(text) and at + cells_of(text[end]) <= left + width:
        at += cells_of(text[end])
        end += 1
    return begin, end, blank


def lay_out(
    line: Line, width: int, *, left: int, wrapping: bool, words: str, marked: bool
) -> list[Row]:
    """The rows of a line.

    Args:
        line: The line.
        width: Cells of a row.
        left: Cells of the line left of the row, where it is not wrapped.
        wrapping: Whether it is wrapped; otherwise it has one row.
        words: What is looked for.
        marked: Whether a search has found this line.
    """
    text = tidy(line.text)
    pattern = pattern_of(words)
    if wrapping:
        begins = wrap(text, width)
        pieces = [(*piece, 0) for piece in zip(begins, [*begins[1:], len(text)], strict=True)]
    else:
        pieces = [crop(text, left, width)]
    return [
        Row(
            line,
            begin if wrapping else 0,
            " " * blank + text[begin:end],
            _matches(text, begin, end, blank, pattern, len(words)) if pattern else (),
            marked,
            not wrapping and end < len(text),
        )
        for begin, end, blank in pieces
    ]


def column_of(line: Line, words: str) -> int:
    """Cells of a line before its first match."""
    text = tidy(line.text)
    pattern = pattern_of(words)
    match = pattern.search(text) if pattern else None
    return sum(map(cells_of, text[: match.start()])) if match else 0


def pattern_of(words: str) -> re.Pattern[str] | None:
    """What to look for in shown text; in any case where the words have no capital."""
    if not words:
        return None
    return re.compile(re.escape(words), re.IGNORECASE if ignores_case(words) else 0)


def _matches(
    text: str, begin: int, end: int, blank: int, pattern: re.Pattern[str], reach: int
) -> tuple[tuple[int, int], ...]:
    """Matches in the piece ``[begin, end)`` of a text, also those that reach over its ends."""
    found: list[tuple[int, int]] = []
    for match in pattern.finditer(text, max(0, begin - reach + 1), end + reach - 1):
        first, last = max(begin, match.start()), min(end, match.end())
        while first > begin and cells_of(text[first]) == 0:
            first -= 1
        while last < end and cells_of(text[last]) == 0:
            last += 1
        if first < last:
            found.append((first - begin + blank, last - begin + blank))
    return tuple(found)
