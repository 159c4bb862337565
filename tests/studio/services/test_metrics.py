"""Curves from events: nothing lost that a plot would show, nothing kept that was undone."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore import events
from gptcore.events import EventReader, drop_superseded, encode
from gptstudio.services import metrics, thinning
from gptstudio.services.metrics import Metrics, MetricsReader
from tests.studio.services.test_thinning import small_tables

START = 1_700_000_000.0

ordinary = st.floats(-1e6, 1e6)


def line(
    payload: events.Payload, step: int | None = None, stage: str = "pretrain", at: float = 0.0
) -> bytes:
    return encode(payload, time=START + at, run="r", stage=stage, step=step) + b"\n"


def step_line(number: int, loss: float | None = 1.0, stage: str = "pretrain") -> bytes:
    payload = events.Step(loss, 1e-3, 2.0, number * 100, tokens_per_s=50.0)
    return line(payload, number, stage, at=float(number))


def eval_line(number: int, loss: float | None = 1.0, stage: str = "pretrain") -> bytes:
    return line(events.Eval(loss, tokens=7), number, stage, at=float(number))


def read(path: Path) -> Metrics:
    reader = MetricsReader(path)
    assert not reader.read()
    return reader.snapshot()


def of(tmp_path: Path, *lines: bytes) -> Metrics:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(lines))
    return read(path)


def columns(metrics: Metrics) -> dict[str, list[list[str]]]:
    """Every number of a snapshot, as text, in which one gap equals another."""
    return {
        f"{stage.name} {kind} {number}": [list(map(str, each)) for each in (*snapshot.axes, *parts)]
        for stage in metrics.stages.values()
        for kind, snapshot in stage.series.items()
        for number, parts in enumerate(snapshot.metrics)
    }


# Events


def test_each_metric_over_each_axis(tmp_path: Path) -> None:
    payload = events.Step(3.0, 1e-3, None, 640, 50.0, mfu=0.4, memory=1 << 30)
    found = of(
        tmp_path,
        line(events.Progress("tokenizing", 1, 2), stage="pretrain", at=-100),
        line(events.StageChange("start", total_steps=3), 0, at=10),
        line(payload, 1, at=12),
        line(events.Step(None, 2e-3, 4.0, 1280), 2, at=14),
        line(events.Eval(3.5, tokens=99), 2, at=15),
    )
    assert list(found.stages) == ["pretrain"]
    assert found.stage == "pretrain"
    loss = found.curve("loss")
    assert list(loss.x) == [1, 2]
    assert loss.mean[0] == loss.low[0] == loss.high[0] == 3.0
    assert math.isnan(loss.mean[1])
    assert math.isnan(found.curve("grad_norm").mean[0])
    assert list(found.curve("lr").mean) == [1e-3, 2e-3]
    assert found.curve("mfu").mean[0] == 0.4
    assert found.curve("memory").mean[0] == 1 << 30
    assert list(found.curve("loss", "time").x) == [2, 4]  # tokenizing was no training
    assert list(found.curve("loss", "tokens").x) == [640, 1280]
    validation = found.curve("val_loss", "tokens")
    assert (list(validation.x), list(validation.mean)) == ([1280], [3.5])
    assert not found.curve("loss", stage="sft")
    assert found.stages["pretrain"].has("mfu")
    assert (found.first_time, found.last_time) == (START - 100, START + 15)


def test_a_window_reaches_back_from_the_newest_point_of_the_stage(tmp_path: Path) -> None:
    found = of(tmp_path, *map(step_line, range(1, 101)), eval_line(40), eval_line(95))
    assert list(found.curve("loss", last=10).x) == list(range(90, 101))
    assert list(found.curve("val_loss", last=10).x) == [95]
    assert list(found.curve("loss", "tokens", last=300).x) == [9700, 9800, 9900, 10000]
    assert list(found.curve("loss", "time", last=1).x) == [98, 99]
    assert len(found.curve("loss", last=1e9)) == 100


def test_stages_keep_to_themselves(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        step_line(1, 5.0),
        step_line(1, 7.0, "sft"),
        step_line(2, 4.0),
        step_line(2, 6.0, "sft"),
    )
    assert list(found.stages) == ["pretrain", "sft"]
    assert found.stage == "sft"
    assert list(found.curve("loss", stage="pretrain").mean) == [5.0, 4.0]
    assert list(found.curve("loss").mean) == [7.0, 6.0]


attempts = st.lists(
    st.tuples(
        st.sampled_from(["pretrain", "sft"]),
        st.floats(0, 1),
        st.lists(st.none() | ordinary, min_size=1, max_size=20),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


def as_lines(runs: list[tuple[str, float, list[float | None], bool]]) -> list[bytes]:
    """Events as the engine makes them: a start, a resume after the first attempt, then steps."""
    last: dict[str, int] = {}
    lines = []
    for attempt, (stage, share, losses, evaluates) in enumerate(runs, start=1):
        done = int(last.get(stage, 0) * share)
        lines.append(line(events.RunChange("running", attempt)))
        lines.append(line(events.StageChange("start"), done, stage))
        if stage in last:
            lines.append(line(events.Resume(attempt, done), done, stage))
        for number, loss in enumerate(losses, start=done + 1):
            lines.append(step_line(number, loss, stage))
            if evaluates and number % 3 == 0:
                lines.append(eval_line(number, loss, stage))
        last[stage] = done + len(losses)
    return lines


@settings(deadline=None)
@given(attempts)
def test_a_resume_undoes_what_it_undoes_for_everyone(
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[tuple[str, float, list[float | None], bool]],
) -> None:
    path = tmp_path_factory.getbasetemp() / "resumed.jsonl"
    path.write_bytes(b"".join(as_lines(runs)))
    found = read(path)
    kept = drop_superseded(EventReader(path).read())
    for stage in ("pretrain", "sft"):
        for kind, metric in (("step", "loss"), ("eval", "val_loss")):
            wanted = [
                (event.step, getattr(event.payload(), metric))
                for event in kept
                if event.stage == stage and event.kind == kind
            ]
            curve = found.curve(metric, stage=stage)
            values = [None if math.isnan(value) else value for value in curve.mean]
            assert list(zip(curve.x, values, strict=True)) == wanted


def test_a_stage_that_begins_again_without_a_resume_replaces_what_it_passes(tmp_path: Path) -> None:
    start = line(events.StageChange("start"), 0)
    found = of(
        tmp_path,
        *(start, step_line(1, 9.0), step_line(2, 8.0), eval_line(2, 8.5), step_line(3, 7.0)),
        *(start, step_line(1, 6.0), step_line(2, 5.0)),
    )
    assert list(found.curve("loss").x) == [1, 2]
    assert list(found.curve("loss").mean) == [6.0, 5.0]
    assert not found.curve("val_loss")
    started = of(tmp_path, start, step_line(1, 9.0), step_line(2, 8.0), start)
    assert list(started.curve("loss").x) == [1, 2]  # nothing has replaced it yet


def test_a_clock_that_was_set_back_stands_still(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        *(
            line(events.Step(1.0, 1.0, 1.0, 1), n, at=at)
            for n, at in enumerate((5.0, 9.0, 2.0, 11.0))
        ),
    )
    assert list(found.curve("loss", "time").x) == [0, 4, 4, 6]


def test_recent_events_are_the_newest_but_steps_and_progress(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first = [line(events.Warn(str(number))) for number in range(metrics.NUM_RECENT + 5)]
    path.write_bytes(b"".join([*first, step_line(1), line(events.Progress("w", 1, 2))]))
    reader = MetricsReader(path)
    reader.read()
    before = reader.snapshot()
    assert before.num_recent == metrics.NUM_RECENT + 5
    assert len(before.recent) == metrics.NUM_RECENT
    assert before.recent[-1].payload() == events.Warn(str(metrics.NUM_RECENT + 4))
    with path.open("ab") as file:
        file.write(eval_line(1, 2.0) + step_line(2))
    reader.read()
    after = reader.snapshot()
    assert after.num_recent - before.num_recent == 1
    assert after.recent[-1].payload() == events.Eval(2.0, tokens=7)
    assert len(before.recent) == metrics.NUM_RECENT  # a snapshot stays as it is
    assert list(before.curve("loss").x) == [1]


# The file

hostile = st.sampled_from(
    [
        b'{"kind":"step","time":1,"run":"r","st\n',
        b"\xff\xfe\x00\n",
        b"null\n[]\n\n   \n",
        b'{"kind":"hologram","time":1,"run":"r","stage":"pretrain","step":1,"data":{"loss":1}}\n',
        b'{"kind":"step","time":"x","run":"r","stage":"pretrain","step":1,"data":{}}\n',
        b'{"kind":"step","time":1,"run":"r","stage":"pretrain","step":1e999,"data":{}}\n',
        b'{"kind":"step","time":1,"run":"r","stage":"pretrain","step":1,"data":{"loss":"1"}}\n',
        b'{"kind":"step","time":1,"run":"r","stage":"pretrain","data":{"loss":NaN}}\n',
        b'{"kind":"eval","time":1,"run":"r","step":' + b"9" * 400 + b"}\x00\n",
        b'{"kind":"sample","time":1,"x":' + b"[" * 50_000 + b"\n",
        b'{"kind":"st\xffp","time":1,"run":"r"}\n',
        b'{"kind":7}\n{"time":1}\n',
    ]
)


@settings(deadline=None, max_examples=50)
@given(attempts, st.lists(st.tuples(st.integers(0, 200), hostile), max_size=6))
def test_lines_that_are_no_events_change_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[tuple[str, float, list[float | None], bool]],
    extra: list[tuple[int, bytes]],
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.jsonl"
    lines = as_lines(runs)
    path.write_bytes(b"".join(lines))
    wanted = read(path)
    for place, raw in extra:
        lines.insert(place % (len(lines) + 1), raw)
    path.write_bytes(b"".join(lines))
    found = read(path)
    assert columns(found) == columns(wanted)
    assert found.num_recent == wanted.num_recent
    assert (found.first_time, found.last_time) == (wanted.first_time, wanted.last_time)


@settings(deadline=None, max_examples=50)
@given(attempts, st.lists(st.integers(1, 3000), min_size=1, max_size=10))
def test_read_in_pieces_or_in_one_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    runs: list[tuple[str, float, list[float | None], bool]],
    pieces: list[int],
) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces.jsonl"
    path.unlink(missing_ok=True)
    raw = b"".join(as_lines(runs))
    with small_tables():
        reader = MetricsReader(path)
        reader.read()
        start = 0
        for size in [*pieces, len(raw)]:
            with path.open("ab") as file:
                file.write(raw[start : start + size])
            start += size
            assert not reader.read()
        found, wanted = reader.snapshot(), read(path)
    assert columns(found) == columns(wanted)
    assert found.num_recent == wanted.num_recent
    assert found.stage == wanted.stage


def test_chunks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [step_line(n, n / 7) + (eval_line(n) if n % 50 == 0 else b"") for n in range(1, 9000)]
    wanted = of(tmp_path, *lines)
    monkeypatch.setattr(metrics, "CHUNK", 500)
    found = of(tmp_path, *lines)
    assert columns(found) == columns(wanted)
    assert len(found.curve("loss")) < 6000


def test_the_first_part_can_be_shown_before_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "CHUNK", 5000)
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(map(step_line, range(1, 1001))))
    reader = MetricsReader(path)
    assert reader.read(0.0)
    assert 0 < reader.share < 1
    part = reader.snapshot()
    assert 0 < len(part.curve("loss")) < 1000
    assert part.share == reader.share
    while reader.read(0.0):
        pass
    assert len(reader.snapshot().curve("loss")) == 1000
    assert reader.share == 1


def test_a_file_may_be_missing_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader = MetricsReader(path)
    assert not reader.read()
    assert reader.snapshot().stages == {}
    assert reader.share == 1
    path.write_bytes(b"".join(map(step_line, range(1, 10))) + line(events.Warn("w")))
    reader.read()
    before = reader.snapshot().num_recent, reader.num_read
    path.write_bytes(step_line(1, 4.0))  # shorter
    reader.read()
    assert list(reader.snapshot().curve("loss").mean) == [4.0]
    assert reader.num_read != before[1]
    assert reader.snapshot().num_recent == before[0]
    other = tmp_path / "other"
    other.write_bytes(b"".join(step_line(n, 8.0) for n in range(1, 30)))
    other.replace(path)  # another file, though a longer one
    reader.read()
    assert set(reader.snapshot().curve("loss").mean) == {8.0}
    read_so_far = reader.num_read
    assert not reader.read()
    assert reader.num_read == read_so_far
    path.unlink()
    reader.read()
    assert reader.snapshot().stages == {}


def test_a_line_without_its_end_is_not_yet(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    whole = step_line(2)
    path.write_bytes(step_line(1) + whole[:20])
    reader = MetricsReader(path)
    assert not reader.read()
    assert len(reader.snapshot().curve("loss")) == 1
    with path.open("ab") as file:
        file.write(whole[20:])
    reader.read()
    assert len(reader.snapshot().curve("loss")) == 2


@pytest.mark.parametrize("length", [1 << 18, 1 << 19, (1 << 22) + 1, 9_000_000])
def test_long_lines_are_read_or_passed_over_whole(tmp_path: Path, length: int) -> None:
    long = line(events.Warn("w" * length))
    found = of(tmp_path, step_line(1), long, step_line(2), step_line(3))
    assert list(found.curve("loss").x) == [1, 2, 3]
    assert found.num_recent == (len(long) <= metrics.LONGEST_LINE)


def test_the_end_of_a_line_that_is_too_long_is_no_line(tmp_path: Path) -> None:
    long = b"x" * metrics.LONGEST_LINE + step_line(9, stage="none")
    found = of(tmp_path, step_line(1), long, step_line(2))
    assert list(found.stages) == ["pretrain"]
    assert list(found.curve("loss").x) == [1, 2]


# A million steps

MEASURE = """
import resource, sys
from pathlib import Path
from gptstudio.services.metrics import MetricsReader
reader = MetricsReader(Path(sys.argv[1]))
reader.read()
found = reader.snapshot()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak, len(found.curve("loss")), min(found.curve("loss").low), found.curve("loss").x[-1])
"""


@pytest.mark.slow
def test_a_million_steps_fit_in_the_memory_of_a_few(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    peaks = []
    with path.open("wb") as file:
        for first in (0, 100_000):
            last = 100_000 if not first else 1_000_000
            for number in range(first + 1, last + 1):
                spike = -7.0 if number == 4_321 else 2 + number % 97 / 100
                file.write(step_line(number, spike))
            file.flush()
            output = subprocess.run(
                [sys.executable, "-c", MEASURE, str(path)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            peak, points, lowest, newest = map(float, output.split())
            peaks.append(peak)
            assert points <= thinning.MOST_POINTS
            assert (lowest, newest) == (-7.0, last)
    assert peaks[1] < 1.3 * peaks[0]
