"""The rows of the cockpit's lists."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from gptcore.stages import STAGES
from gptcore.status import LIVE, Status
from gptcore.text import steady
from gptstudio.app.state import State
from gptstudio.app.widgets.rows import Row
from gptstudio.app.words import mark, state_of
from gptstudio.text import human_bytes

if TYPE_CHECKING:
    from gptstudio.services.datasets import DatasetTree

#: Runs that are listed; the others are a matter for the filter of `gptstudio runs`.
MOST_RUNS = 200


def run_rows(runs: Sequence[Status]) -> list[Row]:
    """A row a run, the newest first."""
    return [_run_row(run) for run in runs[:MOST_RUNS]]


def _run_row(run: Status) -> Row:
    words = [state_of(run)]
    if run.state in LIVE and run.total_steps:
        words = [run.stage, f"{min(1.0, run.step / run.total_steps):.0%}"]
    elif run.state not in LIVE and run.heartbeat:
        words.append(_age(time.time() - run.heartbeat))
    if run.reward is not None:
        words.append(f"reward {run.reward:.2f}")
    elif (accuracy := run.accuracy if run.val_accuracy is None else run.val_accuracy) is not None:
        words.append(f"accuracy {accuracy:.0%}")
    elif run.val_loss is not None:
        words.append(f"val {run.val_loss:.3f}")
    elif run.loss is not None:
        words.append(f"loss {run.loss:.3f}")
    left = Content.assemble(mark(run.state), " ", steady(run.run))
    right = Content.styled(" ".join(steady(word) for word in words), "$muted")
    return Row(run.run, left, run.run, right)


def _age(seconds: float) -> str:
    """How long ago, in its coarsest unit: 12m, 3h, 5d."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(0, seconds):.0f}s"


def stage_rows(state: State) -> list[Row]:
    """The profile, then its stages with their state."""
    card = state.profile
    if card is None:
        return []
    changed = Content.styled(f"{len(card.changes)} changed", "$muted")
    if card.error is not None:
        changed = Content.styled("broken", "$text-error")
    name = Content.assemble(("profile ", "$muted"), (steady(card.name), "bold"))
    rows = [Row("profile", name, card.name, changed)]
    if card.error is not None:
        lines = str(card.error).splitlines()
        return rows + [
            Row(f" {number}", Content.styled(steady(line), "$text-error"), line, disabled=True)
            for number, line in enumerate(lines)
        ]
    stages = card.profile.pipeline.stages if card.profile else []
    if state.stages_problem:
        why = Content.styled(steady(state.stages_problem), "$text-warning")
        rows.append(Row(" problem", why, state.stages_problem, disabled=True))
    return rows + [row for stage in stages for row in _stage_rows(state, stage)]


def _stage_rows(state: State, stage: str) -> list[Row]:
    """A stage with its state; under a stale one, why it is."""
    known = STAGES.get(stage)
    title = known.title if known else steady(stage)
    run = state.newest_of_profile
    sign, words = "", "not known" if state.stages_problem else "looking ..."
    if found := state.stages.get(stage):
        sign = {"up to date": "done", "stale": "stale"}.get(found.condition, "")
        words = found.condition
    if run is not None and run.stage == stage and run.state in (*LIVE, "failed", "lost"):
        sign, words = run.state, state_of(run)
    left = Content.assemble(mark(sign), " ", title)
    rows = [Row(stage, left, stage, Content.styled(words, "$muted"))]
    for number, reason in enumerate(found.reasons if found and found.condition == "stale" else ()):
        why = Content.styled(f"  {steady(reason)}", "$text-warning")
        rows.append(Row(f" {stage}{number}", why, reason, disabled=True))
    return rows


def dataset_rows(tree: "DatasetTree | None") -> list[Row]:
    """A row a file, those in the mix first as they come."""
    if tree is None:
        return []
    rows = []
    for file in tree.files():
        sign = mark("done") if file.in_mix else Content.styled("·", "$muted")
        left = Content.assemble(sign, " ", steady(file.path))
        right = Content.styled(human_bytes(file.size), "$muted")
        rows.append(Row(file.path, left, file.path, right))
    return rows
