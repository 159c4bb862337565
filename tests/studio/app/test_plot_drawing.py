"""Drawings: every point shows, every gap stays one, every size is filled."""

import math
import random
from array import array
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from gptstudio.app.widgets.plot_axes import x_span
from gptstudio.app.widgets.plot_frame import Line, Look, Role, draw
from gptstudio.services.curves import Curve

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

    steepest = max(sum(row[cell] != " " for row in drawn) for cell in range(45))
    assert steepest <= 2


def test_an_overlay_leaves_the_window_towards_the_point_behind_it() -> None:
    lines = [Line("a", FALLING), Line("b", Curve.of([0, 30, 1000], [3.0, 3.0, 3.0]), "overlay")]
    rows = draw(lines, Look(last=20), "", 60, 12)
    assert Role.OVERLAY in {role for row in rows for role in row.roles[-3:]}


def test_a_gap_between_neighbouring_columns_is_one_too() -> None:
    values: list[float | None] = [0.0] * 2000 + [1.0] * 2000
    joined = canvas([Line("a", Curve.of(range(4000), values))], 60, 12)
    assert all(map(str.strip, joined))
    for place in (1999, 2000):
        broken = [*values[:place], None, *values[place + 1 :]]
        drawn = canvas([Line("a", Curve.of(range(4000), broken))], 60, 12)
        assert not any(map(str.strip, drawn[1:-1]))


def test_points_alone_show_in_an_overlay() -> None:
    curve = Curve.of(range(40), [None if n % 2 else 1.0 for n in range(40)])
    for width in range(60, 70):
        drawn = canvas([Line("a", curve, "overlay")], width, 12)
        assert sum(character != " " for row in drawn for character in row) == 20


def test_of_two_markers_the_first_lies_on_top() -> None:
    point = Curve.of([1], [1.0])
    rows = draw([Line("a", point), Line("b", point, "second")], Look(), "", 60, 12)[1:]
    assert [row.roles[row.text.index("●")] for row in rows if "●" in row.text] == [Role.LINE]


def test_a_mean_of_the_tiniest_values_has_a_place() -> None:
    curve = Curve.of(range(40), [5e-324] * 40)
    assert canvas([Line("a", curve)], 60, 12, Look(log_scale=True, smoothing=0.99))


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


def test_noise_is_drawn_the_same_whatever_it_is_drawn_with() -> None:
    random.seed(5)
    curve = Curve.of(range(20_000), [random.gauss(0, 1) for _ in range(20_000)])
    drawn = canvas([Line("a", curve)], 80, 20)
    ascii_drawn = canvas([Line("a", curve)], 80, 20, Look(ascii=True))
    for row, other in zip(drawn, ascii_drawn, strict=True):
        assert [cell == " " for cell in row] == [cell == " " for cell in other]


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
