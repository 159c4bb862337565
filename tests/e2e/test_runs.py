"""Runs as a person meets them: commands, the queue, what is skipped, and what goes wrong."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gptcore import control, events
from gptcore.lineage import read_lineage, results
from gptcore.status import observe
from gptcore.workspace import RunPaths, Workspace
from tests.conftest import Runs, events_of, steps_of, wait_for, write_corpus

pytestmark = pytest.mark.slow

LONG = ("pretrain.max_steps=100000", "engine.threads=1", "pretrain.checkpoint_interval=0")
SHORT = ("pretrain.max_steps=12", "engine.threads=1")


def answer(run: RunPaths, name: control.CommandName) -> events.Answer:
    command = control.send(run, name)

    def find() -> events.Answer | None:
        for event in events_of(run):
            payload = event.payload()
            if isinstance(payload, events.Answer) and payload.id == command.id:
                return payload
        return None

    return wait_for(find, 30, run)


def state_of(run: RunPaths) -> str:
    status = observe(run)
    return status.state if status else ""


def training(run: RunPaths) -> bool:
    return steps_of(run) >= 3


def test_every_command_is_obeyed_and_answered(runs: Runs) -> None:
    run = runs.create("r", *LONG)
    runs.supervise(run)
    wait_for(lambda: training(run), 60, run)
    saved = answer(run, "checkpoint")
    assert saved.outcome == "done"
    assert (runs.workspace.root / saved.message / "manifest.json").is_file()
    assert answer(run, "sample").message
    assert answer(run, "resume").outcome == "refused"
    assert answer(run, "pause").outcome == "done"
    wait_for(lambda: state_of(run) == "paused", 10, run)
    before = steps_of(run)
    time.sleep(0.5)
    assert steps_of(run) == before
    assert answer(run, "sample").outcome == "done"
    assert answer(run, "resume").outcome == "done"
    wait_for(lambda: steps_of(run) > before and state_of(run) == "running", 10, run)
    assert answer(run, "pause").outcome == "done"
    assert answer(run, "stop").outcome == "done"
    assert runs.finish(run).state == "stopped"


def test_a_command_left_from_before_is_answered_not_obeyed(runs: Runs) -> None:
    run = runs.create("r", *SHORT)
    stale = control.send(run, "stop")
    runs.supervise(run)
    assert runs.finish(run).state == "done"
    payloads = [event.payload() for event in events_of(run)]
    [reply] = [p for p in payloads if isinstance(p, events.Answer)]
    assert (reply.id, reply.outcome) == (stale.id, "refused")


def test_a_second_run_on_the_device_waits_its_turn(runs: Runs) -> None:
    first, second, third = (runs.create(name, *LONG) for name in ("one", "two", "three"))
    runs.supervise(first)
    wait_for(lambda: state_of(first) == "running", 30, first)
    runs.supervise(second)
    wait_for(lambda: state_of(second) == "queued", 30, second)
    runs.supervise(third)
    wait_for(lambda: state_of(third) == "queued", 30, third)
    status = observe(second)
    assert status is not None
    assert "one" in status.message
    assert answer(second, "pause").outcome == "refused"
    assert answer(second, "stop").outcome == "done"
    assert runs.finish(second).state == "stopped"
    assert answer(first, "stop").outcome == "done"
    wait_for(lambda: state_of(third) == "running", 30, third)
    assert not list(runs.workspace.queue.glob("[0-9]*"))


def test_a_queued_run_that_is_killed_leaves_the_queue(runs: Runs) -> None:
    first, second, third = (runs.create(name, *LONG) for name in ("one", "two", "three"))
    for run in (first, second, third):
        supervisor = runs.supervise(run)
        wait_for(lambda run=run: state_of(run) in ("running", "queued"), 30, run)
        if run is second:
            os.killpg(supervisor.pid, signal.SIGKILL)
            supervisor.wait()
    answer(first, "stop")
    wait_for(lambda: state_of(third) == "running", 30, third)


def test_two_supervisors_on_one_run(runs: Runs) -> None:
    run = runs.create("r", *LONG)
    first = runs.supervise(run)
    second = runs.supervise(run)
    assert second.wait(20) == 2
    assert "has a supervisor already" in run.log.read_text()
    status = observe(run)
    assert status is not None
    assert status.supervisor_pid == first.pid


def test_a_finished_run_is_left_alone(runs: Runs) -> None:
    assert runs.to_the_end("r", *SHORT).state == "done"
    run = runs.workspace.run("r")
    before = run.status.read_bytes()
    assert runs.supervise(run).wait(20) == 2
    assert run.status.read_bytes() == before
    assert "is finished" in run.log.read_text()


def test_what_has_not_changed_is_skipped(runs: Runs) -> None:
    def phases(name: str, *overrides: str) -> dict[str, str]:
        assert runs.to_the_end(name, *SHORT, *overrides).state == "done"
        found = {}
        for event in events_of(runs.workspace.run(name)):
            payload = event.payload()
            if isinstance(payload, events.StageChange):
                found[event.stage] = payload.phase
        return found

    assert phases("one") == {"tokenizer": "end", "pretrain": "end"}
    unchanged = {"tokenizer": "skipped", "pretrain": "skipped"}
    assert phases("two", "pretrain.micro_batch=4") == unchanged
    assert phases("three", "pretrain.lr=1e-3") == {"tokenizer": "skipped", "pretrain": "end"}
    write_corpus(runs.workspace.datasets, seed=1)
    assert phases("four") == {"tokenizer": "end", "pretrain": "end"}
    lineage = read_lineage(runs.workspace.models / "three-pretrain")
    assert lineage is not None
    assert lineage.parents == {"tokenizer": "tokenizers/one"}
    assert lineage.scores["val_loss"]


def test_one_stage_alone_and_from_a_named_parent(runs: Runs) -> None:
    status = runs.to_the_end("early", *SHORT, "pipeline.only=pretrain")
    assert (status.state, status.exit_code) == ("failed", 2)
    assert status.error is not None
    assert "has no tokenizer yet" in status.error.what
    assert runs.to_the_end("tok", "pipeline.only=tokenizer").outputs == {
        "tokenizer": "tokenizers/tok"
    }
    assert runs.to_the_end("pre", *SHORT, "pipeline.only=pretrain").state == "done"
    parent = "pipeline.parent=models/pre-pretrain"
    assert runs.to_the_end("on", *SHORT, "pipeline.only=pretrain", parent).state == "done"
    first, second = (
        next(made for path, made in results(runs.workspace.models) if made.run == name)
        for name in ("pre", "on")
    )
    assert second.parents["model"] == "models/pre-pretrain"
    assert (second.scores["val_loss"] or 9) < (first.scores["val_loss"] or 0)
    lost = runs.to_the_end("lost", *SHORT, "pipeline.only=pretrain", "pipeline.parent=nowhere")
    assert lost.exit_code == 2


def test_checkpoints_of_another_run_are_never_gone_on_from(runs: Runs) -> None:
    foreign = runs.workspace.checkpoints("r", "pretrain") / "step-00000007"
    foreign.mkdir(parents=True)
    run = runs.create("r", *SHORT)
    for _ in ("started", "started again"):
        runs.supervise(run)
        status = runs.finish(run)
        assert (status.state, status.exit_code) == ("failed", 2)
        assert status.error is not None
        assert "checkpoints of an earlier run" in status.error.what
    foreign.rmdir()
    runs.supervise(run)
    assert runs.finish(run).state == "done"


def limit(kind: int, size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (size, resource.RLIM_INFINITY))


def test_a_disk_that_is_full_loses_nothing(runs: Runs) -> None:
    settings = ("pretrain.max_steps=40", "pretrain.checkpoint_interval=10", "engine.threads=1")
    run = runs.create("r", *settings)
    runs.supervise(run, limit(resource.RLIMIT_FSIZE, 250_000))  # the optimiser's state is larger
    status = runs.finish(run)
    assert (status.state, status.exit_code) == ("failed", 2)
    assert status.error is not None
    assert "may not grow" in status.error.what
    assert "gptstudio resume r" in status.error.fix
    folder = runs.workspace.checkpoints("r", "pretrain")
    assert [name for name in os.listdir(folder) if not name.startswith("step-")] == []
    runs.supervise(run)
    assert runs.finish(run).state == "done"


def test_a_record_that_cannot_grow_is_told_by_the_status(runs: Runs) -> None:
    settings = ("pretrain.max_steps=600", "pretrain.checkpoint_interval=0", "engine.threads=1")
    run = runs.create("r", *settings)
    runs.supervise(run, limit(resource.RLIMIT_FSIZE, 60_000))  # about 200 steps of events
    status = runs.finish(run)
    assert (status.state, status.exit_code) == ("failed", 2)
    assert runs.workspace.run("r").events.stat().st_size <= 60_000
    runs.supervise(run)
    assert runs.finish(run).state == "done"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let root mount a disk")
    runs = Runs(Workspace(disk))
    try:
        write_corpus(runs.workspace.datasets)
        run = runs.create("r", *LONG)
        runs.supervise(run)
        wait_for(lambda: training(run), 60, run)
        with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while filler.write(bytes(4096)):
                pass
        status = runs.finish(run)
        assert (status.state, status.exit_code) == ("failed", 2)
        assert status.error is not None
        assert "disk is full" in status.error.what
    finally:
        runs.clean_up()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_memory_that_runs_out_halves_the_micro_batch(runs: Runs) -> None:
    settings = (
        "engine.threads=1",
        "model.context_length=256",
        "model.emb_dim=128",
        "model.n_layers=4",
        "pretrain.batch_size=128",
        "pretrain.micro_batch=128",
        "pretrain.max_steps=3",
        "pretrain.eval_batches=1",
    )
    run = runs.create("r", *settings)
    runs.supervise(run, limit(resource.RLIMIT_DATA, 1_600 * 2**20))
    status = runs.finish(run)
    assert status.state == "done", status
    assert status.micro_batch in (16, 32, 64)
    assert status.attempt > 1
    warnings = [event.payload().message for event in events_of(run) if event.kind == "warning"]
    assert any("memory ran out at pretrain.micro_batch = 128" in text for text in warnings)


def test_memory_that_never_suffices_ends_with_what_to_change(runs: Runs) -> None:
    run = runs.create(
        "r",
        "engine.threads=1",
        "model.context_length=256",
        "model.emb_dim=2048",
        "model.n_layers=6",
        "pretrain.batch_size=2",
        "pretrain.micro_batch=2",
    )
    runs.supervise(run, limit(resource.RLIMIT_DATA, 1_600 * 2**20))
    status = runs.finish(run)
    assert status.state == "failed"
    assert status.error is not None
    assert "pretrain.micro_batch = 1" in status.error.what
    assert "model.context_length = 128" in status.error.fix


def test_two_processes_train_the_same_model_as_one(runs: Runs) -> None:
    def losses(name: str) -> list[float]:
        payloads = [event.payload() for event in events_of(runs.workspace.run(name))]
        return [p.loss for p in payloads if isinstance(p, events.Step) and p.loss is not None]

    settings = ("pretrain.max_steps=30", "engine.threads=1", "pretrain.micro_batch=2")
    assert runs.to_the_end("one", *settings).state == "done"
    run = runs.create("two", *settings, "engine.processes=2", "pretrain.max_steps=30")
    runs.supervise(run)
    wait_for(lambda: steps_of(run) >= 5, 60, run)
    assert answer(run, "sample").outcome == "done"
    assert answer(run, "stop").outcome == "done"
    assert runs.finish(run).state == "stopped"
    runs.supervise(run)
    assert runs.finish(run).state == "done"
    assert losses("two") == pytest.approx(losses("one"), abs=1e-4)
