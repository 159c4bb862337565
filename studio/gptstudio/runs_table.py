"""Runs as a table."""

import time
from collections.abc import Sequence

from gptcore.status import Status, is_hung
from gptstudio.text import columns, human_time

HEADINGS = ("run", "state", "stage", "step", "loss", "val", "started")


def runs_table(runs: Sequence[Status], *, indent: str = "") -> str:
    """The runs, a line each, under headings."""
    return columns([HEADINGS, *map(_row, runs)], indent=indent)


def _row(run: Status) -> tuple[str, ...]:
    state = "hung?" if is_hung(run) else run.state
    step = f"{run.step}/{run.total_steps}" if run.total_steps else ""
    started = f"{human_time(time.time() - run.started)} ago" if run.started else ""
    return (run.run, state, run.stage, step, _loss(run.loss), _loss(run.val_loss), started)


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
