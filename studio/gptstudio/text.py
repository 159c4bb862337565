"""Text for a terminal: lines, columns, colours, and numbers made readable."""

import os
import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

from gptcore.text import clean

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


def quote_lines(text: str, mark: str = "  | ") -> str:
    """`text` cleaned, each line behind a mark, so that it cannot pass for a line of ours."""
    return "\n".join(mark + line for line in clean(text, lines=True).split("\n"))


def takes_colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal whose owner did not ask for plain text."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, stream: TextIO) -> str:
    """`text` in a colour, where `stream` takes one."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if takes_colour(stream) else text


def columns(rows: Sequence[Sequence[str]], *, indent: str = "") -> str:
    """Rows as left-aligned columns two spaces apart; the last column is as long as it is."""
    cleaned = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cleaned, strict=True)]
    return "\n".join(
        indent
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cleaned
    )


def shorten(text: str, width: int) -> str:
    """`text` cut to `width` characters, the cut marked."""
    return text if len(text) <= width else text[: max(0, width - 3)] + "..."


def fit(text: str) -> str:
    """`text` with its lines cut to the terminal's width; whole where output is not a terminal."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(shorten(line, width) for line in text.split("\n"))


def human_count(number: float) -> str:
    """A number of things: 950, 12.3k, 124M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            value = number / limit
            return f"{value:.0f}{unit}" if value >= 99.5 else f"{value:.1f}{unit}"
    return f"{number:.0f}"


def human_bytes(number: float) -> str:
    """A number of bytes: 512 B, 1.5 MiB, 15.9 GiB."""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def human_time(seconds: float) -> str:
    """A length of time: 45 s, 3 min 20 s, 2 h 05 min, 3 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
