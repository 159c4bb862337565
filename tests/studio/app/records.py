"""Records of runs made by hand, and a machine: the same numbers each time."""

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gptcore import events
from gptcore.control import FileLock
from gptcore.journal import JournalWriter
from gptcore.status import LIVE, State, Status, write_status
from gptcore.workspace import RunPaths, Workspace, make_private_dir
from gptstudio.services.hardware import Hardware, HardwareMonitor, Host
from tests.fake_nvml import GIB, FakeGpu, FakeNvml

#: Wall time of the first event of every record.
BEGAN = 1_700_000_000.0
DAY = 86_400.0
HOST = Host(43.0, 16, (1.2, 3.0, 4.0), 12 * GIB, 64 * GIB, 0, 0, 1300 * GIB, 2000 * GIB)
#: Of the rewards that add up to one.
NAMES = ("function", "well_formed", "arguments", "no_needless_call", "consistent", "format")
MEMORY_RAN_OUT = events.Failure(
    "memory ran out on the GPU at micro-batch 1",
    "stage pretrain, step 120",
    "--set model.context_length=512",
    "memory",
)
LOG = [
    "tokenizer: 12 merges, 300 tokens",
    "pretrain: 1,234,567 parameters on cpu",
    "warning: the held-out text is short",
    "step 100/200  loss 2.6667",
    "checkpoint checkpoints/x/pretrain/step-100 (interval)",
]


def loss_at(step: int, height: float = 4.0) -> float:
    """A curve that falls as losses do, with a ripple."""
    return 2.0 + height / (1 + step / 20) + 0.05 * math.sin(step)


def record(
    workspace: Workspace,
    name: str,
    state: State = "done",
    *,
    steps: int = 200,
    height: float = 4.0,
    days: float = 2.1,
    log: list[str] | None = None,
    profile: str = "demo",
    **fields: Any,
) -> RunPaths:
    """A run that was started so many days ago and has got to `steps` of 200."""
    run = workspace.run(name)
    make_private_dir(run.folder)
    run.profile.write_text(f'name = "{profile}"\n')
    run.log.write_text("\n".join(LOG if log is None else log) + "\n", errors="surrogateescape")
    _write_events(run, steps, height)
    started = time.time() - days * DAY
    known = Status(
        run=name,
        state=state,
        stages=["tokenizer", "pretrain"],
        stage="pretrain",
        step=steps,
        total_steps=200,
        loss=loss_at(steps, height) if steps else None,
        val_loss=loss_at(steps, height) + 0.1 if steps else None,
        tokens_per_s=51_200.0,
        eta_s=0.01 * (200 - steps),
        memory=3 << 30,
        device="cpu",
        attempt=1,
        started=started,
        heartbeat=time.time() if state in LIVE else started,
    )
    for field, value in fields.items():
        setattr(known, field, value)
    write_status(run, known)
    return run


def _write_events(run: RunPaths, steps: int, height: float) -> None:
    journal = JournalWriter(run.events)

    def write(payload: events.Payload, step: int | None = None, stage: str = "pretrain") -> None:
        when = BEGAN + (step or 0)
        journal.append(events.encode(payload, time=when, run=run.name, stage=stage, step=step))

    write(events.RunChange("starting"), stage="")
    write(events.StageChange("start"), stage="tokenizer")
    write(events.StageChange("end", output="tokenizers/t"), stage="tokenizer")
    write(events.StageChange("start", total_steps=200, details={"parameters": 1_234_567}))
    for step in range(1, steps + 1):
        norm = 1.0 + 0.5 * math.cos(step / 7)
        lr = 1e-3 * min(1.0, step / 20) * (1 - step / 400)
        speed = 51_200.0 + 500 * math.sin(step / 3)
        loss = loss_at(step, height)
        write(
            events.Step(loss, lr, norm, step * 512, speed, memory=(2 << 30) + step * 5_000_000),
            step,
        )
        if step % 20 == 0:
            write(events.Eval(loss + 0.1, best=True), step)
    journal.close()


def add_rewards(
    run: RunPaths, stage: str = "ppo", *, steps: int = 70, names: Iterable[str] = NAMES
) -> None:
    """Let the run go on to a stage that learns from rewards, or from preferences."""
    journal = JournalWriter(run.events)

    def write(payload: events.Payload, step: int | None = None) -> None:
        when = BEGAN + 1000 + (step or 0)
        journal.append(events.encode(payload, time=when, run=run.name, stage=stage, step=step))

    write(events.StageChange("start", total_steps=200, details={"parameters": 1_234_567}))
    for step in range(1, steps + 1):
        write((preferred if stage in ("orpo", "reward") else rewarded)(step, names), step)
        loss = 0.4 - 0.001 * step if stage == "ppo" else loss_at(step)
        write(events.Step(loss, 1e-4, 1.0 + 0.1 * math.cos(step), step * 512, 900.0), step)
        if step % 20 == 0:
            write(held_out(step, stage), step)
    journal.close()


def rewarded(step: int, names: Iterable[str] = NAMES) -> events.Reward:
    """How the answers of a step fared, better and better."""
    share = 1 - math.exp(-step / 30)
    parts = {
        name: share * (1 - number / 10) + 0.03 * math.sin(step + number)
        for number, name in enumerate(names)
    }
    return events.Reward(
        mean=0.2 + 0.6 * share,
        std=0.3 - 0.2 * share,
        parts=parts,
        kl=1.2 * share,
        entropy=2.0 - share,
        clip_fraction=0.1 + 0.02 * math.sin(step / 3),
        value_loss=0.5 * math.exp(-step / 40),
        length=40 - 15 * share,
        prompts=64,
    )


def preferred(step: int, names: Iterable[str] = ()) -> events.Reward:
    """How the pairs of a step fared."""
    share = 1 - math.exp(-step / 30)
    return events.Reward(accuracy=0.5 + 0.4 * share, margin=share, prompts=32)


def held_out(step: int, stage: str) -> events.Reward:
    """How data fared that is not learned from."""
    if stage in ("orpo", "reward"):
        found = preferred(step)
        return events.Reward(accuracy=found.accuracy, margin=found.margin, held_out=True)
    return events.Reward(mean=rewarded(step).mean, held_out=True, prompts=16)


@contextmanager
def alive(run: RunPaths) -> Iterator[None]:
    """Hold the lock of a run, as its supervisor does."""
    with FileLock(run.lock) as lock:
        assert lock.acquire(5)
        yield


def fix_machine(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A host that never changes, and one GPU; a test may give it others."""
    read = HardwareMonitor.read

    def with_fixed_host(self: HardwareMonitor, runs: Any = None) -> Hardware:
        return dataclasses.replace(read(self, runs), host=HOST)

    monkeypatch.setattr(HardwareMonitor, "read", with_fixed_host)
    return FakeNvml(monkeypatch, [FakeGpu()])
