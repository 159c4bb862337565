"""A metric over its steps, thinned for a plot, and its smoothing."""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

#: What a curve is over: steps, seconds, or tokens trained on.
Axis = Literal["step", "time", "tokens"]
AXES: tuple[Axis, ...] = ("step", "time", "tokens")

#: A heavier smoothing than this is a straight line on any plot.
HEAVIEST = 0.9999


def _column() -> "array[float]":
    return array("d")


@dataclass(frozen=True, slots=True)
class Curve:
    """Points by rising `x`, each standing for one value or for several neighbours.

    The columns are as long as each other and not to be changed: snapshots share them.

    Args:
        x: Of the last value that the point stands for.
        low: The lowest of its finite values; NaN where there is none, which is a gap.
        high: The highest, likewise.
        mean: Their mean, likewise.
    """

    x: "array[float]" = field(default_factory=_column)
    low: "array[float]" = field(default_factory=_column)
    high: "array[float]" = field(default_factory=_column)
    mean: "array[float]" = field(default_factory=_column)

    @classmethod
    def of(cls, x: Iterable[float], values: Iterable[float | None]) -> "Curve":
        """A curve of single values; None and what is not finite are gaps."""
        column = array("d", [finite_or_nan(value) for value in values])
        return cls(array("d", x), column, column, column)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def newest(self) -> float:
        """The mean of the last point; NaN where that is a gap, or where there is none."""
        return self.mean[-1] if self.mean else math.nan

    def since(self, x: float) -> "Curve":
        """The points from `x` on."""
        return self._part(bisect_left(self.x, x), len(self.x))

    def until(self, x: float) -> "Curve":
        """The points up to `x`."""
        return self._part(0, bisect_right(self.x, x))

    def _part(self, start: int, end: int) -> "Curve":
        if (start, end) == (0, len(self.x)):
            return self
        part = slice(start, end)
        return Curve(self.x[part], self.low[part], self.high[part], self.mean[part])


def finite_or_nan(value: float | None) -> float:
    """`value`, and NaN for what is no number to plot."""
    return value if value is not None and math.isfinite(value) else math.nan


def smooth(curve: Curve, weight: float) -> Curve:
    """The curve with its mean replaced by an exponential moving average, corrected for its start.

    The average is of the points, whatever their distance. Gaps are passed over and stay gaps.

    Args:
        curve: Left as it is.
        weight: Of what came before, 0 (none) to 1 (taken as a little less).
    """
    weight = min(max(weight, 0.0), HEAVIEST)
    if not weight:
        return curve
    smoothed = array("d")
    average, missing = 0.0, 1.0  # how much of the average is its made-up beginning
    for value in curve.mean:
        if value == value:
            average = weight * average + (1 - weight) * value
            missing *= weight
            value = average / (1 - missing)
        smoothed.append(value)
    return Curve(curve.x, curve.low, curve.high, smoothed)
