"""The estimate of learning from rewards and preferences: what it adds to that of fine-tuning."""

import json
from pathlib import Path
from typing import Any

import pytest

from gptcore.finetune_memory import estimate_finetuning, num_trained, shape_of_settings
from gptcore.profile import Profile, check_profile
from gptcore.rl_memory import USUAL_PROMPT, estimate_tuning
from gptcore.rl_settings import OrpoSettings, PpoSettings, RewardModelSettings, RgpoSettings
from gptcore.run_memory import estimate_stages, tunings
from gptcore.settings import FinetuneSettings, ModelSettings, TuningSettings

SHAPE = shape_of_settings(
    ModelSettings(vocab_size=5000, context_length=2048, emb_dim=128, n_heads=4, n_layers=4)
)
P, V = SHAPE.parameters, SHAPE.vocab_size
#: All weights are trained, so that nothing is shared.
FULL: dict[str, Any] = {"method": "full", "batch_size": 64, "micro_batch": 8, "max_tokens": 64}
PAIRS: dict[str, Any] = {"method": "full", "micro_batch": 4, "context_length": 256}


def estimate(settings: TuningSettings, **more: Any) -> dict[str, int]:
    found = estimate_tuning(SHAPE, settings, precision="fp32", on_gpu=False, **more)
    return {**found.parts(), "total": found.total}


def test_fine_tuning_is_as_it_was() -> None:
    settings = FinetuneSettings(micro_batch=4)
    same = estimate_finetuning(SHAPE, settings, precision="fp32", on_gpu=False)
    assert estimate(settings) == {**same.parts(), "total": same.total}


@pytest.mark.parametrize("make", [OrpoSettings, RewardModelSettings])
def test_a_pair_is_two_sequences(make: type[TuningSettings]) -> None:
    eight = FinetuneSettings(**PAIRS | {"micro_batch": 8})
    base = estimate_finetuning(SHAPE, eight, precision="fp32", on_gpu=False)
    assert estimate(make(**PAIRS))["activations"] == base.activations
    assert estimate(make(**PAIRS))["weights"] == 4 * P


def test_orpo_holds_the_logits_of_its_answers() -> None:
    assert estimate(OrpoSettings(**PAIRS))["temporaries"] == 2 * 4 * 256 * 16 * V


def test_ppo_has_a_reference_and_a_value_model() -> None:
    found = estimate(PpoSettings(**FULL))
    assert found["weights"] == 4 * P * 4  # the model, its mirror, the reference, the value model
    assert found["gradients"] == 2 * 4 * P
    assert found["optimizer"] == 2 * 8 * P
    assert found["temporaries"] == 8 * (USUAL_PROMPT + 64) * 16 * V


def test_adapters_share_what_is_frozen() -> None:
    adapters = FULL | {"method": "lora", "rank": 4, "train_embedding": "off"}
    trained = num_trained(SHAPE, PpoSettings(**adapters))
    assert trained < P // 10
    assert estimate(PpoSettings(**adapters))["weights"] == 4 * (2 * P + 3 * trained)
    assert estimate(RgpoSettings(**adapters))["weights"] == 4 * (2 * P + trained)
    whole = estimate(RgpoSettings(**adapters | {"train_embedding": "on"}))["weights"]
    assert whole > 4 * 3 * P  # a copy of the model as it was


def test_turns_and_answers_take_room() -> None:
    one = estimate(RgpoSettings(**FULL, max_turns=1))
    three = estimate(RgpoSettings(**FULL, max_turns=3))
    assert three["temporaries"] == 3 * one["temporaries"]
    longer = estimate(RgpoSettings(**FULL | {"max_tokens": 512}))
    assert longer["total"] > three["total"]


def test_drawing_counts_where_it_takes_more_than_learning() -> None:
    many = FULL | {"batch_size": 8192, "micro_batch": 1}
    found = estimate(RgpoSettings(**many, max_turns=1))
    length = USUAL_PROMPT + 64
    drawn = 8192 * (2 * 4 * SHAPE.layers * SHAPE.width * length + 4 * V)
    assert found["activations"] + found["temporaries"] == drawn


def test_a_learned_reward_is_another_model() -> None:
    settings = RgpoSettings(**FULL)
    with_one = estimate(settings, learned_reward=True)
    assert with_one["weights"] - estimate(settings)["weights"] == 4 * P


def test_half_the_micro_batch_takes_less() -> None:
    for settings in (PpoSettings(**FULL), RgpoSettings(**FULL), OrpoSettings(**PAIRS)):
        half = estimate(settings, micro_batch=settings.micro_batch // 2)
        assert half["total"] < estimate(settings)["total"]


def profile_of(*stages: str, **tables: object) -> Profile:
    return check_profile({"pipeline": {"stages": stages}, **tables}, where="test")


def test_each_stage_that_trains_has_an_estimate() -> None:
    stages = ("tokenizer", "pretrain", "finetune", "reward", "ppo", "orpo", "rgpo", "eval")
    profile = profile_of(*stages)
    assert list(estimate_stages(profile)) == list(stages[1:-1])
    assert list(tunings(profile, ("pretrain", "ppo", "eval"))) == ["ppo"]
    # The reward model of the pipeline judges the answers, unless the settings say it does not.
    alone = profile_of(*stages, rgpo={"reward_model": "none"})
    with_it, without = estimate_stages(profile)["rgpo"], estimate_stages(alone)["rgpo"]
    assert with_it.weights > without.weights
    assert estimate_stages(profile_of("tokenizer", "pretrain", "rgpo"))["rgpo"] == without


def test_stages_after_a_named_model_take_its_shape(tmp_path: Path) -> None:
    profile = profile_of("finetune", "rgpo")
    assert estimate_stages(profile) == {}
    config = {"model_type": "gpt2", "n_embd": 128, "n_layer": 4, "n_positions": 512}
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": 300}))
    (tmp_path / "model.safetensors").write_bytes(bytes(4000))
    assert list(estimate_stages(profile, tmp_path)) == ["finetune", "rgpo"]
