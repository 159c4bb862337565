"""A growing series of points in bounded memory: the newest as they are, older ones in buckets.

Points enter a tail and leave it 32 to a bucket. The buckets pass through four tables; where one
is full, its older half goes on to the next with four buckets made one, and the last table halves
itself. So the newest N points are sharp enough for a plot a hundred columns wide whatever N is,
no extreme is lost, and what became of a point depends on nothing but the points.
"""

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any

#: Points that stay as they are, at least.
TAIL = 4096
#: Points that leave the tail at a time.
FLUSH = 1024
#: Points in a new bucket.
SPAN = 32
TABLES = 4
#: A table with so many buckets gives away half of them.
CAPACITY = 1024
#: Buckets that are made one on the way to the next table.
GROUP = 4
#: No series has more points and buckets than this.
MOST_POINTS = TAIL + FLUSH + TABLES * CAPACITY


def _doubles() -> "array[float]":
    return array("d")


@dataclass(slots=True)
class Stretches:
    """One metric over consecutive stretches of points.

    Args:
        low: The lowest finite value of each stretch; NaN where there is none.
        high: The highest, likewise.
        mean: The mean, likewise.
        count: How many there are.
    """

    low: "array[float]" = field(default_factory=_doubles)
    high: "array[float]" = field(default_factory=_doubles)
    mean: "array[float]" = field(default_factory=_doubles)
    count: "array[float]" = field(default_factory=_doubles)

    def columns(self) -> "tuple[array[float], ...]":
        """All columns."""
        return self.low, self.high, self.mean, self.count

    def extend(self, stretches: list[list[Any]]) -> None:
        """Append stretches of values, which are put in order; None: not finite."""
        try:
            for part in stretches:
                part.sort()  # half the time of min and max
        except TypeError:
            stretches = [[value for value in part if value is not None] for part in stretches]
            for part in stretches:
                part.sort()
        low = [part[0] if part else math.nan for part in stretches]
        high = [part[-1] if part else math.nan for part in stretches]
        mean = [sum(part) / len(part) if part else math.nan for part in stretches]
        self.low.extend(low)
        self.high.extend(high)
        self.mean.extend(map(_within, low, mean, high))
        self.count.extend(map(len, stretches))

    def merged(self, group: int) -> "Stretches":
        """Each `group` neighbours made one; their number is a multiple of `group`."""
        low, high, mean, count = self.columns()
        if gaps := 0.0 in count:  # NaN would spread
            low = array("d", [v if v == v else math.inf for v in low])
            high = array("d", [v if v == v else -math.inf for v in high])
            mean = array("d", [v if v == v else 0.0 for v in mean])
        sums = [v * n for v, n in zip(mean, count, strict=True)]
        parts = range(group)
        lows = list(map(min, *(low[part::group] for part in parts)))
        highs = list(map(max, *(high[part::group] for part in parts)))
        totals = map(sum, zip(*(sums[part::group] for part in parts), strict=True))
        counts = list(map(sum, zip(*(count[part::group] for part in parts), strict=True)))
        means = [total / (n or math.nan) for total, n in zip(totals, counts, strict=True)]
        if gaps:
            lows = [v if n else math.nan for v, n in zip(lows, counts, strict=True)]
            highs = [v if n else math.nan for v, n in zip(highs, counts, strict=True)]
        means = list(map(_within, lows, means, highs))
        return Stretches(*(array("d", column) for column in (lows, highs, means, counts)))


def _within(low: float, mean: float, high: float) -> float:
    """A mean that rounding, or the sum of huge values, has not carried out of its range."""
    if low <= mean <= high:
        return mean
    return min(max(mean, low), high) if math.isfinite(mean) else low / 2 + high / 2


class Buckets:
    """A table of buckets.

    Args:
        num_metrics: Metrics of each.
    """

    def __init__(self, num_metrics: int) -> None:
        self.first = array("d")  # step of the first point
        self.last = array("d")  # step of the last point, which time and tokens are of, too
        self.time = array("d")
        self.tokens = array("d")
        self.metrics = [Stretches() for _ in range(num_metrics)]

    def __len__(self) -> int:
        return len(self.first)

    def columns(self) -> "Iterator[array[float]]":
        """All columns, in the same order for every table."""
        yield from (self.first, self.last, self.time, self.tokens)
        for metric in self.metrics:
            yield from metric.columns()

    def extend(self, other: "Buckets") -> None:
        """Append the buckets of another table."""
        for column, more in zip(self.columns(), other.columns(), strict=True):
            column.extend(more)

    def take(self, count: int) -> "Buckets":
        """Remove the oldest `count` buckets and return them."""
        taken = Buckets(len(self.metrics))
        for column, old in zip(self.columns(), taken.columns(), strict=True):
            old.extend(column[:count])
            del column[:count]
        return taken

    def merged(self, group: int) -> "Buckets":
        """Each `group` neighbours made one; their number is a multiple of `group`."""
        result = Buckets(0)
        result.first = self.first[::group]
        result.last = self.last[group - 1 :: group]
        result.time = self.time[group - 1 :: group]
        result.tokens = self.tokens[group - 1 :: group]
        result.metrics = [metric.merged(group) for metric in self.metrics]
        return result

    def undo(self, step: float) -> None:
        """Drop what lies behind `step`; a bucket that reaches over it keeps its values."""
        keep = bisect_right(self.first, step)
        for column in self.columns():
            del column[keep:]
        if keep and self.last[-1] > step:
            if self.last[-1] > 0:  # tokens come evenly
                self.tokens[-1] *= max(step, 0.0) / self.last[-1]
            self.last[-1] = step


class Tail:
    """Points as they are.

    Args:
        num_metrics: Metrics of each.
    """

    def __init__(self, num_metrics: int) -> None:
        self.steps: list[float] = []
        self.times: list[float] = []
        self.width = 1 + num_metrics
        #: Tokens and metrics of point after point: columns would cost two more copies.
        self.rows: list[Any] = []

    def __len__(self) -> int:
        return len(self.steps)

    def column(self, number: int) -> list[Any]:
        """Of the rows: the tokens are number 0."""
        return self.rows[number :: self.width]

    def move(self, count: int, span: int, buckets: Buckets) -> None:
        """Move the oldest `count` points into a table, `span` to a bucket."""
        width, last = self.width, slice(span - 1, count, span)
        buckets.first.extend(self.steps[:count:span])
        buckets.last.extend(self.steps[last])
        buckets.time.extend(self.times[last])
        buckets.tokens.extend(self.rows[(span - 1) * width : count * width : span * width])
        starts = range(0, count * width, span * width)
        for number, metric in enumerate(buckets.metrics, start=1):
            metric.extend(
                [self.rows[start + number : start + span * width : width] for start in starts]
            )
        del self.steps[:count], self.times[:count], self.rows[: count * width]

    def undo(self, step: float) -> None:
        """Drop the points behind `step`."""
        keep = bisect_right(self.steps, step)
        del self.steps[keep:], self.times[keep:], self.rows[keep * self.width :]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A series as it was at a moment; all columns as long as each other, not to be changed.

    Args:
        axes: Steps, wall times and tokens of the points, none ever falling.
        metrics: Low, high and mean of each metric; NaN: a gap.
    """

    axes: "tuple[array[float], array[float], array[float]]"
    metrics: "tuple[tuple[array[float], array[float], array[float]], ...]"


class Series:
    """Some metrics that are measured together, over the steps of a stage.

    Args:
        num_metrics: How many.
    """

    def __init__(self, num_metrics: int) -> None:
        self._tail = Tail(num_metrics)
        self._tables = [Buckets(num_metrics) for _ in range(TABLES)]
        self._snapshot: Snapshot | None = None

    def __len__(self) -> int:
        """How many points and buckets there are."""
        return len(self._tail) + sum(map(len, self._tables))

    @property
    def last_step(self) -> float:
        """Step of the newest point; minus infinity where there is none."""
        if self._tail:
            return self._tail.steps[-1]
        return next((table.last[-1] for table in self._tables if table), -math.inf)

    @property
    def last_time(self) -> float:
        """Wall time of the newest point; 0 where there is none."""
        if self._tail:
            return self._tail.times[-1]
        return next((table.time[-1] for table in self._tables if table), 0.0)

    @property
    def last_tokens(self) -> float:
        """Tokens trained on at the newest point; 0 where there is none."""
        if self._tail:
            tokens: float = self._tail.rows[-self._tail.width]
            return tokens
        return next((table.tokens[-1] for table in self._tables if table), 0.0)

    def extend(
        self, steps: list[float], times: list[float], rows: Iterable[tuple[float | None, ...]]
    ) -> None:
        """Append points.

        Args:
            steps: None before `last_step`, none before its predecessor.
            times: Wall times; a clock that was set back stands still instead.
            rows: Tokens trained on so far, None for those of the point before, and the metrics,
                None for what is not finite or not known.
        """
        tail = self._tail
        times, tokens = _rising(times, self.last_time), self.last_tokens
        tail.steps.extend(steps)
        tail.times.extend(times)
        size, append = len(tail.rows), tail.rows.extend
        for row in rows:
            append(row)
        new = slice(size, None, tail.width)
        tail.rows[new] = _rising(tail.rows[new], tokens)
        while len(tail) >= TAIL + FLUSH:
            tail.move(FLUSH, SPAN, self._tables[0])
            self._settle()
        self._snapshot = None

    def _settle(self) -> None:
        """Hand on what the tables have no room for."""
        *handing, last = self._tables
        for table, following in zip(handing, self._tables[1:], strict=True):
            if len(table) >= CAPACITY:
                following.extend(table.take(CAPACITY // 2).merged(GROUP))
        if len(last) >= CAPACITY:
            halved = last.take(len(last) // 2 * 2).merged(2)
            halved.extend(last)
            self._tables[-1] = halved

    def undo(self, step: float) -> None:
        """Drop the points behind `step`, of those in buckets as far as whole buckets go."""
        self._tail.undo(step)
        if not self._tail:
            for table in self._tables:
                table.undo(step)
        self._snapshot = None

    def snapshot(self) -> Snapshot:
        """The series as it is now, for any thread."""
        if self._snapshot is None:
            tail, tables = self._tail, self._tables[::-1]
            axes = (
                _joined([table.last for table in tables], tail.steps),
                _joined([table.time for table in tables], tail.times),
                _joined([table.tokens for table in tables], tail.column(0)),
            )
            metrics = []
            for number in range(1, tail.width):
                newest = _with_gaps(tail.column(number))
                parts = [table.metrics[number - 1] for table in tables]
                low = _joined([part.low for part in parts], newest)
                high = _joined([part.high for part in parts], newest)
                metrics.append((low, high, _joined([part.mean for part in parts], newest)))
            self._snapshot = Snapshot(axes, tuple(metrics))
        return self._snapshot


def _rising(values: list[Any], floor: float) -> list[float]:
    """`values` that never fall, below `floor` or below one before; None is the one before."""
    try:
        if values[0] >= floor and sorted(values) == values:
            return values
    except TypeError:
        pass
    known = (floor if value is None else value for value in values)
    return list(accumulate(chain([floor], known), max))[1:]


def _joined(
    parts: "Sequence[array[float]]", newest: "array[float] | list[float]"
) -> "array[float]":
    result = array("d")
    for part in parts:
        result.extend(part)
    result.extend(newest)
    return result


def _with_gaps(values: list[float | None]) -> "array[float]":
    try:
        return array("d", values)  # type: ignore[arg-type]
    except TypeError:
        return array("d", [math.nan if value is None else value for value in values])
