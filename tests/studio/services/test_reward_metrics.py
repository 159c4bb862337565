"""Curves of rewards and preferences: beside those of the steps, and as bounded as they are."""

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore import events
from gptcore.events import drop_superseded
from gptstudio.services import metric_events, metrics
from gptstudio.services.metric_events import MOST_PARTS, PART_LENGTH, part_metric
from gptstudio.services.metrics import Metrics, MetricsReader
from tests.studio.services.test_metrics import columns, line, of, step_line


def reward_line(step: int | None, mean: float | None = 0.5, stage: str = "ppo") -> bytes:
    payload = events.Reward(mean=mean, std=0.1, parts={"format": 1.0, "right": 0.25}, kl=1.5)
    return line(payload, step, stage, at=float(step or 0))


def held_out_line(step: int, accuracy: float, stage: str = "orpo") -> bytes:
    return line(events.Reward(accuracy=accuracy, margin=0.5, held_out=True), step, stage)


def test_rewards_are_curves_over_each_axis(tmp_path: Path) -> None:
    found = of(
        tmp_path,
        step_line(1, 0.3, "ppo"),
        reward_line(1, 0.4),
        step_line(2, 0.3, "ppo"),
        reward_line(2, None),
    )
    stage = found.stages["ppo"]
    reward = stage.curve("reward")
    assert list(reward.x) == [1, 2]
    assert reward.mean[0] == 0.4
    assert math.isnan(reward.mean[1])
    assert list(stage.curve("reward", "tokens").x) == [100, 200]
    assert list(stage.curve("kl", "time").x) == [0, 1]
    assert list(stage.curve("kl").mean) == [1.5, 1.5]
    assert stage.parts == ("format", "right")
    assert list(stage.curve(part_metric(1)).mean) == [0.25, 0.25]
    assert not stage.has("value_loss")
    assert list(stage.curve("loss").mean) == [0.3, 0.3]
    assert found.num_recent == 0  # they come with each step, and are no news


def test_what_is_held_out_is_apart(tmp_path: Path) -> None:
    learned = line(events.Reward(accuracy=0.5, margin=0.1), 10, "orpo")
    stage = of(tmp_path, learned, held_out_line(10, 0.75), learned).stages["orpo"]
    assert list(stage.curve("accuracy").mean) == [0.5, 0.5]
    assert list(stage.curve("val_accuracy").mean) == [0.75]
    assert list(stage.curve("val_margin").mean) == [0.5]
    assert not stage.has("reward")


def test_a_resume_undoes_rewards_as_it_undoes_steps(tmp_path: Path) -> None:
    lines = [each for n in range(1, 6) for each in (reward_line(n), step_line(n, stage="ppo"))]
    lines += [held_out_line(5, 0.9, "ppo"), line(events.Resume(2, 3), 3, "ppo"), reward_line(4)]
    stage = of(tmp_path, *lines).stages["ppo"]
    assert list(stage.curve("reward").x) == [1, 2, 3, 4]
    assert list(stage.curve("loss").x) == [1, 2, 3]
    assert not stage.curve("val_accuracy")
    decoded = [event for each in lines if (event := events.decode(each)) is not None]
    kept = [event.step for event in drop_superseded(decoded) if event.kind == "reward"]
    assert kept == [1, 2, 3, 4]


def test_a_stage_that_starts_anew_without_a_word_undoes_both(tmp_path: Path) -> None:
    lines = [each for n in (1, 2, 3, 2, 3) for each in (reward_line(n), step_line(n, stage="ppo"))]
    stage = of(tmp_path, *lines, held_out_line(1, 0.5, "ppo")).stages["ppo"]
    assert list(stage.curve("loss").x) == list(stage.curve("reward").x) == [1, 2, 3]


steps_taken = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.sampled_from(["step", "reward", "held out", "resume", "eval"]),
        st.sampled_from(["ppo", "orpo"]),
    ),
    max_size=40,
)


@given(taken=steps_taken)
@settings(max_examples=25, deadline=None)
def test_a_chunk_of_lines_gives_what_each_alone_gives(
    tmp_path_factory: pytest.TempPathFactory, taken: list[tuple[int, str, str]]
) -> None:
    lines = {
        "step": lambda n, stage: step_line(n, stage=stage),
        "reward": lambda n, stage: reward_line(n, stage=stage),
        "held out": lambda n, stage: held_out_line(n, n / 9, stage),
        "resume": lambda n, stage: line(events.Resume(2, n), n, stage),
        "eval": lambda n, stage: line(events.Eval(1.0), n, stage),
    }
    made = [lines[what](number, stage) for number, what, stage in taken]
    path = tmp_path_factory.mktemp("run") / "events.jsonl"
    path.write_bytes(b"")
    reader = MetricsReader(path)
    for each in made:
        with path.open("ab") as file:
            file.write(each)
        reader.read()
    assert columns(reader.snapshot()) == columns(of(path.parent, *made))


def test_names_of_rewards_are_bounded(tmp_path: Path) -> None:
    long = "x" * 10_000
    first = events.Reward(mean=1.0, parts={"a": 1.0, long: 2.0})
    many = events.Reward(mean=1.0, parts={f"name {n}": 1.0 for n in range(200)} | {long: 3.0})
    stage = of(tmp_path, line(first, 1, "rgpo"), line(many, 2, "rgpo")).stages["rgpo"]
    assert len(stage.parts) == MOST_PARTS
    assert stage.has_more_parts
    assert max(map(len, stage.parts)) == PART_LENGTH
    assert [stage.curve(part_metric(n)).mean[0] for n in (0, 1)] == [1.0, 2.0]
    assert stage.curve(part_metric(1)).mean[1] == 3.0
    assert math.isnan(stage.curve(part_metric(0)).mean[1])  # the second one lacks it


def test_a_name_that_comes_later_has_a_line_from_there(tmp_path: Path) -> None:
    def parts(step: int, **values: float) -> bytes:
        return line(events.Reward(mean=0.0, parts=values), step, "rgpo")

    stage = of(tmp_path, parts(1, a=1), parts(2, b=5, a=2), parts(3, a=3, b=6)).stages["rgpo"]
    assert stage.parts == ("a", "b")
    assert list(stage.curve(part_metric(0)).mean) == [1, 2, 3]
    assert list(stage.curve(part_metric(1)).mean)[1:] == [5, 6]


@pytest.mark.parametrize(
    "data", ['{"mean":"high"}', '{"parts":[1]}', '{"parts":{"a":"b"}}', '{"held_out":3}', "7"]
)
def test_broken_rewards_are_passed_over(tmp_path: Path, data: str) -> None:
    broken = f'{{"kind":"reward","time":1,"run":"r","stage":"ppo","step":1,"data":{data}}}\n'
    stage = of(tmp_path, broken.encode(), reward_line(2)).stages["ppo"]
    assert list(stage.curve("reward").x) == [2]


def test_what_is_not_finite_is_a_gap(tmp_path: Path) -> None:
    odd = events.Reward(mean=math.nan, parts={"a": math.inf, "b": 1.0})
    stage = of(tmp_path, line(odd, 1, "ppo")).stages["ppo"]
    assert math.isnan(stage.curve("reward").mean[0])
    assert math.isnan(stage.curve(part_metric(0)).mean[0])
    assert stage.curve(part_metric(1)).mean[0] == 1.0


def test_rewards_without_a_step_are_passed_over(tmp_path: Path) -> None:
    stage = of(tmp_path, reward_line(None), reward_line(3), reward_line(None)).stages["ppo"]
    assert list(stage.curve("reward").x) == [3]


def test_many_rewards_stay_bounded(tmp_path: Path) -> None:
    def read(count: int) -> Metrics:
        return of(tmp_path, *map(reward_line, range(1, count + 1)))

    curve = read(20_000).stages["ppo"].curve("reward")
    assert len(curve) < 10_000
    assert (curve.x[-1], curve.mean[-1], min(curve.low), max(curve.high)) == (20_000, 0.5, 0.5, 0.5)


def test_every_metric_has_a_place_of_its_own() -> None:
    places = list(metric_events.places().values())
    assert len(set(places)) == len(places)
    assert metrics.Metrics({}).curve("kl").x.tolist() == []
