"""What a run would take, before it is started: data, tokens, steps, time, memory, and who waits."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gptcore.errors import UserError
from gptcore.inputs import FORMS
from gptcore.stages import STAGES, Mix
from gptcore.status import LIVE, Status, list_runs
from gptcore.workspace import Workspace
from gptstudio.services.datasets import bytes_per_token

if TYPE_CHECKING:
    from gptcore.memory import Estimate
    from gptcore.profile import Profile


@dataclass(frozen=True)
class Rows:
    """The rows that some stages would read.

    Args:
        stages: Their names.
        noun: What the rows are, for people.
        files: How many files hold them.
        bytes: Of these files.
    """

    stages: tuple[str, ...]
    noun: str
    files: int
    bytes: int


@dataclass(frozen=True)
class Review:
    """A run that might be started.

    Args:
        profile: Its settings.
        stages: Those of the pipeline that it would look at.
        up_to_date: Those of them that it would skip: nothing they depend on has changed.
        files: How many files it would learn from.
        bytes: Of these files.
        tokens: About how many these are.
        steps: Optimiser steps of pretraining; 0: it has none.
        trained_tokens: Tokens that those steps see.
        seconds: What pretraining would take, at the speed of `like`; None: not known.
        like: The run whose speed was measured.
        rows: What the stages after pretraining would learn from.
        tuning: What each of them would do, in words, by stage; without those that are skipped.
        need: Memory of the stage that needs the most on one device; None where none is known.
        need_of: That stage.
        device: As in the setting `engine.device`, `auto` resolved to `cpu` or `cuda`.
        devices: Indices of the GPUs that it would use, as NVML counts them.
        waits_for: Run that holds the device; empty: it would start at once.
        warnings: What it would go without.
        problem: Why it cannot be started; None: it can.
    """

    profile: "Profile"
    stages: tuple[str, ...]
    up_to_date: frozenset[str] = frozenset()
    files: int = 0
    bytes: int = 0
    tokens: int = 0
    steps: int = 0
    trained_tokens: int = 0
    seconds: float | None = None
    like: str = ""
    rows: tuple[Rows, ...] = ()
    tuning: Mapping[str, str] = field(default_factory=dict)
    need: "Estimate | None" = None
    need_of: str = ""
    device: str = "cpu"
    devices: tuple[int, ...] = ()
    waits_for: str = ""
    warnings: tuple[str, ...] = ()
    problem: UserError | None = None


def review(workspace: Workspace, profile: "Profile", up_to_date: Collection[str] = ()) -> Review:
    """Look at what a run of `profile` would take; may block.

    Args:
        workspace: Where it would run.
        profile: Its settings.
        up_to_date: Stages that need not be performed, as far as is known.
    """
    from gptcore.inputs import Pipeline
    from gptcore.lineage import find_parent
    from gptcore.run_memory import estimate_stages, largest, tunings
    from gptstudio.preflight import preflight
    from gptstudio.tuning import describe_tuning

    stages = tuple(profile.pipeline.performed)
    warnings: tuple[str, ...] = ()
    problem: UserError | None = None
    files: dict[Mix, dict[Path, int]] = {}
    parent: Path | None = None
    try:
        warnings = tuple(preflight(workspace, profile))
        named = profile.pipeline.parent
        parent = find_parent(workspace, named) if named else None
        pipeline = Pipeline(workspace, profile)
        for mix in dict.fromkeys(mix for name in stages for mix in STAGES[name].data):
            files[mix] = {path: path.stat().st_size for path in pipeline.mix_files(mix)}
    except UserError as error:
        problem = error
    except OSError as error:
        problem = UserError(error.strerror or str(error), where=str(error.filename or ""))
    skipped = frozenset(up_to_date) & set(stages)
    trains = "pretrain" in stages and "pretrain" not in skipped
    device, devices = _devices(profile)
    text = list(files.get("pretrain", {}).values())
    tuned = tunings(profile, stages)
    tokens = round(sum(text) / bytes_per_token(workspace, profile))
    steps = _steps(profile, tokens) if trains else 0
    step_tokens = profile.pretrain.batch_size * profile.model.context_length
    runs = list_runs(workspace)
    speed, like = _measured_speed(workspace, profile, runs, on_gpu=device != "cpu")
    estimates = estimate_stages(_on(profile, device), parent)
    need = largest({name: each for name, each in estimates.items() if name not in skipped})
    return Review(
        profile=profile,
        stages=stages,
        up_to_date=skipped,
        files=len(text),
        bytes=sum(text),
        rows=_rows(files, tuned),
        tuning={name: describe_tuning(each) for name, each in tuned.items() if name not in skipped},
        tokens=tokens,
        steps=steps,
        trained_tokens=steps * step_tokens,
        seconds=steps * step_tokens / speed if speed and steps else None,
        like=like,
        need=need[1] if need else None,
        need_of=need[0] if need else "",
        device=device,
        devices=devices,
        waits_for=_holder(runs, device),
        warnings=warnings,
        problem=problem,
    )


def _steps(profile: "Profile", tokens: int) -> int:
    settings = profile.pretrain
    if settings.max_steps:
        return settings.max_steps
    held_out = profile.data.pretrain.held_out
    per_step = settings.batch_size * profile.model.context_length
    return max(1, round(tokens * (1 - held_out)) * settings.epochs // per_step)


def _rows(files: Mapping[Mix, Mapping[Path, int]], stages: Iterable[str]) -> tuple[Rows, ...]:
    """What stages read that train a model further, those that read the same together."""
    readers: dict[tuple[str, frozenset[Path]], list[str]] = {}
    sizes: dict[Path, int] = {}
    for name in stages:
        for mix in STAGES[name].data:
            if found := files.get(mix):
                readers.setdefault((_noun(mix), frozenset(found)), []).append(name)
                sizes |= found
    return tuple(
        Rows(tuple(names), noun, len(paths), sum(sizes[path] for path in paths))
        for (noun, paths), names in readers.items()
    )


def _noun(mix: Mix) -> str:
    """What the rows of a mix are."""
    forms = FORMS[mix]
    if "preference" in forms:
        return "preferences"
    return "conversations and prompts" if "prompt" in forms else "conversations"


def _devices(profile: "Profile") -> tuple[str, tuple[int, ...]]:
    """The device with `auto` resolved, and the GPUs that it stands for."""
    from gptcore.devices import visible_devices

    device = profile.engine.device
    if device == "cpu":
        return device, ()
    visible = [each.index for each in visible_devices()]
    if device == "auto":
        device = "cuda" if visible else "cpu"
    kind, _, number = device.partition(":")
    if number:
        return device, tuple(visible[int(number) : int(number) + 1])
    return device, tuple(visible[: profile.engine.processes]) if kind == "cuda" else ()


def _on(profile: "Profile", device: str) -> "Profile":
    """The profile with its device resolved, as the estimate takes it."""
    engine = profile.engine.model_copy(update={"device": device})
    return profile.model_copy(update={"engine": engine})


def _measured_speed(
    workspace: Workspace, profile: "Profile", runs: list[Status], *, on_gpu: bool
) -> tuple[float, str]:
    """Speed of pretraining, tokens a second, in the newest run like this one, and its name."""
    from gptcore.profile import read_profile

    for run in runs:
        speed = run.speeds.get("pretrain", 0.0)
        if not speed or ("cuda" in run.device) != on_gpu:
            continue
        try:
            before = read_profile(workspace.run(run.run).profile)
        except (UserError, OSError):
            continue  # written by another version
        same = before.model == profile.model and before.engine == profile.engine
        if same and before.pretrain.micro_batch == profile.pretrain.micro_batch:
            return speed, run.run
    return 0.0, ""


def _holder(runs: list[Status], device: str) -> str:
    """The live run that a new one on `device` would wait for; the engine looks more closely."""
    for run in runs:
        used = run.device.split()
        if run.state in LIVE and (
            device in used or (device == "cuda" and any(name.startswith("cuda") for name in used))
        ):
            return run.run
    return ""
