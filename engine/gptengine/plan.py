"""What a stage will read, what its result would be called, and whether there is one already."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gptcore.errors import UserError
from gptcore.inputs import (
    OnBytes,
    Pipeline,
    digested,
    named_parent,
    nothing_before,
    parent_digests,
    result_with,
    results_of,
    reward_model_of,
    stage_before,
    stage_inputs,
    taken_from,
    takes_reward_model,
)
from gptcore.lineage import DataFile
from gptcore.stages import STAGES, ParentKind, Stage, fingerprint
from gptcore.workspace import RunPaths, write_atomic
from gptengine.context import StageContext


class Parent(msgspec.Struct, frozen=True):
    """What a stage starts from: its path in the workspace, and the SHA-256 of what counts in it."""

    path: str
    sha256: str


class Inputs(msgspec.Struct, frozen=True):
    """``inputs.json`` of a run.

    Attributes:
        data: For each stage of the run, the files it learns from.
        parents: For each stage that has started, what it starts from by kind.
    """

    data: dict[str, list[DataFile]]
    parents: dict[str, dict[ParentKind, Parent]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The inputs of a stage.

    Args:
        files: Files to learn from.
        data: The same, for the lineage.
        fingerprint: Of inputs and settings.
        output: Folder that the result will be.
        existing: A result with this fingerprint, if there is one.
        parents: Folders it starts from: the `tokenizer`, and a `model` if there is one.
        warnings: For the record.
    """

    files: list[Path]
    data: list[DataFile]
    fingerprint: str
    output: Path
    existing: Path | None
    parents: dict[ParentKind, Path] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def make_plan(context: StageContext) -> Plan:
    """Find the inputs of `context.stage` and see whether its result is there already.

    What a run learned from at its first start it learns from at every later one: the inputs are
    frozen in its record.

    Raises:
        UserError: An input is missing, or has changed since the run first started; or an earlier
            run of this name left checkpoints.
    """
    workspace, stage = context.workspace, context.stage
    frozen = _read_inputs(context.run)
    known = frozen.parents if frozen else {}
    if stage.name not in known:
        _refuse_foreign_checkpoints(context)
    data = _unchanged_data(context, frozen) if frozen else _data(context)
    warnings: tuple[str, ...] = ()
    if stage.name in known:
        parents = _unchanged_parents(context, known[stage.name])
    else:
        parents, warnings = _parents(context)
    if context.is_main:
        _write_inputs(context.run, Inputs(data, {**known, stage.name: parents}))
    digests = {kind: parent.sha256 for kind, parent in parents.items()}
    mine = data[stage.name]
    stage_fingerprint = fingerprint(stage, context.profile, stage_inputs(mine, digests))
    folders = {kind: workspace.root / parent.path for kind, parent in parents.items()}
    reported_on = folders["model"] if stage.report else None
    folder = workspace.root / stage.makes
    suffix = "" if stage.makes == "tokenizers" else f"-{stage.name}"
    return Plan(
        files=[workspace.datasets / item.file for item in mine],
        data=mine,
        fingerprint=stage_fingerprint,
        output=reported_on or _free_name(folder / f"{context.run.name}{suffix}"),
        existing=result_with(folder, stage_fingerprint, reported_on),
        parents=folders,
        warnings=warnings,
    )


def _refuse_foreign_checkpoints(context: StageContext) -> None:
    """A stage that starts for the first time must not go on from another run's checkpoints."""
    if next(context.checkpoints.glob("step-*"), None) is not None:
        raise UserError(
            f"there are checkpoints of an earlier run called {context.run.name}",
            where=str(context.checkpoints),
            fix="remove them, or start a run with another --name",
        )


def _read_inputs(run: RunPaths) -> Inputs | None:
    try:
        return msgspec.json.decode(run.inputs.read_bytes(), type=Inputs)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise UserError(
            f"the run's inputs cannot be read: {error}",
            where=str(run.inputs),
            fix="start a new run with gptstudio run",
        ) from None


def _write_inputs(run: RunPaths, inputs: Inputs) -> None:
    write_atomic(run.inputs, msgspec.json.format(msgspec.json.encode(inputs), indent=2))


def _data(context: StageContext) -> dict[str, list[DataFile]]:
    """For every stage of the run, the files that the profile includes, as they are now."""
    pipeline = Pipeline(context.workspace, context.profile, _reading(context))
    return {name: pipeline.data(STAGES[name]) for name in context.profile.pipeline.performed}


def _reading(context: StageContext) -> OnBytes:
    progress = context.progress("reading the data", "MB")

    def on_bytes(done: int, total: int) -> None:
        if done:
            progress(done / 1e6, total / 1e6)
        else:
            context.check()

    return on_bytes


def _unchanged_data(context: StageContext, frozen: Inputs) -> dict[str, list[DataFile]]:
    """The files that the run began with; files that came later are for later runs."""
    before = frozen.data[context.stage.name]
    names = [item.file for item in before]
    missing = [name for name in names if not (context.workspace.datasets / name).is_file()]
    changed = missing or [
        then.file
        for then, now in zip(
            before, digested(context.workspace, names, _reading(context)), strict=True
        )
        if then.sha256 != now.sha256
    ]
    if changed:
        what = "are gone" if missing else "have changed"
        raise UserError(
            f"{len(changed)} of the files that this run learns from {what}: "
            + ", ".join(changed[:5]),
            where=str(context.workspace.datasets),
            fix="put them back as they were, or start a new run with gptstudio run",
        )
    return frozen.data


def _unchanged_parents(
    context: StageContext, frozen: dict[ParentKind, Parent]
) -> dict[ParentKind, Parent]:
    for kind, parent in frozen.items():
        path = context.workspace.root / parent.path
        if not path.is_dir() or _parents_in(context, {kind: path})[kind] != parent:
            raise UserError(
                f"the {kind} that this run began with has changed or is gone",
                where=str(path),
                fix="put it back as it was, or start a new run with gptstudio run",
            )
    return frozen


def _parents(context: StageContext) -> tuple[dict[ParentKind, Parent], tuple[str, ...]]:
    """The tokenizer or model that the stage starts from, and what there is to say of it."""
    stage = context.stage
    if not stage.parents:
        return {}, ()
    path = context.parent or named_parent(context.workspace, context.profile, stage)
    warnings: tuple[str, ...] = ()
    if path is None:
        path, warnings = _result_of(context, stage_before(context.profile, stage))
    paths: dict[ParentKind, Path] = dict.fromkeys(taken_from(path, stage), path)
    reward = reward_model_of(context.workspace, context.profile, stage)
    if reward is None and takes_reward_model(context.profile, stage):
        reward, more = _result_of(context, STAGES["reward"])
        warnings += more
    if reward is not None:
        paths["reward"] = reward
    return _parents_in(context, paths), warnings


def _parents_in(context: StageContext, paths: dict[ParentKind, Path]) -> dict[ParentKind, Parent]:
    digests = parent_digests(context.workspace, paths)
    return {
        kind: Parent(context.workspace.relative(path), digests[kind])
        for kind, path in paths.items()
    }


def _result_of(context: StageContext, before: Stage) -> tuple[Path, tuple[str, ...]]:
    """What an earlier stage made in this pipeline, the up-to-date one if there is one."""
    workspace, profile = context.workspace, context.profile
    there = results_of(workspace, before, profile.name)
    try:
        current = Pipeline(workspace, profile, _reading(context)).current(before)
    except UserError:
        current = None  # made from what is no longer there
    if current is not None:
        return current, ()
    if not there:
        raise nothing_before(workspace, before, profile.name)
    shown = workspace.relative(there[0][0])
    return there[0][0], (f"{shown} was made from other data or settings than there are now",)


def _free_name(path: Path) -> Path:
    """`path`, or with a number behind it: what a person has is never overwritten."""
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free
