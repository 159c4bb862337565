"""What the stages of a run will need of a device's memory."""

from pathlib import Path

from gptcore.finetune_memory import estimate_finetuning, shape_of_folder, shape_of_settings
from gptcore.memory import Estimate, estimate_pretraining
from gptcore.profile import Profile


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
    if "finetune" in performed:
        shape = None
        if parent is not None and performed[0] == "finetune":
            shape = shape_of_folder(parent)
        elif "pretrain" in profile.pipeline.stages:
            shape = shape_of_settings(profile.model)
        if shape is not None:
            found["finetune"] = estimate_finetuning(
                shape,
                profile.finetune,
                precision=profile.engine.precision,
                on_gpu=profile.engine.device != "cpu",
                micro_batch=micro_batch,
            )
    return found


def largest(estimates: dict[str, Estimate]) -> tuple[str, Estimate] | None:
    """The stage that needs the most, and what it needs; None where no stage trains."""
    if not estimates:
        return None
    return max(estimates.items(), key=lambda item: item[1].total)
