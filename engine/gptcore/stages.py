"""The stages of the pipeline: their order, what each depends on, and its fingerprint.

A fingerprint is a hash over the content of a stage's inputs and over those settings that change
its result. A stage whose fingerprint some tokenizer or model already carries need not run again.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from gptcore.profile import Profile

StageName = Literal["tokenizer", "pretrain"]

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
        ignored: Keys within those that do not.
        parallel: Whether `engine.processes` of them work together, under torchrun.
    """

    name: StageName
    title: str
    makes: Literal["tokenizers", "models"]
    settings: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    parallel: bool = False


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="tokenizer",
            title="BPE tokenizer",
            makes="tokenizers",
            settings=("model.vocab_size", "tokenizer", "data.pretrain.separator"),
        ),
        Stage(
            name="pretrain",
            title="GPT-2 pretraining",
            makes="models",
            parallel=True,
            settings=("model", "pretrain", "data.pretrain", "engine.precision", "engine.processes"),
            ignored=(
                "model.vocab_size",  # the tokenizer, itself an input, decides
                "pretrain.micro_batch",
                "pretrain.log_interval",
                "pretrain.checkpoint_interval",
                "pretrain.keep_checkpoints",
                "pretrain.sample_interval",
                "pretrain.sample_prompt",
                "pretrain.sample_tokens",
                "data.pretrain.include",  # the files that came of them are inputs
                "data.pretrain.exclude",
            ),
        ),
    )
}

STAGE_NAMES: tuple[StageName, ...] = get_args(StageName)


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
