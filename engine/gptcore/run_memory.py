"""What the stages of a run will need of a device's memory."""

from collections.abc import Iterable
from pathlib import Path

from gptcore.finetune_memory import shape_of_folder, shape_of_settings
from gptcore.inputs import takes_reward_model
from gptcore.memory import Estimate, estimate_pretraining
from gptcore.profile import Profile
from gptcore.rl_memory import estimate_tuning
from gptcore.rl_settings import RolloutSettings
from gptcore.settings import TuningSettings
from gptcore.stages import STAGES


def estimate_stages(
    profile: Profile, parent: Path | None = None, micro_batch: int = 0
) -> dict[str, Estimate]:
    """The estimate of each stage that trains, as far as its model's shape is known.

    Args:
        profile: The settings.
        parent: Folder of the model that the first stage starts from, where one was named.
        micro_batch: In place of the profile's, after memory ran out; 0: the profile's.
    """
    performed = profile.pipeline.performed
    found: dict[str, Estimate] = {}
    if "pretrain" in performed:
        found["pretrain"] = estimate_pretraining(profile, micro_batch)
    shape = None
    if parent is not None and "pretrain" not in performed:
        shape = shape_of_folder(parent)
    elif "pretrain" in profile.pipeline.stages:
        shape = shape_of_settings(profile.model)
    if shape is None:
        return found
    for name, settings in tunings(profile, performed).items():
        found[name] = estimate_tuning(
            shape,
            settings,
            precision=profile.engine.precision,
            on_gpu=profile.engine.device != "cpu",
            micro_batch=micro_batch,
            learned_reward=_has_learned_reward(profile, name),
        )
    return found


def tunings(profile: Profile, stages: Iterable[str]) -> dict[str, TuningSettings]:
    """The settings of those of `stages` that train a model further, by stage."""
    tables = {name: getattr(profile, name, None) for name in stages}
    return {name: table for name, table in tables.items() if isinstance(table, TuningSettings)}


def largest(estimates: dict[str, Estimate]) -> tuple[str, Estimate] | None:
    """The stage that needs the most, and what it needs; None where no stage trains."""
    if not estimates:
        return None
    return max(estimates.items(), key=lambda item: item[1].total)


def _has_learned_reward(profile: Profile, name: str) -> bool:
    settings = getattr(profile, name)
    if not isinstance(settings, RolloutSettings) or settings.reward_model == "none":
        return False
    return settings.reward_model != "auto" or takes_reward_model(profile, STAGES[name])
