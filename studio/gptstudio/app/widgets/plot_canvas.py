"""Lines drawn on a grid of braille dots, two to a cell across and four up, or in ASCII.

A column of dots is one integer, its lowest bit the lowest dot. Written in hexadecimal it has one
digit for each row of cells, two columns side by side make a byte a cell, and a table makes that a
character: so a whole plot takes a few calls for each row of cells, and none for a single dot.
"""

import functools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from gptstudio.app.widgets.plot_axes import Span
from gptstudio.services.curves import Curve, smooth

DOTS_ACROSS, DOTS_UP = 2, 4

#: `faint`: dots with holes, behind all else. `dotted`: a line of single dots.
Style = Literal["solid", "dotted", "faint"]

#: Which dot a value is at, from the bottom.
ToDot = Callable[[float], int]


class Stroke(NamedTuple):
    """What a curve is in one column of dots.

    Args:
        column: Number of the column, from the left.
        low: The lowest value there.
        high: The highest.
        first: The mean of its first point.
        last: The mean of its last point.
        mean: The mean of its points.
        joined: Whether the line comes here from the stroke before: there is no gap in between.
    """

    column: float
    low: float
    high: float
    first: float
    last: float
    mean: float
    joined: bool


class Layer(NamedTuple):
    """A drawn line.

    Args:
        role: Stands for it in a row's roles, 1 to 255.
        masks: Its dots, an integer a column.
        style: How it looks.
    """

    role: int
    masks: list[int]
    style: Style = "solid"


class Marker(NamedTuple):
    """A single point that stands out.

    Args:
        role: Whose it is.
        cell: From the left.
        row: From the top.
        mark: The character that it is.
    """

    role: int
    cell: int
    row: int
    mark: str


class Row(NamedTuple):
    """A row of characters.

    Args:
        text: What stands there.
        roles: Of each character what it belongs to; 0: nothing.
    """

    text: str
    roles: bytes


def strokes(curve: Curve, span: Span, columns: int) -> list[Stroke]:
    """A curve as a stroke a column, and none where it has no finite value.

    A point next to the left or right end of `span` is a stroke in a column beyond them, so that
    the line goes on to there.
    """
    x, pitch, end = curve.x, span.length / columns, span.start + span.length
    at, stop = bisect_left(x, span.start), bisect_right(x, end)
    found = _beyond(curve, at - 1, span, pitch, False) if at else []
    joined = bool(found)
    column = -1
    while at < stop:
        column = min(max(int((x[at] - span.start) / pitch), column + 1), columns - 1)
        right = span.start + (column + 1) * pitch if column < columns - 1 else math.inf
        part = slice(at, bisect_left(x, right, at + 1, stop))
        mean: Sequence[float] = curve.mean[part]
        low: Sequence[float] = curve.low[part]
        high: Sequence[float] = curve.high[part]
        total = sum(mean)
        starts, ends = joined, True
        if math.isnan(total):
            starts, ends = joined and mean[0] == mean[0], mean[-1] == mean[-1]
            mean, low, high = ([v for v in each if v == v] for each in (mean, low, high))
            total = sum(mean)
        if mean:
            lowest, highest = min(low), max(high)
            middle = total / len(mean)
            if not lowest <= middle <= highest:  # the sum of huge values was too large
                middle = lowest / 2 + highest / 2
            found.append(Stroke(column, lowest, highest, mean[0], mean[-1], middle, starts))
        joined = bool(mean) and ends
        at = part.stop
    return found + (_beyond(curve, stop, span, pitch, joined) if stop < len(x) else [])


def _beyond(curve: Curve, at: int, span: Span, pitch: float, joined: bool) -> list[Stroke]:
    value, column = curve.mean[at], (curve.x[at] - span.start) / pitch
    if value != value:
        return []
    return [Stroke(column, value, value, value, value, value, joined)]


def smoothed(found: list[Stroke], weight: float) -> list[Stroke]:
    """The running mean of strokes, a stroke with a single value each."""
    means = smooth(Curve.of([each.column for each in found], [each.mean for each in found]), weight)
    return [
        Stroke(old.column, value, value, value, value, value, old.joined)
        for old, value in zip(found, means.mean, strict=True)
    ]


def draw(found: Sequence[Stroke], columns: int, to_dot: ToDot) -> list[int]:
    """Strokes as columns of dots, joined where there is no gap."""
    masks = [0] * columns
    before: tuple[float, int, int, int] | None = None
    for column, low, high, first, last, _, joined in found:
        bottom, top = to_dot(low), to_dot(high)
        if 0 <= column < columns:
            masks[int(column)] |= _bits(bottom, top)
        if before is not None and joined:
            left, left_bottom, left_top, left_last = before
            if column - left > 1:
                _join(masks, left, left_last, column, to_dot(first))
            elif bottom > left_top:  # next to each other: over the shortest way
                _join(masks, left, left_top, column, bottom)
            elif top < left_bottom:
                _join(masks, left, left_bottom, column, top)
        before = column, bottom, top, to_dot(last)
    return masks


def _bits(one: int, other: int) -> int:
    return (2 << one) - (1 << other) if one > other else (2 << other) - (1 << one)


def _join(masks: list[int], left: float, start: int, right: float, end: int) -> None:
    """Draw a straight line between two dots, of which one or both may lie beyond the canvas."""
    slope = (end - start) / (right - left)
    first = -1 if left < -1 else math.floor(left)
    last = len(masks) if right > len(masks) else math.ceil(right)
    before = start if left >= -1 else round(start + slope * (-1 - left))
    for column in range(first + 1, last + 1):
        dot = end if column >= right else round(start + slope * (column - left))
        middle = (before + dot) // 2
        turn = middle + 1 if before < dot else middle
        if column > 0:
            masks[column - 1] |= _bits(before, middle if before <= dot else middle + 1)
        if column < len(masks):
            masks[column] |= _bits(dot, turn)
        before = dot


def markers(
    role: int,
    found: Sequence[Stroke],
    columns: int,
    height: int,
    to_dot: ToDot,
    apart: int,
    *,
    mark: str,
    start: int = 0,
) -> list[Marker]:
    """Markers at the strokes of a line, at least so many cells `apart`, from cell `start` on."""
    placed: list[Marker] = []
    for stroke in found:
        if 0 <= stroke.column < columns:
            cell = int(stroke.column) // DOTS_ACROSS
            if cell >= (placed[-1].cell + apart if placed else start):
                row = height - 1 - to_dot(stroke.mean) // DOTS_UP
                placed.append(Marker(role, cell, row, mark))
    return placed


def compose(
    layers: Sequence[Layer],
    points: Sequence[Marker],
    height: int,
    *,
    ascii: bool = False,
) -> list[Row]:
    """Layers and markers as rows of characters, the first row on top.

    Where layers share a cell, it belongs to the first of them. Markers lie above all layers.
    """
    rasters = [_raster(layer, height) for layer in layers]
    rows = [_row(layers, rastered, ascii) for rastered in zip(*rasters, strict=True)]
    for role, cell, number, mark in points:
        text, roles = rows[number]
        rows[number] = Row(
            text[:cell] + mark + text[cell + 1 :],
            roles[:cell] + bytes((role,)) + roles[cell + 1 :],
        )
    return rows


def _raster(layer: Layer, height: int) -> list[bytes]:
    """The dots of a layer as rows of bytes, a byte a cell."""
    masks = layer.masks if layer.style == "solid" else _with_holes(layer, height)
    digits = [f"{mask:0{height}x}" for mask in masks]
    return [bytes.fromhex("".join(row)) for row in zip(*digits, strict=True)]


def _with_holes(layer: Layer, height: int) -> list[int]:
    """Every other dot of tall strokes, their ends always; of a dotted line every other column."""
    masks = []
    even = int("5" * height, 16)
    for column, mask in enumerate(layer.masks):
        if mask.bit_count() > 2:
            ends = 1 << mask.bit_length() - 1 | mask & -mask
            mask = mask & (even << column % 2) | ends
        elif layer.style == "dotted" and column % 2 and layer.masks[column - 1]:
            mask = 0
        masks.append(mask)
    return masks


def _row(layers: Sequence[Layer], rastered: Sequence[bytes], ascii: bool) -> Row:
    roles = bytes(len(rastered[0]))
    if not any(map(any, rastered)):
        return Row(" " * len(roles), roles)
    dots, text = 0, " " * len(roles)
    for layer, cells in zip(layers, rastered, strict=True):
        if not any(cells):
            continue
        if layer.style == "faint":  # it has only the cells that no other has
            cells = bytes([0 if role else cell for role, cell in zip(roles, cells, strict=True)])
        dots |= int.from_bytes(cells)
        owned = cells.translate(_owned_by(layer.role))
        if ascii:
            drawn = cells.decode("latin-1").translate(_ascii(layer.style))
            text = "".join(
                [old if role else new for role, old, new in zip(roles, text, drawn, strict=True)]
            )
        roles = bytes([old or new for old, new in zip(roles, owned, strict=True)])
    if not ascii:
        text = dots.to_bytes(len(roles)).decode("latin-1").translate(_braille())
    return Row(text, roles)


def _owned_by(role: int) -> bytes:
    """A table from the dots of a cell to who has it."""
    return b"\0" + bytes((role,)) * 255


@functools.cache
def _braille() -> str:
    """The character of each cell: its left column is the high digit, whose lowest bit is lowest."""
    places = (0x80, 0x20, 0x10, 0x08, 0x40, 0x04, 0x02, 0x01)

    def character(dots: int) -> str:
        return chr(0x2800 + sum(place for bit, place in enumerate(places) if dots >> bit & 1))

    return " " + "".join(map(character, range(1, 256)))


@functools.cache
def _ascii(style: Style) -> str:
    """The ASCII character of each cell."""
    if style == "solid":
        return " " + "".join(map(_likeness, range(1, 256)))
    return " " + (":" if style == "faint" else ".") * 255


def _likeness(dots: int) -> str:
    """The ASCII character most like a cell of a solid line."""
    left, right = dots >> 4, dots & 15
    if max(left.bit_count(), right.bit_count()) > 2:
        return "|"
    heights = [_height(side) for side in (left, right) if side]
    if len(heights) == 2 and abs(heights[0] - heights[1]) > 1:
        return "/" if heights[0] < heights[1] else "\\"
    height = sum(heights) / len(heights)
    return "_" if height < 0.75 else "-" if height < 2.25 else "'"


def _height(side: int) -> float:
    bits = [bit for bit in range(DOTS_UP) if side >> bit & 1]
    return sum(bits) / len(bits)
