"""The stages that train a model further, in words."""

from gptcore.rl_settings import PairSettings, PpoSettings, RgpoSettings, RolloutSettings
from gptcore.settings import TuningSettings

#: What a stage does, in the middle of a sentence.
NOUNS = {
    "pretrain": "pretraining",
    "finetune": "fine-tuning",
    "reward": "the reward model",
    "ppo": "PPO",
    "orpo": "ORPO",
    "rgpo": "RGPO",
}


def describe_tuning(settings: TuningSettings) -> str:
    """What a stage would do: how long, on what, and what of the model it trains."""
    rounds = isinstance(settings, RolloutSettings)
    much = _several(settings.epochs, "epoch")
    if settings.max_steps:
        much = _several(settings.max_steps, "round" if rounds else "step")
    how = "all weights" if settings.method == "full" else f"{settings.method} r {settings.rank}"
    return f"{much} of {_of_a_step(settings)}, {how}"


def _of_a_step(settings: TuningSettings) -> str:
    size = settings.batch_size
    if isinstance(settings, RgpoSettings):
        prompts = _several(size // settings.group_size, "prompt")
        return f"{size} answers, {settings.group_size} to each of {prompts}{_passes(settings)}"
    if isinstance(settings, RolloutSettings):
        return f"{size} answers, a prompt each{_passes(settings)}"
    return f"{size} {'pairs' if isinstance(settings, PairSettings) else 'conversations'} each step"


def _passes(settings: RolloutSettings) -> str:
    passes = f", {_several(settings.inner_epochs, 'pass', 'passes')} over them"
    return passes + (", with a value model" if isinstance(settings, PpoSettings) else "")


def lighter(settings: TuningSettings) -> str:
    """Which settings to change so that a stage takes less memory, the mildest first."""
    table = settings.table
    longest = "max_tokens" if isinstance(settings, RolloutSettings) else "context_length"
    fixes = [f"a smaller {table}.micro_batch or {table}.{longest}"]
    if not settings.gradient_checkpointing:
        fixes.insert(0, f"--set {table}.gradient_checkpointing=true")
    if instead := {"full": "lora", "lora": "qlora"}.get(settings.method):
        fixes.append(f"--set {table}.method={instead}")
    return ", or ".join(fixes)


def _several(number: int, noun: str, nouns: str = "") -> str:
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
