"""``status.json``: where a run stands, written by its supervisor alone, read by anyone."""

import time
from typing import Literal, get_args

import msgspec

from gptcore.control import is_alive
from gptcore.errors import UserError
from gptcore.events import Failure
from gptcore.workspace import RunPaths, Workspace, write_atomic

State = Literal[
    "queued", "starting", "running", "paused", "stopping", "stopped", "done", "failed", "lost"
]

#: States of a run that has a supervisor.
LIVE: frozenset[str] = frozenset({"queued", "starting", "running", "paused", "stopping"})

#: Seconds without a heartbeat after which a live run counts as hung.
HUNG_AFTER = 15.0


class Status(msgspec.Struct, omit_defaults=True):
    """The content of `status.json`.

    Attributes:
        run: Name of the run.
        state: As last written; `observe` tells what is so now.
        stages: The stages of this run, in order.
        stage: The one at work, or the last one.
        step: Optimiser steps done in it.
        total_steps: Of it, in all.
        loss: Of the last step.
        val_loss: Of the last evaluation.
        reward: Mean of the last answers that were learned from.
        accuracy: Share of the last pairs whose better answer is the likelier.
        val_accuracy: The same, of pairs that are held out.
        tokens_per_s: Of the last step.
        speeds: The same, of each stage that has trained.
        eta_s: Seconds to go in the stage.
        memory: Peak bytes.
        device: What it computes on.
        attempt: How often it was started.
        started: Wall time of the first start.
        heartbeat: Wall time of the last sign of life.
        supervisor_pid: Process id.
        stage_pid: Process id of the stage at work; 0 between stages.
        micro_batch: The micro-batch after memory ran out; 0: the profile's.
        outputs: What each finished stage made, by stage, as paths in the workspace.
        message: The last thing a person should know.
        error: Why it failed.
        exit_code: Of the run, once it has ended.
    """

    run: str
    state: State
    stages: list[str] = []
    stage: str = ""
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    val_loss: float | None = None
    reward: float | None = None
    accuracy: float | None = None
    val_accuracy: float | None = None
    tokens_per_s: float = 0.0
    speeds: dict[str, float] = {}
    eta_s: float | None = None
    memory: int = 0
    device: str = ""
    attempt: int = 0
    started: float = 0.0
    heartbeat: float = 0.0
    supervisor_pid: int = 0
    stage_pid: int = 0
    micro_batch: int = 0
    outputs: dict[str, str] = {}
    message: str = ""
    error: Failure | None = None
    exit_code: int | None = None


def write_status(run: RunPaths, status: Status) -> None:
    """Replace the status file."""
    write_atomic(run.status, msgspec.json.encode(status), durable=status.state not in LIVE)


def read_status(run: RunPaths) -> Status | None:
    """The status as written; None where there is none, or a broken one."""
    try:
        return msgspec.json.decode(run.status.read_bytes(), type=Status)
    except (OSError, msgspec.DecodeError):
        return None


def observe(run: RunPaths) -> Status | None:
    """The status as it is now: a run that says it lives, but holds no lock, is lost."""
    alive = is_alive(run)  # before the file: a run that ends in between is not lost
    status = read_status(run)
    if status is not None:
        status.run = run.name  # a record that was copied or moved is a run of its own
    if status is not None and status.state in LIVE and not alive:
        status.state = "lost"
        status.message = "its supervisor died without a word"
    return status


def is_hung(status: Status) -> bool:
    """Whether a live run has given no sign of life for too long."""
    return status.state in LIVE and time.time() - status.heartbeat > HUNG_AFTER


def list_runs(workspace: Workspace) -> list[Status]:
    """Every run of the workspace as it is now, the newest first."""
    if not workspace.logs.is_dir():
        return []
    found = [
        observe(workspace.run(path.name)) for path in workspace.logs.iterdir() if path.is_dir()
    ]
    return sorted(
        (status for status in found if status is not None),
        key=lambda status: status.started,
        reverse=True,
    )


def find_run(workspace: Workspace, name: str | None) -> tuple[RunPaths, Status]:
    """The run of that name; without a name, the newest live one, else the newest.

    Raises:
        UserError: There is none; the message lists what there is.
    """
    if name:
        run = workspace.run(name)
        if "/" not in name and (status := observe(run)) is not None:
            return run, status
    runs = list_runs(workspace)
    if not name and runs:
        chosen = next((status for status in runs if status.state in LIVE), runs[0])
        return workspace.run(chosen.run), chosen
    names = ", ".join(status.run for status in runs[:8]) or "none"
    raise UserError(
        f"no run is called {name!r}" if name else "there is no run yet",
        where=f"{workspace.logs} holds: {names}",
        fix="start one with gptstudio run",
    )


STATES: tuple[str, ...] = get_args(State)
