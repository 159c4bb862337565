"""The cockpit with a stand-in for the engine: start, steer, watch, quit."""

import time

import pytest

from gptcore.evaluation import (
    FILE_NAME,
    Change,
    Evaluation,
    Share,
    StageScores,
    Transcript,
    write_evaluation,
)
from gptcore.lineage import Lineage, write_lineage
from gptcore.status import LIVE, Status, observe
from gptcore.workspace import Workspace
from gptstudio.app.studio import Studio
from tests.studio.app.screens import StudioPilot, drive, shown, until


@pytest.fixture(autouse=True)
def a_run_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in stays at its first step until it is told to stop."""
    monkeypatch.setenv("FAKE_ENGINE", "wait")


def state_of(workspace: Workspace, run: str) -> str:
    status = observe(workspace.run(run))
    return status.state if status else "none"


async def start(studio: Studio, pilot: StudioPilot) -> Status:
    """Press s, look at the sheet, press s again."""
    await until(pilot, lambda: studio.state.profile)
    await pilot.press("s")
    await until(pilot, lambda: "s or enter start" in shown(studio))
    await pilot.press("s")
    await until(pilot, lambda: studio.state.status and studio.state.status.state in LIVE)
    status = studio.state.status
    assert status is not None
    return status


def test_an_empty_workspace_says_what_is_missing_and_which_key_helps(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> str:
        await until(pilot, lambda: studio.state.datasets and studio.state.profile)
        return shown(studio)

    text = drive(workspace, script)
    assert "No run yet" in text
    assert "s starts one" in text
    assert "a.txt" in text
    assert "no run yet; s on Train starts one" in text.splitlines()[-2]


def test_s_shows_what_a_run_takes_and_starts_it(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        studio.sources.show_profile("tiny")
        await until(pilot, lambda: studio.state.profile and studio.state.profile.name == "tiny")
        await pilot.press("s")
        await until(pilot, lambda: "s or enter start" in shown(studio))
        sheet = shown(studio)
        for word in ("Start a run of tiny?", "data", "steps", "memory", "free", "fits"):
            assert word in sheet
        assert not (workspace.logs / "tiny-1").exists()
        await pilot.press("s")
        await until(pilot, lambda: "tiny-1" in shown(studio).splitlines()[-2])
        await until(pilot, lambda: studio.state.status and studio.state.status.step >= 0)
        assert state_of(workspace, "tiny-1") == "running"

    drive(workspace, script)
    # The studio has gone; the run has not.
    assert state_of(workspace, "tiny-1") in LIVE


def test_stop_asks_and_enter_never_confirms(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        studio.sources.show_profile("tiny")
        await until(pilot, lambda: studio.state.profile and studio.state.profile.name == "tiny")
        run = (await start(studio, pilot)).run
        await until(pilot, lambda: state_of(workspace, run) == "running")
        for refusal in ("enter", "n", "escape"):
            await pilot.press("S")
            await until(pilot, lambda: f"Stop {run}?" in shown(studio))
            await pilot.press(refusal)
            await until(pilot, lambda: f"Stop {run}?" not in shown(studio))
        time.sleep(0.2)
        assert state_of(workspace, run) == "running"
        await pilot.press("S")
        await until(pilot, lambda: f"Stop {run}?" in shown(studio))
        await pilot.press("y")
        await until(pilot, lambda: state_of(workspace, run) == "stopped")

    drive(workspace, script)


def test_kill_wants_the_name_of_the_run(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        studio.sources.show_profile("tiny")
        await until(pilot, lambda: studio.state.profile and studio.state.profile.name == "tiny")
        run = (await start(studio, pilot)).run
        await until(pilot, lambda: state_of(workspace, run) == "running")
        await pilot.press("K")
        await until(pilot, lambda: f"Kill {run}?" in shown(studio))
        await pilot.press("y", "e", "s", "enter")
        await pilot.pause(0.1)
        assert "that is not its name" in shown(studio)
        assert state_of(workspace, run) == "running"
        await pilot.press("backspace", "backspace", "backspace", *run.replace("-", "-"), "enter")
        await until(pilot, lambda: state_of(workspace, run) == "stopped")
        await until(pilot, lambda: "its processes were killed" in shown(studio))

    drive(workspace, script)


def test_pause_checkpoint_and_sample_are_answered(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        studio.sources.show_profile("tiny")
        await until(pilot, lambda: studio.state.profile and studio.state.profile.name == "tiny")
        run = (await start(studio, pilot)).run
        await until(pilot, lambda: state_of(workspace, run) == "running")
        for key, name in (("p", "pause"), ("c", "checkpoint"), ("m", "sample")):
            await pilot.press(key)
            await until(pilot, lambda name=name: f"{run}: {name}" in shown(studio))

    drive(workspace, script)


def test_a_failed_run_says_why_and_what_to_do(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "fail")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        studio.sources.show_profile("tiny")
        await until(pilot, lambda: studio.state.profile and studio.state.profile.name == "tiny")
        await pilot.press("s")
        await until(pilot, lambda: "s or enter start" in shown(studio))
        await pilot.press("enter")
        await until(pilot, lambda: "memory ran out" in shown(studio))
        text = shown(studio)
        assert "tiny-1 failed" in text
        assert "to do: --set pretrain.micro_batch=1" in text
        await pilot.press("R")
        await until(pilot, lambda: "Resume tiny-1" in shown(studio))
        assert "pretrain.micro_batch=1" in shown(studio)

    drive(workspace, script)


@pytest.mark.parametrize("key", ["p", "c", "m", "S", "K", "R"])
def test_readonly_refuses_at_the_action(workspace: Workspace, key: str) -> None:
    async def begin(studio: Studio, pilot: StudioPilot) -> str:
        studio.sources.show_profile("tiny")
        await until(pilot, lambda: studio.state.profile and studio.state.profile.name == "tiny")
        run = (await start(studio, pilot)).run
        await until(pilot, lambda: state_of(workspace, run) == "running")
        if key == "R":
            await pilot.press("S")
            await until(pilot, lambda: f"Stop {run}?" in shown(studio))
            await pilot.press("y")
            await until(pilot, lambda: state_of(workspace, run) == "stopped")
        return run

    run = drive(workspace, begin)
    before = state_of(workspace, run)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: studio.state.status)
        await pilot.press(key)
        await until(pilot, lambda: "refused: this studio only looks on" in shown(studio))
        assert "READ-ONLY" in shown(studio)

    drive(workspace, script, readonly=True)
    assert state_of(workspace, run) == before
    assert not list(workspace.run(run).control.glob("*.json"))


def test_another_studio_finds_the_run_that_one_left(workspace: Workspace) -> None:
    async def begin(studio: Studio, pilot: StudioPilot) -> str:
        studio.sources.show_profile("tiny")
        await until(pilot, lambda: studio.state.profile and studio.state.profile.name == "tiny")
        return (await start(studio, pilot)).run

    run = drive(workspace, begin)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: run in shown(studio).splitlines()[-2], timeout=2)
        assert studio.state.chosen == run

    drive(workspace, script)


def test_v_shows_how_the_model_did(workspace: Workspace) -> None:
    folder = workspace.models / "demo-1"
    folder.mkdir(parents=True)
    write_lineage(folder, Lineage("finetune", "demo-1", "demo", "f", time.time()))
    transcript = Transcript("<|user|>Is it cold?\x1b[31m<|end|>", [], "held-out.jsonl:3")
    evaluation = Evaluation(
        model="models/demo-1",
        fingerprint="",
        made=time.time(),
        data=[],
        loss=0.25,
        perplexity=1.284,
        bits_per_byte=0.1,
        tokens=1234,
        conversations=50,
        tools={"exact": Share(47, 50)},
        transcripts=[transcript],
        comparison=[
            StageScores("pretrain", "models/demo-0", 5.1, 164.0, 0.9, {"exact": Share(0, 50)}),
            StageScores(
                "finetune",
                "models/demo-1",
                0.25,
                1.284,
                0.1,
                {"exact": Share(47, 50)},
                {"exact": Change(0.94, 0.86, 1.0, True)},
            ),
        ],
    )

    async def script(studio: Studio, pilot: StudioPilot) -> str:
        await pilot.press("v")
        await until(pilot, lambda: "no model has been evaluated" in shown(studio))
        write_evaluation(folder / FILE_NAME, evaluation)
        await pilot.press("v")
        await until(pilot, lambda: "On held-out data" in shown(studio))
        return shown(studio)

    text = drive(workspace, script)
    assert "models/demo-1 on 50 held-out conversations" in text
    assert "exactly right calls  94.0%" in text
    assert "47 of 50" in text
    assert "exact call      0.0%     94.0%  +94.0 [86.0, 100.0]*" in text
    assert "<|user|>Is it cold?" in text
    assert "\x1b" not in text
