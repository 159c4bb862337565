"""A run that is killed at any moment resumes to the same numbers, bit for bit."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from gptcore import control, events
from gptcore.lineage import read_lineage
from gptcore.status import observe
from gptcore.workspace import RunPaths, Workspace
from tests.conftest import Runs, events_of, steps_of, wait_for

pytestmark = pytest.mark.slow

#: Long enough to be killed in, with dropout so that random states count too.
SETTINGS = (
    "pretrain.max_steps=240",
    "pretrain.checkpoint_interval=25",
    "model.drop_rate=0.1",
    "engine.threads=1",
)


def losses(run: RunPaths) -> dict[int, float]:
    return {
        event.step: payload.loss
        for event in events_of(run)
        if isinstance(payload := event.payload(), events.Step)
    }


def weights(workspace: Workspace, run: RunPaths) -> bytes:
    return (workspace.models / f"{run.name}-pretrain" / "model.safetensors").read_bytes()


def stage_pid(run: RunPaths) -> int:
    status = observe(run)
    return status.stage_pid if status and status.stage == "pretrain" else 0


def reach(run: RunPaths, step: int) -> None:
    wait_for(lambda: steps_of(run) >= step, 60, run)


def killed_after(runs: Runs, step: int, *overrides: str) -> RunPaths:
    """A run whose processes were all killed once it had done `step` steps."""
    run = runs.create("r", *SETTINGS, *overrides)
    supervisor = runs.supervise(run)
    reach(run, step)
    os.killpg(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    runs.finish(run)
    return run


def test_killed_at_random_moments_and_resumed_is_the_same(
    runs: Runs, tmp_path: Path, record_property
) -> None:
    seed = random.randrange(10_000)
    record_property("seed", seed)
    generator = random.Random(seed)
    alone = runs.create("alone", *SETTINGS)
    runs.supervise(alone)
    assert runs.finish(alone).state == "done"
    # the same inputs and settings would be skipped as unchanged
    (runs.workspace.models / "alone-pretrain" / "gptstudio.json").unlink()

    killed = runs.create("killed", *SETTINGS)
    supervisor = runs.supervise(killed)
    reach(killed, generator.randrange(5, 80))
    os.kill(stage_pid(killed), signal.SIGKILL)
    status = runs.finish(killed)
    assert status.state == "failed"
    assert status.error is not None
    assert "SIGKILL" in status.error.what
    assert "gptstudio resume killed" in status.error.fix
    supervisor.wait()

    supervisor = runs.supervise(killed)
    reach(killed, generator.randrange(110, 180))
    os.kill(supervisor.pid, signal.SIGKILL)  # the stage notices and saves; nobody is left to say so
    supervisor.wait()
    assert runs.finish(killed).state == "lost"

    supervisor = runs.supervise(killed)
    reach(killed, generator.randrange(185, 230))
    os.killpg(supervisor.pid, signal.SIGKILL)  # both at once
    supervisor.wait()
    assert runs.finish(killed).state == "lost"

    runs.supervise(killed)
    assert runs.finish(killed).state == "done", f"seed {seed}"
    assert losses(killed) == losses(alone), f"seed {seed}"
    assert sorted(losses(killed)) == list(range(1, 241))
    assert weights(runs.workspace, killed) == weights(runs.workspace, alone), f"seed {seed}"


def test_stop_saves_and_resume_goes_on_from_there(runs: Runs) -> None:
    run = runs.create("r", *SETTINGS, "pretrain.checkpoint_interval=0")
    supervisor = runs.supervise(run)
    reach(run, 30)
    command = control.send(run, "stop")
    assert runs.finish(run).state == "stopped"
    assert supervisor.wait() == 3
    answers = [
        payload
        for event in events_of(run)
        if isinstance(payload := event.payload(), events.Answer) and payload.id == command.id
    ]
    assert [answer.outcome for answer in answers] == ["done"]
    stopped_at = steps_of(run)
    runs.supervise(run)
    assert runs.finish(run).state == "done"
    resumed = [event for event in events_of(run) if event.kind == "resume"]
    assert [event.step for event in resumed] == [stopped_at]


def test_sigterm_means_stop(runs: Runs) -> None:
    run = runs.create("r", *SETTINGS)
    supervisor = runs.supervise(run)
    reach(run, 5)
    supervisor.terminate()
    assert supervisor.wait(60) == 3
    assert runs.finish(run).state == "stopped"
    saved = runs.workspace.checkpoints("r", "pretrain")
    assert f"step-{steps_of(run):08d}" in os.listdir(saved)


def test_a_damaged_checkpoint_is_passed_over(runs: Runs) -> None:
    run = killed_after(runs, 70, "pretrain.checkpoint_interval=20")
    found = sorted(runs.workspace.checkpoints("r", "pretrain").glob("step-*"))
    damaged = found[-1] / "model.safetensors"
    raw = bytearray(damaged.read_bytes())
    raw[-100] ^= 1
    damaged.write_bytes(raw)
    runs.supervise(run)
    assert runs.finish(run).state == "done"
    warnings = [e.payload().message for e in events_of(run) if e.kind == "warning"]
    assert f"{found[-1].name} was passed over: model.safetensors is damaged" in warnings
    resumed = next(event for event in events_of(run) if event.kind == "resume")
    assert f"step-{resumed.step:08d}" == found[-2].name
    assert sorted(losses(run)) == list(range(1, 241))


def test_a_torn_last_line_in_the_record_is_closed(runs: Runs) -> None:
    run = killed_after(runs, 30)
    with run.events.open("ab") as file:
        file.write(b'{"kind":"step","time":1.0,"ru')
    runs.supervise(run)
    assert runs.finish(run).state == "done"
    assert sorted(losses(run)) == list(range(1, 241))


def test_resume_learns_from_what_the_run_began_with(runs: Runs) -> None:
    run = killed_after(runs, 30)
    text = runs.workspace.datasets / "text.txt"
    (runs.workspace.datasets / "later.txt").write_text("words that came later, for later runs\n")
    assert runs.to_the_end("other", "pipeline.only=tokenizer").state == "done"
    before = text.read_text()
    text.write_text(before + "changed")
    runs.supervise(run)
    status = runs.finish(run)
    assert (status.state, status.exit_code) == ("failed", 2)
    assert status.error is not None
    assert "have changed: text.txt" in status.error.what
    text.write_text(before)
    runs.supervise(run)
    assert runs.finish(run).state == "done"
    lineage = read_lineage(runs.workspace.models / "r-pretrain")
    assert lineage is not None
    assert [item.file for item in lineage.data] == ["text.txt"]
    assert lineage.parents == {"tokenizer": "tokenizers/r"}


def test_a_torchrun_that_is_killed_takes_its_workers_along(runs: Runs) -> None:
    run = runs.create("r", *SETTINGS, "engine.processes=2", "pretrain.micro_batch=2")
    supervisor = runs.supervise(run)
    reach(run, 20)
    os.kill(stage_pid(run), signal.SIGKILL)
    assert runs.finish(run).state in ("failed", "stopped")
    supervisor.wait()
    assert not control.is_alive(run)
    size = run.events.stat().st_size
    time.sleep(1.0)
    assert run.events.stat().st_size == size
    runs.supervise(run)
    assert runs.finish(run).state == "done"
    assert sorted(losses(run)) == list(range(1, 241))
