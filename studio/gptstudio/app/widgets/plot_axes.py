"""Where a plot's axes begin and end, and ticks at numbers a person would choose."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal, NamedTuple

from gptstudio.services.curves import Axis

#: What the values of a plot are counted in: plain, bytes, or a share of one.
Unit = Literal["number", "bytes", "share"]

_LARGEST = 8e307  # so that no difference overflows
_SMALLEST = 1e-290
#: Finer than this, relative to the values, is rounding.
_RESOLUTION = 1e-12
#: Powers of ten from minus so many to so many are numbers.
_DECADES = 307.0

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_TIME_STEPS = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 5 * _DAY),
)
#: Lengths of an x axis: each a tenth more than the one before, so that it seldom changes.
_LENGTHS = (
    *(1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.8, 2.0, 2.2, 2.4, 2.7, 3.0),
    *(3.3, 3.6, 4.0, 4.4, 4.8, 5.3, 5.8, 6.4, 7.0, 7.7, 8.5, 9.3, 10.0),
)
#: Amounts that have a suffix, and how many of their parts are worth decimals.
_SUFFIXES = ((1e12, "T", 100), (1e9, "G", 100), (1e6, "M", 100), (1e3, "k", 10))
_BYTES = ((2.0**40, "T"), (2.0**30, "G"), (2.0**20, "M"), (2.0**10, "K"))


class Tick(NamedTuple):
    """A mark on an axis.

    Args:
        place: Where, in the coordinate of the axis.
        label: What it says.
    """

    place: float
    label: str


class Scale(NamedTuple):
    """A y axis.

    Args:
        low: Its lower end: a value, or the logarithm to base ten of one.
        high: Its upper end, above the lower one.
        ticks: From the lowest to the highest.
    """

    low: float
    high: float
    ticks: tuple[Tick, ...]


class Span(NamedTuple):
    """An x axis.

    Args:
        start: Its left end.
        length: From there to its right end.
    """

    start: float
    length: float


def nice_step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is at least `least`."""
    return _fitting(least, (1.0, 2.0, 5.0, 10.0))


def _fitting(least: float, mantissas: Sequence[float]) -> float:
    power = math.floor(math.log10(least))
    found = (float(f"{mantissa:g}e{power}") for mantissa in mantissas)
    return next((step for step in found if step >= least), float(f"1e{power + 1}"))


def linear_scale(low: float, high: float, rows: int, unit: Unit = "number") -> Scale:
    """A y axis for values.

    Args:
        low: The lowest value.
        high: The highest.
        rows: Rows of the plot.
        unit: What the values are counted in.
    """
    low, high = _widened(low, high)
    counted = _counted_in(unit, low, high)
    low, high = low / counted, high / counted
    step = nice_step((high - low) / max(2, rows / 3))
    quarter = step / 4  # rounded, the ends seldom move while values come in
    low, high = math.floor(low / quarter) * quarter, math.ceil(high / quarter) * quarter
    values = _multiples(step, low, high)
    while len(values) < 2 <= rows:
        step = nice_step(step / 2.6)  # the next one down: 5, 2, 1, 0.5
        values = _multiples(step, low, high)
    labels = _labels(values, step, unit, counted)
    ticks = (Tick(value * counted, label) for value, label in zip(values, labels, strict=True))
    return Scale(low * counted, high * counted, tuple(ticks))


def _widened(low: float, high: float) -> tuple[float, float]:
    """The range as one that has a middle and can be divided."""
    low, high = (min(max(value, -_LARGEST), _LARGEST) for value in (low, high))
    size = max(abs(low), abs(high))
    if size < _SMALLEST:
        return -1.0, 1.0
    if low == high:
        return low - size / 20, high + size / 20
    least = max(size * _RESOLUTION, _SMALLEST)
    if high - low < least:
        return low - least / 2, high + least / 2
    return low, high


def _counted_in(unit: Unit, low: float, high: float) -> float:
    size = max(abs(low), abs(high))
    if unit == "bytes":
        return next((amount for amount, _ in _BYTES if size >= amount), 1.0)
    return 0.01 if unit == "share" and size < 1 / _SMALLEST else 1.0


def _multiples(step: float, low: float, high: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_scale(low: float, high: float, rows: int, unit: Unit = "number") -> Scale:
    """A y axis for the logarithms of values: ends and ticks are logarithms to base ten.

    Args:
        low: Logarithm of the lowest value.
        high: Logarithm of the highest.
        rows: Rows of the plot.
        unit: What the values are counted in.
    """
    if high - low < 1e-3:
        low, high = low - 0.02, high + 0.02
    most = max(2, rows // 3)
    quarter = nice_step((high - low) / most) / 4
    low, high = math.floor(low / quarter) * quarter, math.ceil(high / quarter) * quarter
    every = max(1, math.ceil((high - low) / most))
    for mantissas in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1, 3), (1,)):
        places = list(_decades(low, high, mantissas, every if mantissas == (1,) else 1))
        if 2 <= len(places) <= most:
            break
    if len(places) < 2:  # within one decade: as on a linear axis
        lowest, highest = (10 ** min(max(end, -_DECADES), _DECADES) for end in (low, high))
        linear = linear_scale(lowest, highest, rows, unit)
        ticks = [(math.log10(tick.place), tick.label) for tick in linear.ticks if tick.place > 0]
    else:
        ticks = [(place, value_text(10**place, unit, 2)) for place in places]
    return Scale(
        low, high, tuple(Tick(*tick) for tick in ticks if low - 1e-9 <= tick[0] <= high + 1e-9)
    )


def _decades(low: float, high: float, mantissas: Sequence[int], every: int) -> Iterator[float]:
    """Logarithms between `low` and `high` of the mantissas in every so many-th decade."""
    logarithms = [math.log10(mantissa) for mantissa in mantissas]
    first = math.floor(low / every) * every
    powers = range(first, math.ceil(high) + 1, every)
    places = chain.from_iterable((power + part for part in logarithms) for power in powers)
    low, high = max(low, -_DECADES) - 1e-9, min(high, _DECADES) + 1e-9
    return (place for place in places if low <= place <= high)


def x_span(first: float, last: float) -> Span:
    """An x axis from about `first` to about `last`, one that seldom changes while points come."""
    size = max(abs(first), abs(last), 1e-6)
    if last - first <= size * _RESOLUTION:
        half = max(0.5, size * 1e-6)
        return Span(first - half, 2 * half)
    quantum = nice_step((last - first) / 20)
    start = min(first, math.floor(first / quantum) * quantum)  # rounding must not lose the first
    return Span(start, _fitting((last - start) * (1 + 1e-9), _LENGTHS))


def x_ticks(span: Span, cells: int, axis: Axis) -> list[Tick]:
    """Ticks of an x axis so far apart that their labels stand clear of each other."""
    end, narrowest = span.start + span.length, 3  # cells of a label with its distance
    for step in _steps(narrowest * span.length / max(1, cells), axis):
        values = _multiples(step, span.start, end)
        labels = (
            [_clock(value) for value in values]
            if axis == "time"
            else _labels(values, step, "number", 1.0)
        )
        widest = max(map(len, labels), default=0)
        if (widest + 2) * span.length <= step * cells or len(values) <= 1:
            return [Tick(value, label) for value, label in zip(values, labels, strict=True)]
    return []


def _steps(least: float, axis: Axis) -> Iterator[float]:
    """Ever wider distances of ticks, from `least` on."""
    if axis == "time":
        yield from (step for step in _TIME_STEPS if step >= least)
        least = max(least, 10 * _DAY) / _DAY
        for _ in range(40):
            step = nice_step(least)
            yield step * _DAY
            least = step * 1.5
        return
    step = nice_step(max(least, 1.0))  # there is no half step
    for _ in range(40):
        yield step
        step = nice_step(step * 1.5)


def _clock(seconds: float) -> str:
    """A time: 0, 30 s, 5 min, 1 min 30, 1 h 30, 2 d, 1 d 12 h."""
    whole = abs(round(seconds))
    minutes, hours, days = whole // _MINUTE, whole // _HOUR, whole // _DAY
    if not whole:
        return "0"
    if not minutes:
        text, rest = f"{whole} s", ""
    elif not hours:
        text, rest = f"{minutes} min", f"{whole % _MINUTE:02d}"
    elif not days:
        text, rest = f"{hours} h", f"{minutes % 60:02d}"
    else:
        text, rest = f"{days} d", f"{hours % 24} h"
    text = "-" + text if seconds < 0 else text
    return text if rest in ("", "00", "0 h") else f"{text} {rest}"


def _labels(values: list[float], step: float, unit: Unit, counted: float) -> list[str]:
    """Labels as short as tells the values apart."""
    if unit == "bytes":
        suffix = next((mark for amount, mark in _BYTES if amount == counted), "")
        return [_decimal(value, _decimals(step)) + (suffix if value else "") for value in values]
    if unit == "share":
        return [_decimal(value, _decimals(step)) + "%" for value in values]
    size = max(map(abs, values), default=0.0)
    if size >= 1e15 or 0 < size < 1e-3:
        digits = min(6, max(0, math.floor(math.log10(size)) - math.floor(math.log10(step))))
        return [_scientific(value, digits) for value in values]
    for amount, suffix, parts in _SUFFIXES:
        if size >= amount and step >= amount / parts:
            return [
                _decimal(value / amount, _decimals(step / amount)) + (suffix if value else "")
                for value in values
            ]
    return [_decimal(value, _decimals(step)) for value in values]


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _decimal(value: float, decimals: int) -> str:
    return "0" if not value else f"{value:.{decimals}f}"


def _scientific(value: float, digits: int) -> str:
    if not value:
        return "0"
    mantissa, _, power = f"{value:.{digits}e}".partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(power)}"


def value_text(value: float, unit: Unit = "number", digits: int = 4) -> str:
    """One value for people, with about so many digits: 2.315, 12.35k, 3e-4, 15.9G, 41%."""
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    if unit == "share":
        return f"{value * 100:.{min(digits, 3)}g}%"
    if unit == "bytes":
        amount, suffix = next(((a, s) for a, s in _BYTES if size >= a), (1.0, ""))
        return _trimmed(value / amount, min(digits, 3)) + suffix
    if size >= 9.9995e14 or 0 < size < 9.9995e-4:
        return _scientific(value, digits - 1)
    for amount, suffix, _ in _SUFFIXES:
        if size >= amount * 0.99995:
            return _trimmed(value / amount, digits) + suffix
    return _trimmed(value, digits)


def _trimmed(value: float, digits: int) -> str:
    """So many digits, without an exponent and without zeros at the end."""
    before = max(1, math.floor(math.log10(abs(value))) + 1) if value else 1
    text = f"{value:.{max(0, digits - before)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
