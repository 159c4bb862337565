"""Thinned series: buckets are what their points are, and no point that counts is lost."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptstudio.services import thinning
from gptstudio.services.curves import Curve, smooth
from gptstudio.services.thinning import Series

ordinary = st.floats(-1e6, 1e6)


@contextmanager
def small_tables() -> Iterator[None]:
    """Thinning that begins at a few points."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TAIL": 8, "FLUSH": 8, "SPAN": 2, "CAPACITY": 8}.items():
            patch.setattr(thinning, name, value)
        yield


MOST_SMALL = 8 + 8 + thinning.TABLES * 8


def covered(curve: Curve, steps: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """The points of a curve, each with the numbers of the steps that it stands for."""
    bounds = [-math.inf, *curve.x]
    for point, (before, last) in enumerate(pairwise(bounds)):
        yield point, [number for number, step in enumerate(steps) if before < step <= last]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.none() | ordinary, min_size=1, max_size=30),
    st.integers(1, 100) | st.integers(2000, 4000),
    st.integers(1, 100),
)
def test_a_bucket_is_what_its_points_are(some: list[float | None], count: int, piece: int) -> None:
    steps = list(range(1, count + 1))
    values = [some[step * step % len(some)] for step in steps]
    rows = [(step * 10.0, value) for step, value in zip(steps, values, strict=True)]
    with small_tables():
        series = Series(1)
        for start in range(0, count, piece):
            part = slice(start, start + piece)
            numbers = [float(step) for step in steps[part]]
            series.extend(numbers, numbers, rows[part])
        assert len(series) <= MOST_SMALL
    curve = Curve(series.snapshot().axes[0], *series.snapshot().metrics[0])
    stood_for = []
    for point, numbers in covered(curve, steps):
        part_values = [value for number in numbers if (value := values[number]) is not None]
        stood_for += numbers
        if not part_values:
            assert math.isnan(curve.low[point] + curve.high[point] + curve.mean[point])
            continue
        assert (curve.low[point], curve.high[point]) == (min(part_values), max(part_values))
        mean = sum(part_values) / len(part_values)
        assert curve.mean[point] == pytest.approx(mean, rel=1e-9, abs=1e-6)
    assert stood_for == list(range(len(values)))
    newest = min(len(values), 8)
    assert list(curve.x)[-newest:] == [float(step) for step in steps[-newest:]]  # each by itself
    assert list(series.snapshot().axes[2]) == [x * 10 for x in curve.x]


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=100))
def test_huge_values_leave_means_in_their_range(values: list[float]) -> None:
    with small_tables():
        series = Series(1)
        for number, value in enumerate(values):
            series.extend([float(number)], [0.0], [(0.0, value)])
    for low, high, mean in zip(*series.snapshot().metrics[0], strict=True):
        assert low <= mean <= high


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.floats(0, 1), ordinary), min_size=1, max_size=12))
def test_no_point_that_counts_is_lost_by_a_resume(runs: list[tuple[int, float, float]]) -> None:
    kept: dict[int, float] = {}
    with small_tables():
        series = Series(1)
        last = 0
        for count, share, value in runs:
            last = int(last * share)
            series.undo(last)
            kept = {step: old for step, old in kept.items() if step <= last}
            for step in range(last + 1, last + count + 1):
                kept[step] = value + step
                series.extend([float(step)], [0.0], [(step * 10.0, kept[step])])
            last += count
        assert len(series) <= MOST_SMALL
    curve = Curve(series.snapshot().axes[0], *series.snapshot().metrics[0])
    assert list(curve.x) == sorted(set(curve.x))
    assert curve.x[-1] == last
    for point, numbers in covered(curve, list(kept)):
        found = [list(kept.values())[number] for number in numbers]
        assert found
        assert curve.low[point] <= min(found)
        assert curve.high[point] >= max(found)
    tokens = list(series.snapshot().axes[2])
    assert tokens == pytest.approx([x * 10 for x in curve.x])


@given(st.lists(st.none() | ordinary, max_size=60), st.floats(0, 1))
def test_smoothing_is_the_weighted_mean_of_what_came_before(
    values: list[float | None], weight: float
) -> None:
    curve = Curve.of(range(len(values)), values)
    found = smooth(curve, weight)
    weight = min(weight, 0.9999)
    total = parts = 0.0
    for value, smoothed in zip(values, found.mean, strict=True):
        if value is None:
            assert math.isnan(smoothed)
            continue
        total, parts = total * weight + value, parts * weight + 1
        assert smoothed == pytest.approx(total / parts, rel=1e-6, abs=1e-3)
    assert found.x is curve.x
    assert found.low is curve.low
