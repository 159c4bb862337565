"""Lines of a row laid out in cells; knows no widget."""

from collections.abc import Sequence

from rich.cells import cell_len, get_character_cell_size

from gptstudio.services.row_lines import Paint

#: Text and its paint.
Part = tuple[str, Paint]
#: A line is broken behind one of these, where there is one in the second half of it.
_BREAKS = " │"


def wrapped(parts: Sequence[Part], width: int) -> list[list[Part]]:
    """A line in rows of at most `width` cells; an empty one is a row, too.

    Args:
        parts: Its text, without line feeds.
        width: At least 2.
    """
    rows: list[list[Part]] = [[]]
    room = width
    for text, paint in parts:
        while text:
            piece, text = _taken(text, room, is_fresh=room == width)
            if piece:
                rows[-1].append((piece, paint))
                room -= cell_len(piece)
            if text:
                rows.append([])
                room = width
    return rows


def _taken(text: str, room: int, *, is_fresh: bool) -> tuple[str, str]:
    """As much of the text as fits, and the rest."""
    at = room if text.isascii() else _fitting(text, room)
    if at >= len(text):
        return text, ""
    broken = max(text.rfind(mark, 0, at) for mark in _BREAKS) + 1
    if broken > at // 2 or (broken and not is_fresh):
        at = broken
    elif not is_fresh and text[0] not in _BREAKS and at < len(text) and room < 8:
        at = 0  # not worth to be begun here
    return text[:at], text[at:]


def _fitting(text: str, room: int) -> int:
    """How many characters fit."""
    used = 0
    for at, character in enumerate(text):
        used += get_character_cell_size(character)
        if used > room:
            return at
    return len(text)
