"""What the lines of a plot are called and look like, and the legend that says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

from rich.cells import cell_len, set_cell_size

from gptcore.text import steady
from gptstudio.app.widgets.plot_axes import Unit, value_text
from gptstudio.app.widgets.plot_canvas import Row
from gptstudio.services.curves import Axis, Curve

#: Cells of a name in the legend, and digits of a value: the first with which all fits.
LEGENDS = ((60, 4), (24, 4), (16, 4), (10, 4), (10, 3), (6, 3), (4, 3), (0, 3))
#: Of so many lines the legend takes one row, of more up to this share of the rows.
LINES_OF_A_ROW = 3
LEGEND_SHARE = 4


class Role(IntEnum):
    """What a character of a plot belongs to."""

    LINE = 1
    SECOND = 2
    OVERLAY = 3
    RAW = 4
    AXIS = 5
    LABEL = 6
    TITLE = 7
    MESSAGE = 8
    BAND = 9
    PART_0 = 10
    PART_1 = 11
    PART_2 = 12
    PART_3 = 13
    PART_4 = 14
    PART_5 = 15
    PART_6 = 16
    PART_7 = 17


PARTS = tuple(role for role in Role if role >= Role.PART_0)
_ROLES = {"line": Role.LINE, "second": Role.SECOND, "overlay": Role.OVERLAY, "band": Role.BAND}
#: What tells the points of lines apart without colour.
MARKS = dict.fromkeys(Role, "●") | dict(zip(PARTS, "●○■□▲△◆◇", strict=True))
ASCII_MARKS = dict.fromkeys(Role, "o") | dict(zip(PARTS, "ox*#@%&$", strict=True))
_GLYPHS = {Role.LINE: "──", Role.OVERLAY: "··", Role.BAND: "░░"}
_ASCII_GLYPHS = {Role.LINE: "--", Role.OVERLAY: "..", Role.BAND: "::"}


class Line(NamedTuple):
    """A line of a plot.

    Args:
        name: In the legend; outside text is fine.
        curve: Its points.
        colour_role: `line` is solid; `second` is solid with its points marked, and never
            smoothed; `overlay` is dotted, for another run; `band` is a shade from low to high
            behind all others; `part` is one of several equals, with marks of its own.
        number: Of a `part`, from 0.
    """

    name: str
    curve: Curve
    colour_role: Literal["line", "second", "overlay", "band", "part"] = "line"
    number: int = 0

    @property
    def role(self) -> Role:
        """What its characters belong to."""
        if self.colour_role == "part":
            return PARTS[self.number % len(PARTS)]
        return _ROLES[self.colour_role]


#: Pieces of a row, with what each belongs to.
_Words = list[tuple[str, Role]]


@dataclass(frozen=True, slots=True)
class Look:
    """How a plot is drawn.

    Args:
        title: Before the legend; outside text is fine.
        unit: What the values are counted in.
        axis: What x is.
        log_scale: Whether y is logarithmic.
        smoothing: Weight of the running mean, 0 (none) to 1.
        last: Only so much of x, up to its end; None: everything.
        end: Where x ends; None: at the newest point.
        ascii: Whether to do without characters beyond ASCII.
    """

    title: str = ""
    unit: Unit = "number"
    axis: Axis = "step"
    log_scale: bool = False
    smoothing: float = 0.0
    last: float | None = None
    end: float | None = None
    ascii: bool = False


def legend(lines: Sequence[Line], look: Look, hidden: bool, width: int, height: int) -> list[Row]:
    """Title and legend: the first row, if there is anything to say; of many lines some rows."""
    title = [(harmless(look.title, look.ascii), Role.TITLE)] if look.title else []
    note = []
    if hidden:
        note = [("<= 0 hidden" if look.ascii else "≤ 0 hidden", Role.LABEL)]
    most = 1 if len(lines) <= LINES_OF_A_ROW else max(1, height // LEGEND_SHARE)
    for length, digits in LEGENDS:
        entries = [_entry(line, look, length, digits) for line in lines]
        parts = [[part] for part in title] + entries + [[part] for part in note]
        rows = _in_rows(parts, width)
        if len(rows) <= most and all(_length(row) <= width for row in rows):
            break
    else:
        rows = [parts]
    return [fitted(_joined(row), width) for row in rows if row]


def _in_rows(parts: list[_Words], width: int) -> list[list[_Words]]:
    """The parts in their order, as many in a row as it has room for."""
    rows: list[list[_Words]] = [[]]
    for part in parts:
        if rows[-1] and _length([*rows[-1], part]) > width:
            rows.append([])
        rows[-1].append(part)
    return rows


def _length(parts: list[_Words]) -> int:
    return sum(cell_len(text) for text, _ in _joined(parts))


def _entry(line: Line, look: Look, length: int, digits: int) -> _Words:
    role = line.role
    glyphs, marks = (_ASCII_GLYPHS, ASCII_MARKS) if look.ascii else (_GLYPHS, MARKS)
    glyph = glyphs.get(role) or glyphs[Role.LINE][0] + marks[role]
    name = harmless(line.name, look.ascii)
    if cell_len(name) > length:
        cut = "~" if look.ascii else "…"
        name = set_cell_size(name, length - 1).rstrip() + cut if length else ""
    curve, newest = line.curve, line.curve.newest
    if role == Role.BAND and curve:
        newest = (curve.high[-1] - curve.low[-1]) / 2
    value = value_text(newest, look.unit, digits) if curve else ""
    text = " ".join(part for part in (name, value) if part)
    return [(glyph, role), (f" {text}", Role.LABEL)]


def harmless(text: str, ascii: bool, *, lines: bool = False) -> str:
    """Outside text that can stand in a plot."""
    text = steady(text, lines=lines)
    return text.encode("ascii", "replace").decode("ascii") if ascii else text


def _joined(parts: list[_Words]) -> _Words:
    joined: _Words = []
    for part in parts:
        if joined:
            joined.append(("  ", Role.LABEL))
        joined.extend(part)
    return joined


def fitted(parts: _Words, width: int) -> Row:
    """A row of exactly `width` cells."""
    text = set_cell_size("".join(part for part, _ in parts), width)
    roles = b"".join(bytes((role,)) * len(part) for part, role in parts)
    return Row(text, roles[: len(text)].ljust(len(text), b"\0"))
