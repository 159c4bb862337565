"""What a stage will read, what its result would be called, and whether there is one already."""

from dataclasses import dataclass
from pathlib import Path

from gptcore.digests import file_digest
from gptcore.formats import find_text_files
from gptcore.lineage import DataFile, find_parent, results, tokenizers_of
from gptcore.profile import Profile
from gptcore.stages import STAGES, fingerprint
from gptcore.workspace import Workspace
from gptengine.context import StageContext


@dataclass(frozen=True, slots=True)
class Plan:
    """The inputs of a stage.

    Args:
        files: Text files to learn from.
        data: The same, for the lineage.
        fingerprint: Of inputs and settings.
        output: Folder that the result will be.
        existing: A result with this fingerprint, if there is one.
        tokenizer: Folder of the tokenizer, where the stage needs one.
        model: Folder of the model to start from, where there is one.
        warnings: For the record.
    """

    files: list[Path]
    data: list[DataFile]
    fingerprint: str
    output: Path
    existing: Path | None
    tokenizer: Path | None = None
    model: Path | None = None
    warnings: tuple[str, ...] = ()


def make_plan(context: StageContext) -> Plan:
    """Find the inputs of `context.stage` and see whether its result is there already.

    Raises:
        UserError: An input is missing.
    """
    workspace, profile, stage = context.workspace, context.profile, context.stage
    files, data = _corpus(workspace, profile)
    tokenizer = model = None
    warnings: tuple[str, ...] = ()
    inputs: dict[str, object] = {"files": [[item.file, item.sha256] for item in data]}
    parent = context.parent or _named_parent(context)
    if stage.name == "pretrain":
        if parent is None:
            tokenizer, warnings = _tokenizer_of_pipeline(workspace, profile, inputs)
        else:
            tokenizer = parent
            model = parent if (parent / "config.json").is_file() else None
        inputs["tokenizer"] = file_digest(tokenizer / "tokenizer.json", workspace.cache)
        if model is not None:
            inputs["model"] = file_digest(model / "model.safetensors", workspace.cache)
    print_of_stage = fingerprint(stage, profile, inputs)
    folder = workspace.root / stage.makes
    suffix = "" if stage.makes == "tokenizers" else f"-{stage.name}"
    return Plan(
        files=files,
        data=data,
        fingerprint=print_of_stage,
        output=_free_name(folder / f"{context.run.name}{suffix}"),
        existing=_with_fingerprint(folder, print_of_stage),
        tokenizer=tokenizer,
        model=model,
        warnings=warnings,
    )


def _corpus(workspace: Workspace, profile: Profile) -> tuple[list[Path], list[DataFile]]:
    mix = profile.data.pretrain
    files = find_text_files(workspace.datasets, mix.include, mix.exclude)
    data = [
        DataFile(
            str(path.relative_to(workspace.datasets)),
            path.stat().st_size,
            file_digest(path, workspace.cache),
        )
        for path in files
    ]
    return files, data


def _named_parent(context: StageContext) -> Path | None:
    """What `--from` names, for the first stage of the run."""
    pipeline = context.profile.pipeline
    if pipeline.parent is None or context.stage.name != pipeline.performed[0]:
        return None
    return find_parent(context.workspace, pipeline.parent)


def _tokenizer_of_pipeline(
    workspace: Workspace, profile: Profile, inputs: dict[str, object]
) -> tuple[Path, tuple[str, ...]]:
    """The tokenizer that this pipeline has made, the up-to-date one if there is one."""
    wanted = fingerprint(STAGES["tokenizer"], profile, inputs)
    current = _with_fingerprint(workspace.tokenizers, wanted)
    if current is not None:
        return current, ()
    path, _ = tokenizers_of(workspace, profile.name)[0]
    shown = workspace.relative(path)
    return path, (f"{shown} was made from other data or settings than there are now",)


def _with_fingerprint(folder: Path, wanted: str) -> Path | None:
    return next((path for path, made in results(folder) if made.fingerprint == wanted), None)


def _free_name(path: Path) -> Path:
    """`path`, or with a number behind it: what a person has is never overwritten."""
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free


def parent_names(workspace: Workspace, plan: Plan) -> dict[str, str]:
    """The parents of a result for its lineage, as paths in the workspace."""
    parents = {"tokenizer": plan.tokenizer, "model": plan.model}
    return {kind: workspace.relative(path) for kind, path in parents.items() if path is not None}
