"""Axes of plots: they hold what is on them, at numbers a person would choose."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gptstudio.app.widgets.plot_axes import (
    linear_scale,
    log_scale,
    nice_step,
    value_text,
    x_span,
    x_ticks,
)
from gptstudio.services.curves import Axis

axes = st.sampled_from(["step", "time", "tokens"])


@given(
    st.floats(-1e308, 1e308),
    st.floats(-1e308, 1e308),
    st.integers(1, 45),
    st.sampled_from(["number", "bytes", "share"]),
)
@example(5e-324, 5e-324, 10, "number")
@example(-1.7e308, 1.7e308, 10, "share")
@example(1e16, 1e16 + 2, 10, "number")
def test_a_linear_axis_holds_its_values(one: float, other: float, rows: int, unit: str) -> None:
    low, high = min(one, other), max(one, other)
    scale = linear_scale(low, high, rows, unit)  # type: ignore[arg-type]
    assert scale.low < scale.high
    if max(abs(low), abs(high)) < 8e307:
        size = max(abs(low), abs(high)) * 1e-9
        assert scale.low <= low + size
        assert scale.high >= high - size
    places = [tick.place for tick in scale.ticks]
    assert places == sorted(places)
    assert rows < 2 or len(places) >= 2
    assert len(places) <= max(4, rows)


@given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300), st.integers(2, 45))
def test_a_logarithmic_axis_holds_its_values(one: float, other: float, rows: int) -> None:
    low, high = math.log10(min(one, other)), math.log10(max(one, other))
    scale = log_scale(low, high, rows)
    assert scale.low <= low + 1e-9
    assert high - 1e-9 <= scale.high
    assert all(scale.low - 1e-6 <= tick.place <= scale.high + 1e-6 for tick in scale.ticks)
    assert len(scale.ticks) <= rows + 3


@given(st.floats(0, 1e15), st.floats(0, 1e15), st.integers(10, 130), axes)
@example(0.0, 5e-324, 40, "step")
@example(1e15, 1e15 + 0.125, 40, "tokens")
def test_an_x_axis_holds_its_points_and_little_else(
    one: float, other: float, cells: int, axis: Axis
) -> None:
    first, last = min(one, other), max(one, other)
    span = x_span(first, last)
    assert span.start <= first
    assert last <= span.start + span.length
    if last - first > 1e-6 * max(last, 1):
        assert span.length <= 1.35 * (last - first)
    ticks = x_ticks(span, cells, axis)
    places = [int((tick.place - span.start) / span.length * cells) for tick in ticks]
    for (left, tick), right in zip(zip(places, ticks, strict=True), places[1:], strict=False):
        assert right - left >= len(tick.label)


def test_ticks_are_numbers_a_person_would_choose() -> None:
    def labels(last: float, cells: int, axis: Axis) -> list[str]:
        return [tick.label for tick in x_ticks(x_span(0, last), cells, axis)]

    assert labels(4, 40, "step") == ["0", "1", "2", "3", "4"]
    assert labels(21_000, 50, "step") == ["0", "5k", "10k", "15k", "20k"]
    assert labels(1.2e6, 60, "step") == ["0", "0.2M", "0.4M", "0.6M", "0.8M", "1.0M", "1.2M"]
    assert labels(45e6, 40, "tokens") == ["0", "10M", "20M", "30M", "40M"]
    assert labels(100, 40, "time") == ["0", "30 s", "1 min", "1 min 30"]
    assert labels(1300, 60, "time") == ["0", "5 min", "10 min", "15 min", "20 min", "25 min"]
    assert labels(6000, 50, "time") == ["0", "30 min", "1 h", "1 h 30"]
    assert labels(3 * 86400, 60, "time") == ["0", "1 d", "2 d", "3 d"]
    assert labels(2 * 86400, 60, "time") == ["0", "12 h", "1 d", "1 d 12 h", "2 d"]
    assert [tick.label for tick in linear_scale(0.0, 3e-4, 12).ticks] == [
        "0",
        "1e-4",
        "2e-4",
        "3e-4",
    ]
    assert [tick.label for tick in linear_scale(0, 23e9, 12, "bytes").ticks] == ["0", "10G", "20G"]
    assert [tick.label for tick in linear_scale(2.31, 2.44, 12).ticks] == [
        "2.30",
        "2.35",
        "2.40",
        "2.45",
    ]
    assert nice_step(0.3) == 0.5
    assert nice_step(1000) == 1000


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (2.31454, "2.315"),
        (3e-4, "3e-4"),
        (0.05, "0.05"),
        (12_345.6, "12.35k"),
        (999_999, "1M"),
        (1e30, "1e30"),
        (-0.5, "-0.5"),
        (0, "0"),
        (math.nan, "-"),
    ],
)
def test_values_are_short(value: float, wanted: str) -> None:
    assert value_text(value) == wanted
