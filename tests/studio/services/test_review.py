import dataclasses
import json
from pathlib import Path

import pytest

from gptcore.control import FileLock
from gptcore.profile import Profile, read_profile, write_profile
from gptcore.status import Status, write_status
from gptcore.workspace import Workspace, make_private_dir
from gptstudio.app.dialogs.review import sheet
from gptstudio.services.review import review
from tests.fake_nvml import FakeGpu, FakeNvml


@pytest.fixture
def profile(workspace: Workspace) -> Profile:
    return read_profile(workspace.profiles / "tiny.toml", ["pretrain.max_steps=500"])


def put_run(workspace: Workspace, profile: Profile, **fields: object) -> None:
    run = workspace.run("before")
    make_private_dir(run.folder)
    run.profile.write_text(write_profile(profile))
    status = Status("before", "done", started=1.0, device="cpu")
    for name, value in fields.items():
        setattr(status, name, value)
    write_status(run, status)


def test_data_steps_and_memory_are_counted(workspace: Workspace, profile: Profile) -> None:
    found = review(workspace, profile)
    assert found.problem is None
    assert (found.files, found.bytes) == (1, 480)
    assert 100 < found.tokens < 300
    assert found.steps == 500
    assert found.trained_tokens == 500 * profile.pretrain.batch_size * 64
    assert found.need is not None
    assert found.need.total > 0
    assert found.seconds is None


def test_steps_come_from_the_data_where_no_number_is_set(workspace: Workspace) -> None:
    (workspace.datasets / "a.txt").write_text("some text to learn from\n" * 40_000)
    profile = read_profile(workspace.profiles / "tiny.toml", ["pretrain.epochs=2"])
    found = review(workspace, profile)
    per_step = profile.pretrain.batch_size * profile.model.context_length
    assert found.steps == pytest.approx(found.tokens * 0.9 * 2 / per_step, rel=0.2)


def test_time_is_told_from_a_run_of_the_same_kind_alone(
    workspace: Workspace, profile: Profile
) -> None:
    put_run(workspace, profile, speeds={"pretrain": 1000.0, "finetune": 9.0})
    found = review(workspace, profile)
    assert found.like == "before"
    assert found.seconds == pytest.approx(found.trained_tokens / 1000)
    wider = read_profile(workspace.profiles / "tiny.toml", ["model.emb_dim=64"])
    assert review(workspace, wider).seconds is None
    put_run(workspace, profile, speeds={"pretrain": 1000.0, "finetune": 9.0}, device="cuda:0")
    assert review(workspace, profile).seconds is None


def test_what_is_up_to_date_is_skipped_and_takes_nothing(
    workspace: Workspace, profile: Profile
) -> None:
    found = review(workspace, profile, up_to_date=["pretrain", "unknown"])
    assert found.up_to_date == {"pretrain"}
    assert (found.steps, found.need, found.seconds) == (0, None, None)
    assert "pretrain (up to date: skipped)" in sheet(found, None, 70).plain
    found = review(workspace, profile, up_to_date=["tokenizer"])
    assert found.steps == 500
    assert "free     not looked at yet" in sheet(found, None, 70).plain


@pytest.mark.parametrize(
    ("device", "visible", "used"),
    [
        ("auto", None, (0,)),
        ("cuda", "3,1", (3,)),
        ("cuda:1", "3,1", (1,)),
        ("cuda:7", "3,1", ()),
        ("cpu", None, ()),
    ],
)
def test_the_gpus_are_those_that_cuda_would_number(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    visible: str | None,
    used: tuple[int, ...],
) -> None:
    FakeNvml(monkeypatch, [FakeGpu() for _ in range(4)])
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    profile = read_profile(workspace.profiles / "tiny.toml", [f"engine.device={device}"])
    assert review(workspace, profile).devices == used


def test_a_live_run_on_the_device_is_waited_for(workspace: Workspace, profile: Profile) -> None:
    put_run(workspace, profile, state="running")
    with FileLock(workspace.run("before").lock) as lock:
        assert lock.acquire()
        assert review(workspace, profile).waits_for == "before"
    assert review(workspace, profile).waits_for == ""


def test_what_stands_in_the_way_is_a_problem_not_an_exception(
    workspace: Workspace, profile: Profile
) -> None:
    (workspace.datasets / "a.txt").unlink()
    found = review(workspace, profile)
    assert found.problem is not None
    text = sheet(found, None, 60).plain
    assert "there is no text to train on" in text
    assert "to do" in text


@pytest.mark.parametrize("width", [30, 44, 70])
def test_the_sheet_keeps_to_its_width_and_shows_hostile_names(
    workspace: Workspace, profile: Profile, width: int, tmp_path: Path
) -> None:
    evil = "\x1b[2J[bold]x[/] " * 3
    found = dataclasses.replace(review(workspace, profile), waits_for=evil, warnings=(evil,) * 9)
    lines = sheet(found, None, width).plain.splitlines()
    assert max(map(len, lines)) <= width
    assert all(line.isprintable() for line in lines)
    assert any("and 5 more warnings" in line for line in lines)


PREFERENCE = {"prompt": "a", "chosen": "b", "rejected": "c"}
TALK = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
STAGES = ("tokenizer", "pretrain", "finetune", "reward", "ppo", "orpo", "rgpo")


def everything(workspace: Workspace, *overrides: str) -> Profile:
    """A profile of all stages that train, and what they learn from."""
    (workspace.datasets / "pairs.jsonl").write_text(json.dumps(PREFERENCE) + "\n")
    (workspace.datasets / "talk.jsonl").write_text(json.dumps(TALK) + "\n")
    stages = f"pipeline.stages={json.dumps(STAGES)}"
    return read_profile(workspace.profiles / "tiny.toml", [stages, *overrides])


def test_each_stage_that_tunes_says_what_it_reads_and_does(workspace: Workspace) -> None:
    profile = everything(workspace, "ppo.method=full", "reward.max_steps=1", "orpo.epochs=2")
    found = review(workspace, profile, up_to_date=["finetune"])
    assert found.problem is None
    assert [(rows.noun, rows.stages, rows.files) for rows in found.rows] == [
        ("conversations", ("finetune",), 1),
        ("preferences", ("reward", "orpo"), 1),
        ("conversations and prompts", ("ppo", "rgpo"), 1),
    ]
    assert found.tuning == {
        "reward": "1 step of 32 pairs each step, lora r 16",
        "ppo": "200 rounds of 64 answers, a prompt each, 4 passes over them, with a value model,"
        " all weights",
        "orpo": "2 epochs of 32 pairs each step, lora r 16",
        "rgpo": "200 rounds of 64 answers, 8 to each of 8 prompts, 2 passes over them, lora r 16",
    }
    lines = sheet(found, None, 100).plain.splitlines()
    size = len(json.dumps(PREFERENCE)) + 1
    assert any(f"1 file of preferences, {size} B for reward, orpo" in line for line in lines)
    assert any(line.startswith("tuning   reward: 1 step of 32 pairs") for line in lines)
    assert found.need_of in STAGES


def test_one_stage_that_tunes_needs_no_name(workspace: Workspace) -> None:
    (workspace.datasets / "talk.jsonl").write_text(json.dumps(TALK) + "\n")
    stages = 'pipeline.stages=["tokenizer","pretrain","finetune"]'
    profile = read_profile(workspace.profiles / "tiny.toml", [stages])
    text = sheet(review(workspace, profile), None, 90).plain
    assert "1 file of conversations, 88 B\n" in text
    assert "tuning   1 epoch of 32 conversations each step, lora r 16" in text
