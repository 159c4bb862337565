"""Plots: every point shows, every gap stays one, and only what changed is painted again."""

import asyncio
import math
import random
from array import array
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.geometry import Region

from gptstudio.app.widgets.plot import Line, Plot
from gptstudio.app.widgets.plot_axes import (
    linear_scale,
    log_scale,
    nice_step,
    value_text,
    x_span,
    x_ticks,
)
from gptstudio.app.widgets.plot_frame import Look, Role, draw
from gptstudio.services.curves import Curve
from gptstudio.services.metrics import Axis

FALLING = Curve.of(range(1, 41), [4 / (1 + n / 8) + 1 for n in range(40)])
VALIDATION = Curve.of(range(10, 41, 10), [4 / (1 + n / 8) + 1.3 for n in range(10, 41, 10)])
SLOWER = Curve.of(range(1, 61), [4 / (1 + n / 16) + 1 for n in range(60)])
THREE = (
    Line("train", FALLING),
    Line("val", VALIDATION, "second"),
    Line("run-b", SLOWER, "overlay"),
)
WAVE = Curve.of(range(100), [None if 40 <= n < 60 else math.sin(n / 8) for n in range(100)])


def text(
    lines: Sequence[Line], width: int, height: int, look: Look | None = None, message: str = ""
) -> list[str]:
    return [row.text.rstrip() for row in draw(lines, look or Look(), message, width, height)]


def golden(drawing: str) -> list[str]:
    return [row.rstrip() for row in drawing[1:-1].split("\n")]


def canvas(lines: Sequence[Line], width: int, height: int, look: Look | None = None) -> list[str]:
    """What stands right of the y axis."""
    rows = draw(lines, look or Look(), "", width, height)
    sides = [row for row in rows if row.roles.count(Role.AXIS) == 1]
    return [row.text[row.roles.index(Role.AXIS) + 1 :] for row in sides]


# Goldens


def test_two_lines_and_an_overlay() -> None:
    assert text(THREE, 50, 12, Look("loss")) == golden(
        """
loss  ── train 1.681  ─● val 1.967  ·· run-b 1.853
 │⠈⢆⡀
 │ ⠘⡅⠄
4┤  ⠑⡄⠂⡀
 │   ⠘⢄ ⠁⠂⡀
 │     ⠣⡀●⡀⠁⠂⡀⡀
 │      ⠈⠒⢌⡑⠢⢄⡀⠂⠂⠄⡀⡀
 │         ⠈⠒⠒⢌⣑⠢●⢄⣀⣁⠁⠂⠂⠂⠄⠄⡀⡀⡀
2┤              ⠉⠑⠒⠒⠤⠭⣉⣑●⠒⠒⠒⠢⠤⠥⠥●⠂⠂⠂⠂⠄⠄⠄⠄⠄⡀⡀⡀⡀⡀⡀
 │                       ⠉⠉⠉⠑⠒⠒⠒⠂
 └┬──────┬───────┬──────┬───────┬──────┬───────┬──
  0     10      20     30      40     50      60
"""
    )


def test_in_ascii() -> None:
    rows = text(THREE, 50, 12, Look("loss", ascii=True))
    assert all(map(str.isascii, rows))
    assert rows == golden(
        r"""
loss  -- train 1.681  -o val 1.967  .. run-b 1.853
 |'\.
 | '_.
4+  '_..
 |   '_ ...
 |     \_o_....
 |      '-__-__.....
 |         '--__-o___.........
2+              ''----__o-------o...............
 |                       ''''----
 ++------+-------+------+-------+------+-------+--
  0     10      20     30      40     50      60
"""
    )


def test_a_gap_is_a_gap() -> None:
    assert text([Line("wave", WAVE)], 40, 9) == golden(
        """
── wave -0.19
 1┤  ⢠⠒⠉⠑⢄               ⠊⠉⠣⢄
  │ ⡔⠁    ⠣⡀                ⠈⢢
 0┤⡜       ⠸⡀                 ⢇
  │         ⠸⡀                 ⢇       ⡠
  │          ⠑⡄                 ⢣     ⡸
-1┤           ⠈⠢⣀⡀               ⠑⢄⣀⡠⠎
  └┬──────┬──────┬───────┬──────┬──────┬
   0     20     40      60     80    100
"""
    )


def test_a_single_point_is_marked() -> None:
    assert text([Line("one", Curve.of([5], [3.0]))], 30, 7) == golden(
        """
── one 3
3.1┤
   │
3.0┤             ●
2.9┤
   └─────────────┬────────────
                 5
"""
    )


def test_logarithmic_decades() -> None:
    curve = Curve.of(range(10), [10.0**-n for n in range(10)])
    assert text([Line("", curve)], 30, 12, Look(log_scale=True)) == golden(
        """
── 1e-9
   1┤⠑⠢⢄
    │   ⠑⠢⡀
    │     ⠈⠑⠤⡀
1e-4┤        ⠈⠑⠢⣀
    │            ⠉⠢⢄
    │               ⠉⠢⣀
    │                  ⠑⠢⣀⡀
1e-8┤                     ⠈⠒⠤⡀
    │
    └┬────┬────┬─────┬────┬───
     0    2    4     6    8
"""
    )


def test_smoothing_lies_over_the_fainter_raw_line() -> None:
    rough = Curve.of(range(200), [n / 50 + n % 7 / 3 for n in range(200)])
    rows = draw([Line("rough", rough)], Look(smoothing=0.8), "", 40, 10)
    assert [row.text.rstrip() for row in rows] == golden(
        """
── rough 4.98
 │                                 ⡀⡀⠠⢀⡄
5┤                         ⡀⡄⠠⢀⡂⡂⡨⡰⣂⢆⢀⣀⣀
 │               ⢀ ⡀⡄⠰⠠⡂⡃⡨⠨⡢⡀⣀⣀⠤⠢⠒⠊⠉⠉⠁⠂⠆
 │      ⡀⢀ ⡄⡄⠰⠠⡃⡃⡬⢨⡢⡀⣀⡠⠤⠢⠒⠊⠉⠈⠨⠂⠆⠘⠈ ⠁
 │⢀⡄⡂⠰⠠⣃⡂⡬⢨⣀⣀⡠⡠⠤⠒⠒⠊⠉⠈⠨⠁⠂⠘⠈ ⠁
 │⢀⣀⢄⠤⠔⠒⠑⠊⠉⡚⠨⠨⠁⠂⠈⠈
0┤⠃⠞⠨⠘⠁⠂⠈
 └┬────────┬─────────┬────────┬────────┬
  0       50        100      150     200
"""
    )
    roles = {role for row in rows for role in row.roles}
    assert {Role.LINE, Role.RAW} <= roles


def test_a_message_where_there_is_nothing_to_draw() -> None:
    assert text(
        [], 30, 7, Look("loss"), "no steps yet\nthe run waits for a device of ours"
    ) == golden(
        """
loss

         no steps yet
  the run waits for a device
           of ours


"""
    )
    nowhere = Curve.of(range(3), [None] * 3)
    assert "no finite value here" in "".join(text([Line("mfu", nowhere)], 30, 7))
    assert "no values yet" in "".join(text([Line("mfu", Curve())], 30, 7))
    assert "waits" in "".join(text([Line("mfu", nowhere)], 30, 7, message="waits"))


def test_a_widget_too_small_for_a_plot_shows_the_newest_value() -> None:
    assert text(THREE, 11, 3) == ["", "1.681", ""]
    assert text(THREE, 4, 3) == ["", "", ""]
    assert text([], 11, 1) == [""]


# What must show


@given(
    st.integers(0, 99_999), st.sampled_from([1e3, -1e3]), st.integers(20, 130), st.integers(8, 45)
)
@settings(deadline=None, max_examples=20)
def test_a_spike_among_a_hundred_thousand_points_shows(
    place: int, spike: float, width: int, height: int
) -> None:
    values = array("d", bytes(8 * 100_000))
    values[place] = spike
    curve = Curve(array("d", range(100_000)), values, values, values)
    for look in (Look(), Look(smoothing=0.9), Look(ascii=True)):
        drawn = canvas([Line("a", curve)], width, height, look)
        top = drawn[:2] if spike > 0 else drawn[-2:]
        assert "".join(top).strip()


@given(
    st.lists(st.none() | st.floats(-1e300, 1e300), min_size=1, max_size=300),
    st.integers(12, 130),
    st.integers(4, 45),
    st.booleans(),
    st.floats(0, 1),
)
@settings(deadline=None)
def test_there_are_dots_where_there_are_values_and_nowhere_else(
    values: list[float | None], width: int, height: int, ascii: bool, smoothing: float
) -> None:
    curve = Curve.of(range(len(values)), values)
    rows = draw([Line("a", curve)], Look(ascii=ascii, smoothing=smoothing), "", width, height)
    if all(value is None for value in values):
        assert Role.MESSAGE in {role for row in rows for role in row.roles}
        return
    drawn = [row for row in rows if row.roles.count(Role.AXIS) == 1]
    marked = {
        cell
        for row in drawn
        for cell, role in enumerate(row.roles)
        if role in (Role.LINE, Role.RAW)
    }
    assert marked
    edge = drawn[0].roles.index(Role.AXIS) + 1
    span = x_span(0, len(values) - 1)
    if len(values) > width - edge:  # less than a cell for each
        return
    for number, value in enumerate(values):
        place = edge + (number - span.start) / span.length * (width - edge)
        cells = {min(int(place + slack), width - 1) for slack in (-1e-6, 1e-6)}
        if value is not None:
            assert cells & marked
        elif 0 < number < len(values) - 1 and values[number - 1] is values[number + 1] is None:
            assert not cells & marked


def test_sparse_points_are_marked_and_joined() -> None:
    drawn = canvas([Line("val", VALIDATION, "second")], 60, 12)
    assert sum(row.count("●") for row in drawn) == len(VALIDATION)
    marked = [cell for cell in range(len(drawn[0])) if any(row[cell] == "●" for row in drawn)]
    for cell in range(marked[0], marked[-1]):
        assert any(row[cell] != " " for row in drawn)


def test_a_line_enters_the_window_from_the_point_before() -> None:
    curve = Curve.of([0, 1000], [0.0, 10.0])
    drawn = canvas([Line("val", curve)], 60, 12, Look(last=100))
    assert all(any(row[cell : cell + 1].strip() for row in drawn) for cell in range(1, 45))


def test_where_lines_meet_the_first_has_the_cell() -> None:
    lines = [Line("a", FALLING), Line("b", FALLING, "second"), Line("c", FALLING, "overlay")]
    rows = draw(lines, Look(), "", 60, 12)[1:]
    roles = [role for row in rows for role in row.roles]
    assert Role.OVERLAY not in roles
    marks = sum(row.text.count("●") for row in rows)
    assert roles.count(Role.SECOND) == marks > 0


def test_values_without_a_logarithm_are_gaps_and_said_so() -> None:
    curve = Curve.of(range(60), [n - 30 for n in range(60)])
    rows = text([Line("a", curve)], 60, 12, Look(log_scale=True))
    assert "≤ 0 hidden" in rows[0]
    drawn = canvas([Line("a", curve)], 60, 12, Look(log_scale=True))
    assert not any(row[:25].strip() for row in drawn)
    assert "hidden" not in text([Line("a", FALLING)], 60, 12, Look(log_scale=True))[0]
    below = Curve.of(range(3), [-1, -2, -3])
    assert "no finite value here" in "".join(text([Line("", below)], 60, 12, Look(log_scale=True)))


def test_a_window_shows_the_newest_x_alone() -> None:
    curve = Curve.of(range(1000), [100.0 if n < 500 else n / 1000 for n in range(1000)])
    rows = text([Line("a", curve)], 60, 12, Look(last=100))
    assert not any(row.startswith("100") for row in rows)
    assert rows[-1].split() == ["900", "920", "940", "960", "980", "1000"]
    frozen = text([Line("a", curve)], 60, 12, Look(last=100, end=400))
    assert "400" in frozen[-1]


def test_the_legend_tells_lines_apart_without_colour() -> None:
    head = text(THREE, 80, 12)[0]
    assert head == "── train 1.681  ─● val 1.967  ·· run-b 1.853"
    assert text(THREE, 80, 12, Look(ascii=True))[0] == (
        "-- train 1.681  -o val 1.967  .. run-b 1.853"
    )
    assert text(THREE, 40, 12)[0] == "── tra… 1.68  ─● val 1.97  ·· run… 1.85"
    assert text(THREE, 32, 12)[0] == "── 1.68  ─● 1.97  ·· 1.85"


# Any size, any data

sizes = st.tuples(st.integers(1, 130), st.integers(1, 45))
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1, 1)
curves = st.lists(st.tuples(st.floats(0, 1e15), numbers), max_size=60).map(
    lambda points: Curve.of(sorted(x for x, _ in points), [value for _, value in points])
)
looks = st.builds(
    Look,
    title=st.text(max_size=20),
    unit=st.sampled_from(["number", "bytes", "share"]),
    axis=st.sampled_from(["step", "time", "tokens"]),
    log_scale=st.booleans(),
    smoothing=st.floats(0, 1),
    last=st.none() | st.floats(0, 1e15),
    end=st.none() | st.floats(0, 1e15),
    ascii=st.booleans(),
)
roles = st.sampled_from(["line", "second", "overlay"])


@settings(deadline=None, max_examples=400)
@given(
    st.lists(st.builds(Line, st.text(max_size=70), curves, roles), max_size=3),
    looks,
    st.text(max_size=200),
    sizes,
)
def test_every_size_is_filled_exactly(
    lines: list[Line], look: Look, message: str, size: tuple[int, int]
) -> None:
    width, height = size
    rows = draw(lines, look, message, width, height)
    assert len(rows) == height
    for row in rows:
        assert cell_len(row.text) == width
        assert len(row.roles) == len(row.text)
        assert not look.ascii or row.text.isascii()
        assert not any(ord(character) < 32 for character in row.text)


# Axes


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


@given(st.floats(0, 1e15), st.floats(0, 1e15), st.integers(10, 130), st.data())
def test_an_x_axis_holds_its_points_and_little_else(
    one: float, other: float, cells: int, data: st.DataObject
) -> None:
    first, last = min(one, other), max(one, other)
    span = x_span(first, last)
    assert span.start <= first
    assert last <= span.start + span.length
    if last - first > 1e-6 * max(last, 1):
        assert span.length <= 1.35 * (last - first)
    axis: Axis = data.draw(st.sampled_from(["step", "time", "tokens"]))
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


# The widget


class PlotApp(App[None]):
    CSS = "Plot { border: round $primary; padding: 0 1; }"

    def compose(self) -> ComposeResult:
        yield Plot("loss")


class Repaints:
    """What a plot has had repainted."""

    def __init__(self, plot: Plot) -> None:
        self.regions: list[Region] = []
        self.whole = 0
        self._refresh = plot.refresh
        plot.refresh = self._note  # type: ignore[method-assign, assignment]

    def _note(self, *regions: Region, **options: bool) -> Plot:
        self.regions.extend(regions)
        self.whole += not regions
        return self._refresh(*regions, **options)  # type: ignore[return-value]


def on_screen(plot: Plot) -> list[list[tuple[str, str]]]:
    """The characters of a plot with their styles."""
    return [
        [(character, str(style)) for text, style, _ in plot.render_line(y) for character in text]
        for y in range(plot.size.height)
    ]


def grown(count: int) -> list[Line]:
    return [
        Line("train", Curve.of(range(1, count + 1), [5 / (1 + n / 50) for n in range(count)])),
        Line("val", Curve.of([60, 120], [3.5, 2.5]), "second"),
    ]


def test_only_what_changed_is_painted_again() -> None:
    async def drive() -> None:
        async with PlotApp().run_test(size=(80, 24)) as pilot:
            plot = pilot.app.query_one(Plot)
            plot.show(grown(230))
            await pilot.pause()
            repaints = Repaints(plot)
            before = on_screen(plot)
            plot.show(grown(230))
            assert not repaints.regions
            plot.show(grown(233))
            assert not repaints.whole
            painted = sum(region.area for region in repaints.regions)
            assert 0 < painted < 60
            after = on_screen(plot)
            for y, (old, new) in enumerate(zip(before, after, strict=True)):
                for x in range(plot.size.width):
                    if old[x] != new[x]:
                        assert any(region.contains(x, y) for region in repaints.regions)

    asyncio.run(drive())


def test_settings_are_drawn_at_once() -> None:
    async def drive() -> None:
        async with PlotApp().run_test(size=(80, 24)) as pilot:
            plot = pilot.app.query_one(Plot)
            plot.show(grown(230))
            await pilot.pause()
            for name, value in {
                "log_scale": True,
                "axis": "time",
                "smoothing": 0.9,
                "last": 50.0,
                "ascii": True,
                "unit": "bytes",
                "title": "other",
            }.items():
                before = on_screen(plot)
                setattr(plot, name, value)
                assert on_screen(plot) != before, name

    asyncio.run(drive())


def test_a_plot_that_does_not_follow_stays_where_it_is() -> None:
    async def drive() -> None:
        async with PlotApp().run_test(size=(80, 24)) as pilot:
            plot = pilot.app.query_one(Plot)
            plot.last = 100.0
            plot.show(grown(300)[:1])
            await pilot.pause()
            plot.follow = False
            before = on_screen(plot)[1:]
            plot.show(grown(900)[:1])
            moved = [y for y, row in enumerate(on_screen(plot)[1:]) if row != before[y]]
            assert len(moved) <= 1  # the line goes on beyond the right end
            plot.follow = True
            assert on_screen(plot)[-1] != before[-1]

    asyncio.run(drive())


def test_a_plot_takes_any_size_and_theme() -> None:
    async def drive() -> None:
        async with PlotApp().run_test(size=(80, 24)) as pilot:
            plot = pilot.app.query_one(Plot)
            plot.show([*grown(230), Line("a\x1b[31m[b]名前", SLOWER, "overlay")], "message")
            for size in ((10, 5), (5, 3), (130, 45), (16, 8), (80, 24)):
                await pilot.resize_terminal(*size)
                await pilot.pause()
                width, height = plot.size
                assert all(plot.render_line(y).cell_length == width for y in range(height))
            assert "[b]" in plot.render_line(0).text
            before = on_screen(plot)
            pilot.app.theme = "textual-light"
            await pilot.pause()
            after = on_screen(plot)
            assert before != after
            assert [[c for c, _ in row] for row in before] == [[c for c, _ in row] for row in after]

    asyncio.run(drive())


def test_shown_before_it_has_a_size() -> None:
    class Early(App[None]):
        def compose(self) -> ComposeResult:
            plot = Plot()
            plot.show(THREE)
            plot.smoothing = 0.5
            yield plot

    async def drive() -> None:
        async with Early().run_test(size=(60, 16)) as pilot:
            plot = pilot.app.query_one(Plot)
            assert "train" in plot.render_line(0).text
            assert any("●" in plot.render_line(y).text for y in range(plot.size.height))

    asyncio.run(drive())


def test_noise_is_drawn_the_same_whatever_it_is_drawn_with() -> None:
    random.seed(5)
    curve = Curve.of(range(20_000), [random.gauss(0, 1) for _ in range(20_000)])
    drawn = canvas([Line("a", curve)], 80, 20)
    ascii_drawn = canvas([Line("a", curve)], 80, 20, Look(ascii=True))
    for row, other in zip(drawn, ascii_drawn, strict=True):
        assert [cell == " " for cell in row] == [cell == " " for cell in other]
