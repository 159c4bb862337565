"""What is painted cell by cell, measured as a terminal does and not as Textual does."""

import unicodedata

from textual.app import App

#: Of the frames around panes and dialogs, in Unicode and ASCII.
BORDERS = frozenset("│─╭╮╰╯")


def cells(text: str) -> int:
    """Cells that a terminal moves by, which knows no more than the width of each character."""
    return sum(map(_cells_of, text))


def _cells_of(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf", "Cc") and character != "\xad":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def painted(app: "App[object]") -> list[str]:
    """The rows of the screen, each as the text that goes to the terminal."""
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip) for strip in strips]


def borders(row: str) -> list[tuple[int, str]]:
    """Where, in cells, a row has characters of a frame."""
    found, column = [], 0
    for character in row:
        if character in BORDERS:
            found.append((column, character))
        column += _cells_of(character)
    return found


def colours(app: "App[object]") -> set[tuple[int, int, int]]:
    """Every colour that is painted."""
    styles = [
        segment.style for strip in app.screen._compositor.render_strips() for segment in strip
    ]
    found = [colour for style in styles if style for colour in (style.color, style.bgcolor)]
    return {tuple(colour.get_truecolor()) for colour in found if colour}  # type: ignore[misc]
