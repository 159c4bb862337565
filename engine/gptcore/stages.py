"""The stages of the pipeline: their order, what each depends on, and its fingerprint.

A fingerprint is a hash over the content of a stage's inputs and over those settings that change
its result. A stage whose fingerprint some tokenizer or model already carries need not run again.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from gptcore.profile import Profile

StageName = Literal["tokenizer", "pretrain", "finetune", "reward", "ppo", "orpo", "rgpo", "eval"]
#: A mix of the profile: a table under `data`.
Mix = Literal["pretrain", "finetune", "reward", "ppo", "orpo", "rgpo", "eval"]
ParentKind = Literal["tokenizer", "model", "reward"]

#: Raised when the meaning of a stage changes, so that older results count as stale.
FINGERPRINT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Stage:
    """What is known of a stage without running it.

    Args:
        name: As in the profile and on the command line.
        title: For people.
        makes: The workspace folder its result goes to.
        settings: Dotted keys, or whole tables, that change the result.
        data: The mixes (tables under `data`) that it learns from; other stages of the pipeline
            may add theirs.
        parents: What it starts from, by kind.
        ignored: Keys within `settings` that do not change the result.
        parallel: Whether `engine.processes` of them work together, under torchrun.
        report: The file that it adds to its parent, instead of making a folder of its own.
        aside: Whether later stages start from what came before it, not from what it makes.
    """

    name: StageName
    title: str
    makes: Literal["tokenizers", "models"]
    settings: tuple[str, ...]
    data: tuple[Mix, ...]
    parents: tuple[ParentKind, ...] = ()
    ignored: tuple[str, ...] = ()
    parallel: bool = False
    report: str = ""
    aside: bool = False


def _without_effect(table: str) -> tuple[str, ...]:
    """The settings of a training loop that do not change what it makes."""
    names = (
        "micro_batch",
        "log_interval",
        "checkpoint_interval",
        "keep_checkpoints",
        "sample_interval",
        "sample_prompt",
        "sample_tokens",
    )
    mix = (f"data.{table}.include", f"data.{table}.exclude")  # the files that came of them count
    return (*(f"{table}.{name}" for name in names), *mix)


def _tuning(
    name: Literal["finetune", "reward", "ppo", "orpo", "rgpo"],
    title: str,
    *,
    aside: bool = False,
    rolls_out: bool = False,
) -> Stage:
    """A stage that trains a model further, on rows."""
    ignored = (f"data.{name}.max_bad", *_without_effect(name))
    ignored += (f"{name}.reward_timeout_s",) if rolls_out else ()
    return Stage(
        name=name,
        title=title,
        makes="models",
        settings=(name, f"data.{name}", "engine.precision"),
        data=(name,),
        parents=("tokenizer", "model"),
        ignored=ignored,
        aside=aside,
    )


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="tokenizer",
            title="BPE tokenizer",
            makes="tokenizers",
            settings=("model.vocab_size", "tokenizer", "data.pretrain.separator"),
            data=("pretrain",),
        ),
        Stage(
            name="pretrain",
            title="GPT-2 pretraining",
            makes="models",
            parallel=True,
            settings=("model", "pretrain", "data.pretrain", "engine.precision", "engine.processes"),
            data=("pretrain",),
            parents=("tokenizer",),
            # The tokenizer, itself an input, decides about the vocabulary.
            ignored=("model.vocab_size", *_without_effect("pretrain")),
        ),
        _tuning("finetune", "Fine-tuning"),
        _tuning("reward", "Reward model", aside=True),
        _tuning("ppo", "PPO", rolls_out=True),
        _tuning("orpo", "ORPO"),
        _tuning("rgpo", "RGPO", rolls_out=True),
        Stage(
            name="eval",
            title="Evaluation",
            makes="models",
            settings=("eval", "engine.precision"),
            data=("eval",),
            parents=("tokenizer", "model"),
            ignored=("eval.batch_size",),
            report="evaluation.json",
        ),
    )
}

STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)


def mixes_of(stage: Stage, pipeline: Iterable[str]) -> tuple[Mix, ...]:
    """The mixes that `stage` reads: the tokenizer learns from all that the pipeline trains on."""
    if stage.name != "tokenizer":
        return stage.data
    trained = (mix for name in pipeline if not STAGES[name].report for mix in STAGES[name].data)
    return tuple(dict.fromkeys((*stage.data, *trained)))


def settings_that_matter(stage: Stage, profile: "Profile") -> dict[str, Any]:
    """Dotted key to value of the settings that change what `stage` makes."""
    from gptcore.profile import flatten

    flat = flatten(profile.model_dump(mode="json"))
    return {
        key: value
        for key, value in flat.items()
        if any(key == name or key.startswith(name + ".") for name in stage.settings)
        and key not in stage.ignored
    }


def fingerprint(stage: Stage, profile: "Profile", inputs: Mapping[str, Any]) -> str:
    """The hash of all that `stage`'s result depends on.

    Args:
        stage: The stage.
        profile: The settings.
        inputs: What it reads, as content hashes by name; JSON types.
    """
    content = {
        "version": FINGERPRINT_VERSION,
        "stage": stage.name,
        "settings": settings_that_matter(stage, profile),
        "inputs": inputs,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
