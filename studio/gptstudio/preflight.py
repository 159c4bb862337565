"""What can be known before a run starts: data, device, memory, a workspace that takes files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gptcore.errors import UserError
from gptcore.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gptcore.devices import Device
    from gptcore.profile import Profile
    from gptcore.settings import TuningSettings


#: How many files that cannot be used are named before the rest is only counted.
MOST_NAMED = 5


def preflight(workspace: Workspace, profile: "Profile", *, micro_batch: int = 0) -> list[str]:
    """Check that a run of `profile` has what it needs.

    Args:
        workspace: Where it would run.
        profile: Its settings.
        micro_batch: The one that an earlier attempt came down to; 0: the profile's.

    Returns:
        Warnings: what it will go without, a line each.

    Raises:
        UserError: It has not; the message names the setting or command that helps.
    """
    from gptcore.inputs import Pipeline
    from gptcore.stages import STAGES

    for folder in (workspace.root, workspace.logs):
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(
                "the workspace cannot be written to",
                where=str(folder),
                fix="choose another with --workspace, or change its owner or mode",
            )
    pipeline = Pipeline(workspace, profile)
    for name in profile.pipeline.performed:
        pipeline.files(STAGES[name])
    problems = pipeline.problems
    parent = _check_parent(workspace, profile)
    _check_rewards(workspace, profile)
    _check_libraries(profile)
    devices = [] if profile.engine.device == "cpu" else _usable_devices(profile)
    if devices:
        _check_memory(profile, devices, parent, micro_batch)
    warnings = [
        f"{workspace.relative(problem.file)} {problem.reason}; it is left out"
        for problem in problems[:MOST_NAMED]
    ]
    if len(problems) > MOST_NAMED:
        warnings.append(f"{len(problems) - MOST_NAMED} more files or folders are left out")
    return warnings


def _check_parent(workspace: Workspace, profile: "Profile") -> Path | None:
    """What the first stage starts from must be there; the engine looks again, more closely.

    Returns:
        The one that was named, if one was.
    """
    from gptcore.inputs import named_parent, nothing_before, results_of, stage_before, taken_from
    from gptcore.stages import STAGES

    stage = STAGES[profile.pipeline.performed[0]]
    if (named := named_parent(workspace, profile, stage)) is not None:
        taken_from(named, stage)
    elif stage.parents:
        before = stage_before(profile, stage)
        if not results_of(workspace, before, profile.name):
            raise nothing_before(workspace, before, profile.name)
    return named


def _check_rewards(workspace: Workspace, profile: "Profile") -> None:
    """A learned reward must be there or be made by this run, and code of the user's be trusted."""
    from gptcore.inputs import nothing_before, results_of, reward_model_of, takes_reward_model
    from gptcore.rl_settings import RolloutSettings
    from gptcore.stages import STAGES
    from gptcore.trust import require_trust

    maker = STAGES["reward"]
    for name in profile.pipeline.performed:
        stage = STAGES[name]
        settings = getattr(profile, name, None)
        if isinstance(settings, RolloutSettings):
            for path in [each.rpartition(":")[0] for each in settings.reward_weights]:
                if path:
                    require_trust(workspace.root, path)
        reward_model_of(workspace, profile, stage)
        if not takes_reward_model(profile, stage) or maker.name in profile.pipeline.performed:
            continue
        if not results_of(workspace, maker, profile.name):
            raise nothing_before(workspace, maker, profile.name)


def _check_libraries(profile: "Profile") -> None:
    """What a stage was told to use must be there before anything is trained for it."""
    from importlib.util import find_spec

    from gptcore.run_memory import tunings

    if profile.engine.python:
        return  # it runs on another interpreter, which will say so itself
    for settings in tunings(profile, profile.pipeline.performed).values():
        for library, where, fix in _libraries(settings):
            if find_spec(library) is None:
                raise UserError(f"{library} is not installed", where=where, fix=fix)


def _libraries(settings: "TuningSettings") -> "Iterator[tuple[str, str, str]]":
    """What a stage takes to run: a library, the setting that asks for it, and what helps."""
    from gptcore.rl_settings import PpoSettings, RewardModelSettings
    from gptcore.settings import FinetuneSettings

    table, engine = settings.table, "pip install 'gptstudio[engine]'"
    if isinstance(settings, FinetuneSettings) and settings.backend == "unsloth":
        fix = f"--set {table}.backend=peft, or pip install unsloth"
        yield "unsloth", f"{table}.backend = unsloth", fix
    if settings.method == "qlora":
        fix = f"--set {table}.method=lora, or pip install bitsandbytes"
        yield "bitsandbytes", f"{table}.method = qlora", fix
    if settings.method != "full":
        yield "peft", f"{table}.method = {settings.method}", engine
    if isinstance(settings, FinetuneSettings | PpoSettings | RewardModelSettings):
        yield "trl", f"the stage {table}", engine


def _usable_devices(profile: "Profile") -> "list[Device]":
    """The devices of which the run will use one or more; none where it computes on the CPU."""
    from gptcore.devices import visible_devices

    devices = visible_devices()
    device = profile.engine.device
    if device == "auto" and not devices:
        return []
    names = ", ".join(f"cuda:{index} {found.name}" for index, found in enumerate(devices))
    if not devices:
        raise UserError(
            f"engine.device is {device}, but no NVIDIA GPU can be seen here",
            where="engine.device",
            fix="--set engine.device=cpu, or look at the driver with nvidia-smi",
        )
    index = int(device.partition(":")[2] or 0)
    if index >= len(devices) or (":" not in device and profile.engine.processes > len(devices)):
        wanted = device if ":" in device else f"{profile.engine.processes} GPUs"
        raise UserError(
            f"the run wants {wanted}, but there are: {names}",
            where="engine.device" if ":" in device else "engine.processes",
            fix=f"--set engine.device=cuda:{len(devices) - 1}, or --set engine.device=cpu"
            if ":" in device
            else f"--set engine.processes={len(devices)}, or --set engine.device=cpu",
        )
    return [devices[index]] if ":" in device else devices


def _check_memory(
    profile: "Profile", devices: "list[Device]", parent: Path | None, micro_batch: int
) -> None:
    """Refuse what can never fit; what might not fit is the supervisor's to try."""
    from gptcore.run_memory import estimate_stages, largest, tunings
    from gptstudio.text import human_bytes
    from gptstudio.tuning import NOUNS, lighter

    totals = [device.memory_total for device in devices if device.memory_total]
    if len(totals) < len(devices):
        return  # NVML will not say
    budget = max(totals)
    found = largest(estimate_stages(profile, parent, micro_batch))
    if found is None or found[1].total <= budget:
        return
    stage, need = found
    tuned = tunings(profile, (stage,))
    fix = lighter(tuned[stage]) if tuned else suggest(profile, budget)
    raise UserError(
        f"{NOUNS[stage]} needs about {human_bytes(need.total)} of GPU memory;"
        f" the largest usable GPU has {human_bytes(budget)}",
        where=f"{stage}.micro_batch, {stage if tuned else 'model'}.context_length",
        fix=fix,
    )


def suggest(profile: "Profile", budget: int) -> str:
    """Which settings to change so that pretraining fits `budget` bytes; the mildest that do."""
    settings = profile.pretrain
    if size := _micro_batch_within(profile, budget, settings.gradient_checkpointing):
        return f"--set pretrain.micro_batch={size}"
    checkpointing = "--set pretrain.gradient_checkpointing=true"
    if size := _micro_batch_within(profile, budget, True):
        return f"{checkpointing} --set pretrain.micro_batch={size}"
    length = profile.model.context_length // 2
    while length >= 64:
        shorter = profile.model_copy(
            update={"model": profile.model.model_copy(update={"context_length": length})}
        )
        if size := _micro_batch_within(shorter, budget, True):
            return (
                f"{checkpointing} --set pretrain.micro_batch={size}"
                f" --set model.context_length={length}"
            )
        length //= 2
    return "a smaller model (model.n_layers, model.emb_dim), or --set engine.device=cpu"


def _micro_batch_within(profile: "Profile", budget: int, checkpointing: bool) -> int:
    """The largest micro-batch that fits and divides the batch; 0: not even one does."""
    from gptcore.memory import largest_micro_batch

    most = largest_micro_batch(
        profile.model,
        budget,
        precision=profile.engine.precision,
        gradient_checkpointing=checkpointing,
    )
    share = profile.pretrain.batch_size // profile.engine.processes
    most = min(most, share)
    return next((size for size in range(most, 0, -1) if share % size == 0), 0)
