"""A last look at what goes to a terminal that takes ASCII alone."""

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

#: What has a likeness; box drawing and blocks are by far the most of it.
_LIKE = {
    **dict.fromkeys("─━═╌┄┈▁▔▂▃▄▀", "-"),
    **dict.fromkeys("│┃║▏▎▍▌▐▕┊╎╵╷", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰╔╗╚╝╞╡", "+"),
    **dict.fromkeys("█▓▇▆▅▊▋▉", "#"),
    **dict.fromkeys("▒░", "."),
    **dict.fromkeys("●•◉⬤", "*"),
    **dict.fromkeys("○◌", "o"),
    **dict.fromkeys("▶►▸❯→", ">"),
    **dict.fromkeys("◀◂❮←", "<"),
    **dict.fromkeys("▼▾↓", "v"),
    **dict.fromkeys("▲▴↑", "^"),
    **dict.fromkeys("✓✔", "+"),
    **dict.fromkeys("✗✘×", "x"),
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    "…": "~",
    "·": ".",
    "≈": "~",
    "‖": "=",
    "■": "#",
    "♥": "@",
    "▪": "*",
    "°": " ",
    "\xa0": " ",
}


class AsciiFilter(LineFilter):
    """Draws every character beyond ASCII by one that is like it, or by a question mark a cell."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same cells in ASCII."""
        return [
            segment
            if segment.text.isascii()
            else Segment(to_ascii(segment.text), segment.style, segment.control)
            for segment in segments
        ]


def to_ascii(text: str) -> str:
    """`text` in ASCII, as many cells wide."""
    from rich.cells import cell_len

    if cell_len(text) == len(text):  # the plain case: a character a cell
        return "".join(c if c.isascii() else _LIKE.get(c, "?") for c in text)
    drawn = "".join(c if c.isascii() else _LIKE.get(c, "?" * cell_len(c)) for c in text)
    return drawn[: cell_len(text)].ljust(cell_len(text))
