"""A whole plot as rows of characters: legend, axes, labels and lines, or a message instead."""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from rich.cells import cell_len, chop_cells

from gptstudio.app.widgets import plot_canvas
from gptstudio.app.widgets.plot_axes import (
    Scale,
    Span,
    Tick,
    linear_scale,
    log_scale,
    value_text,
    x_span,
    x_ticks,
)
from gptstudio.app.widgets.plot_canvas import DOTS_ACROSS, DOTS_UP, Layer, Marker, Row, ToDot
from gptstudio.app.widgets.plot_legend import (
    ASCII_MARKS,
    MARKS,
    PARTS,
    Line,
    Look,
    Role,
    fitted,
    harmless,
    legend,
)
from gptstudio.services.curves import Curve

__all__ = ["Line", "Look", "Role", "draw", "newest_x"]

#: In less there is no plot.
LEAST_WIDTH, LEAST_HEIGHT = 12, 4
#: Below the legend; from here on the x axis has a line of its own.
HEIGHT_FOR_AXIS = 5
#: Markers of a line that has many points stand so many cells apart; of one among several more.
MARKERS_APART = 4
PART_MARKERS_APART = 12


def draw(lines: Sequence[Line], look: Look, message: str, width: int, height: int) -> list[Row]:
    """A plot of exactly `width` by `height` cells.

    Args:
        lines: The first one has the best place where lines meet.
        look: How.
        message: Shown instead where there is nothing to draw; may have several lines.
        width: In cells.
        height: In cells.
    """
    if width < LEAST_WIDTH or height < LEAST_HEIGHT:
        return _small(lines, look, width, height)
    shown = [line._replace(curve=_until(line.curve, look.end)) for line in lines]
    hidden = False
    if look.log_scale:
        everything = [line.curve for line in shown]
        shown = [line._replace(curve=_positive(line.curve)) for line in shown]
        hidden = any(line.curve is not old for line, old in zip(shown, everything, strict=True))
    head = legend(lines, look, hidden, width, height)
    span = _span(shown, look)
    extremes = _extremes(shown, span)
    if extremes is None:
        message = message or ("no values yet" if span is None else "no finite value here")
        message = harmless(message, look.ascii, lines=True)
        return head + _message(message, width, height - len(head))
    assert span is not None
    return head + _body(shown, look, span, extremes, width, height - len(head))


# What is in the window


def newest_x(lines: Sequence[Line]) -> float | None:
    """Where the lines of this run end, or else where others do; None: nowhere."""
    own = [line.curve.x[-1] for line in lines if line.curve and line.colour_role != "overlay"]
    return max(own or [line.curve.x[-1] for line in lines if line.curve], default=None)


def _span(lines: Sequence[Line], look: Look) -> Span | None:
    firsts = [line.curve.x[0] for line in lines if line.curve]
    if not firsts:
        return None
    first, end = min(firsts), look.end
    if end is None and look.last is None:
        end = max(line.curve.x[-1] for line in lines if line.curve)
    elif end is None:
        end = newest_x(lines)
    assert end is not None
    if look.last is not None:
        first = max(first, end - look.last)
    return x_span(min(first, end), end)


def _extremes(lines: Sequence[Line], span: Span | None) -> tuple[float, float] | None:
    """The lowest and the highest finite value in the window; None: there is none."""
    if span is None:
        return None
    lows, highs = [], []
    for curve in (line.curve for line in lines):
        window = slice(
            bisect_left(curve.x, span.start), bisect_right(curve.x, span.start + span.length)
        )
        low: Sequence[float] = curve.low[window]
        high: Sequence[float] = curve.high[window]
        if math.isnan(sum(low)):
            low = [value for value in low if value == value]
        if math.isnan(sum(high)):
            high = [value for value in high if value == value]
        if low and high:
            lows.append(min(low))
            highs.append(max(high))
    return (min(lows), max(highs)) if lows else None


def _until(curve: Curve, end: float | None) -> Curve:
    return curve if end is None else curve.until(end)


def _positive(curve: Curve) -> Curve:
    """The curve without what has no logarithm; itself where all has."""
    if not any(value <= 0 for value in curve.low):
        return curve
    low, high, mean = array("d"), array("d"), array("d")
    for lowest, highest, middle in zip(curve.low, curve.high, curve.mean, strict=True):
        top = highest if highest > 0 else math.nan
        middle = middle if middle > 0 else top
        low.append(lowest if lowest > 0 else middle)
        high.append(top)
        mean.append(middle)
    return Curve(curve.x, low, high, mean)


# Messages


def _message(message: str, width: int, height: int) -> list[Row]:
    """A message in the middle, wrapped."""
    texts = _wrapped(message, width - 2)[:height]
    above = (height - len(texts)) // 2
    rows = [""] * above + texts + [""] * (height - above - len(texts))
    return [
        fitted([(" " * ((width - cell_len(text)) // 2) + text, Role.MESSAGE)], width)
        for text in rows
    ]


def _wrapped(text: str, width: int) -> list[str]:
    rows = []
    for line in text.split("\n"):
        row = ""
        for word in line.split():
            for piece in chop_cells(word, width):
                if row and cell_len(row) + 1 + cell_len(piece) > width:
                    rows.append(row)
                    row = ""
                row = f"{row} {piece}" if row else piece
        rows.append(row)
    return rows


def _small(lines: Sequence[Line], look: Look, width: int, height: int) -> list[Row]:
    """The newest value, where it has room."""
    value = next((value_text(line.curve.newest, look.unit) for line in lines if line.curve), "")
    blank = Row(" " * width, bytes(width))
    rows = [blank] * height
    if value and len(value) <= width:
        rows[height // 2] = fitted([(value, Role.LABEL)], width)
    return rows


# The plot itself


def _body(
    lines: Sequence[Line],
    look: Look,
    span: Span,
    extremes: tuple[float, float],
    width: int,
    height: int,
) -> list[Row]:
    """Axes, labels and lines."""
    has_axis = height >= HEIGHT_FOR_AXIS
    rows = height - 1 - has_axis
    scale = _scale(extremes, look, rows)
    gutter = max((len(tick.label) for tick in scale.ticks), default=0)
    if gutter > width // 3:
        scale, gutter = scale._replace(ticks=()), 0
    cells = width - gutter - 1
    drawn = _canvas(lines, look, span, scale, cells, rows)
    side = _side(scale, gutter, rows, look.ascii)
    result = [
        Row(left.text + right.text, left.roles + right.roles)
        for left, right in zip(side, drawn, strict=True)
    ]
    ticks = x_ticks(span, cells, look.axis)
    places = [min(int((t.place - span.start) / span.length * cells), cells - 1) for t in ticks]
    if has_axis:
        result.append(_axis_row(places, gutter, cells, look.ascii))
    result.append(_label_row(ticks, [gutter + 1 + place for place in places], width))
    return result


def _scale(extremes: tuple[float, float], look: Look, rows: int) -> Scale:
    low, high = extremes
    if look.log_scale:
        return log_scale(math.log10(low), math.log10(high), rows, look.unit)
    return linear_scale(low, high, rows, look.unit)


def _to_dot(scale: Scale, look: Look, dots: int) -> ToDot:
    low, high = scale.low, scale.high
    size = high - low

    def linear(value: float) -> int:
        return round((min(max(value, low), high) - low) / size * (dots - 1))

    def logarithmic(value: float) -> int:
        return linear(math.log10(value)) if value > 0 else 0  # as of a mean of the tiniest

    return logarithmic if look.log_scale else linear


def _canvas(
    lines: Sequence[Line], look: Look, span: Span, scale: Scale, cells: int, rows: int
) -> list[Row]:
    columns = cells * DOTS_ACROSS
    to_dot = _to_dot(scale, look, rows * DOTS_UP)
    layers: list[Layer] = []
    faint: list[Layer] = []
    points: list[Marker] = []
    for line in lines:
        role = line.role
        found = plot_canvas.strokes(line.curve, span, columns)
        if role == Role.BAND:
            faint.append(Layer(role, plot_canvas.draw(found, columns, to_dot), "faint"))
            continue
        inside = sum(0 <= stroke.column < columns for stroke in found)
        if look.smoothing and role != Role.SECOND and inside != 1:
            if role == Role.LINE:
                faint.append(Layer(Role.RAW, plot_canvas.draw(found, columns, to_dot), "faint"))
            found = plot_canvas.smoothed(found, look.smoothing)
        if role == Role.SECOND or role in PARTS or inside == 1:
            apart, start = _marking(role, inside, cells)
            mark = (ASCII_MARKS if look.ascii else MARKS)[role]
            points += plot_canvas.markers(
                role, found, columns, rows, to_dot, apart, mark=mark, start=start
            )
        style: plot_canvas.Style = "dotted" if role == Role.OVERLAY else "solid"
        layers.append(Layer(role, plot_canvas.draw(found, columns, to_dot), style))
    points.reverse()  # the first line's come last, on top
    return plot_canvas.compose(layers + faint, points, rows, ascii=look.ascii)


def _marking(role: Role, inside: int, cells: int) -> tuple[int, int]:
    """How far apart the markers of a line stand, and from which cell on."""
    if role in PARTS and inside > cells // PART_MARKERS_APART:  # not one above the other
        return PART_MARKERS_APART, PARTS.index(role) * PART_MARKERS_APART // len(PARTS)
    return (1 if inside <= cells // MARKERS_APART else MARKERS_APART), 0


def _side(scale: Scale, gutter: int, rows: int, ascii: bool) -> list[Row]:
    """Labels and line of the y axis."""
    labels = [""] * rows
    for tick in reversed(scale.ticks):
        dot = round((tick.place - scale.low) / (scale.high - scale.low) * (rows * DOTS_UP - 1))
        labels[rows - 1 - dot // DOTS_UP] = tick.label
    marks = ("|", "+") if ascii else ("│", "┤")
    roles = bytes((Role.LABEL,)) * gutter + bytes((Role.AXIS,))
    return [Row(label.rjust(gutter) + marks[bool(label)], roles) for label in labels]


def _axis_row(places: list[int], gutter: int, cells: int, ascii: bool) -> Row:
    corner, plain, mark = "+-+" if ascii else "└─┬"
    line = [plain] * cells
    for place in places:
        line[place] = mark
    text = " " * gutter + corner + "".join(line)
    return Row(text, bytes((Role.AXIS,)) * len(text))


def _label_row(ticks: Sequence[Tick], places: list[int], width: int) -> Row:
    text = ""
    for tick, place in zip(ticks, places, strict=True):
        start = min(max(0, place - len(tick.label) // 2), width - len(tick.label))
        if start >= len(text) + bool(text):
            text = text.ljust(start) + tick.label
    return Row(text.ljust(width), bytes((Role.LABEL,)) * width)
