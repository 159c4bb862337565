"""What a stage will read, what its result would be called, and whether there is one already."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gptcore.digests import file_digest, file_digests
from gptcore.errors import UserError
from gptcore.formats import find_text_files
from gptcore.inputs import parent_file, parent_kinds, result_with, stage_inputs
from gptcore.lineage import DataFile, find_parent, tokenizers_of
from gptcore.profile import Profile
from gptcore.stages import STAGES, fingerprint
from gptcore.workspace import RunPaths, Workspace, write_atomic
from gptengine.context import StageContext


class Parent(msgspec.Struct, frozen=True):
    """What a stage starts from: its path in the workspace, and the SHA-256 of what counts in it."""

    path: str
    sha256: str


class Inputs(msgspec.Struct, frozen=True):
    """``inputs.json`` of a run.

    Attributes:
        data: The files it learns from.
        parents: For each stage that has started, what it starts from by kind.
    """

    data: list[DataFile]
    parents: dict[str, dict[str, Parent]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The inputs of a stage.

    Args:
        files: Text files to learn from.
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
    parents: dict[str, Path] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def make_plan(context: StageContext) -> Plan:
    """Find the inputs of `context.stage` and see whether its result is there already.

    What a stage learned from at its first start it learns from at every later one: the inputs are
    frozen in the run's record.

    Raises:
        UserError: An input is missing, or has changed since the stage first started; or an earlier
            run of this name left checkpoints.
    """
    workspace, profile, stage = context.workspace, context.profile, context.stage
    frozen = _read_inputs(context.run)
    if frozen is None or stage.name not in frozen.parents:
        _refuse_foreign_checkpoints(context)
    data = _unchanged_corpus(context, frozen) if frozen else _corpus(context)
    parents: dict[str, Parent] = {}
    warnings: tuple[str, ...] = ()
    if stage.name == "pretrain":
        if frozen and stage.name in frozen.parents:
            parents = _unchanged_parents(context, frozen.parents[stage.name])
        else:
            parents, warnings = _parents(context, data)
    if context.is_main:
        known = frozen.parents if frozen else {}
        _write_inputs(context.run, Inputs(data, {**known, stage.name: parents}))
    digests = {kind: parent.sha256 for kind, parent in parents.items()}
    stage_fingerprint = fingerprint(stage, profile, stage_inputs(data, digests))
    folder = workspace.root / stage.makes
    suffix = "" if stage.makes == "tokenizers" else f"-{stage.name}"
    return Plan(
        files=[workspace.datasets / item.file for item in data],
        data=data,
        fingerprint=stage_fingerprint,
        output=_free_name(folder / f"{context.run.name}{suffix}"),
        existing=result_with(folder, stage_fingerprint),
        parents={kind: workspace.root / parent.path for kind, parent in parents.items()},
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


def _corpus(context: StageContext) -> list[DataFile]:
    """The text files that the profile includes, as they are now."""
    workspace, mix = context.workspace, context.profile.data.pretrain
    files = find_text_files(workspace.datasets, mix.include, mix.exclude)
    names = [str(path.relative_to(workspace.datasets)) for path in files]
    return _with_digests(context, names)


def _with_digests(context: StageContext, names: list[str]) -> list[DataFile]:
    paths = [context.workspace.datasets / name for name in names]
    sizes = [path.stat().st_size for path in paths]
    progress = context.progress("reading the text", "MB")
    total = sum(sizes)
    digests = file_digests(
        paths,
        context.workspace.cache,
        lambda done: progress(done / 1e6, total / 1e6) if done else context.check(),
    )
    return [DataFile(*item) for item in zip(names, sizes, digests, strict=True)]


def _unchanged_corpus(context: StageContext, frozen: Inputs) -> list[DataFile]:
    """The files that the run began with; files that came later are for later runs."""
    names = [item.file for item in frozen.data]
    missing = [name for name in names if not (context.workspace.datasets / name).is_file()]
    changed = missing or [
        then.file
        for then, now in zip(frozen.data, _with_digests(context, names), strict=True)
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


def _unchanged_parents(context: StageContext, frozen: dict[str, Parent]) -> dict[str, Parent]:
    for kind, parent in frozen.items():
        path = context.workspace.root / parent.path
        if not path.is_dir() or _parent(context.workspace, kind, path).sha256 != parent.sha256:
            raise UserError(
                f"the {kind} that this run began with has changed or is gone",
                where=str(path),
                fix="put it back as it was, or start a new run with gptstudio run",
            )
    return frozen


def _parents(
    context: StageContext, data: list[DataFile]
) -> tuple[dict[str, Parent], tuple[str, ...]]:
    """The tokenizer, and where one was named the model, that the stage starts from."""
    workspace = context.workspace
    path = context.parent or _named_parent(context)
    warnings: tuple[str, ...] = ()
    if path is None:
        path, warnings = _tokenizer_of_pipeline(workspace, context.profile, data)
    return {kind: _parent(workspace, kind, path) for kind in parent_kinds(path)}, warnings


def _parent(workspace: Workspace, kind: str, path: Path) -> Parent:
    file = parent_file(path, kind)
    return Parent(workspace.relative(path), file_digest(file, workspace.cache))


def _named_parent(context: StageContext) -> Path | None:
    """What `--from` names, for the first stage of the run."""
    pipeline = context.profile.pipeline
    if pipeline.parent is None or context.stage.name != pipeline.performed[0]:
        return None
    return find_parent(context.workspace, pipeline.parent)


def _tokenizer_of_pipeline(
    workspace: Workspace, profile: Profile, data: list[DataFile]
) -> tuple[Path, tuple[str, ...]]:
    """The tokenizer that this pipeline has made, the up-to-date one if there is one."""
    wanted = fingerprint(STAGES["tokenizer"], profile, stage_inputs(data))
    current = result_with(workspace.tokenizers, wanted)
    if current is not None:
        return current, ()
    path, _ = tokenizers_of(workspace, profile.name)[0]
    shown = workspace.relative(path)
    return path, (f"{shown} was made from other data or settings than there are now",)


def _free_name(path: Path) -> Path:
    """`path`, or with a number behind it: what a person has is never overwritten."""
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free
