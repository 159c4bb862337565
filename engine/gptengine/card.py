"""The model card: ``README.md`` of a model folder, from what is on record in it."""

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gptcore.evaluation import (
    MEASURES,
    TOOL_SCORES,
    Evaluation,
    change_words,
    measure_words,
    read_evaluation,
)
from gptcore.lineage import Lineage, read_lineage
from gptcore.text import clean
from gptcore.workspace import write_atomic


def write_card(folder: Path, name: str) -> None:
    """Write the card of the model in `folder`, in Markdown with the hub's header.

    Args:
        folder: With config.json and gptstudio.json, and evaluation.json where it was evaluated.
        name: What the folder is called, or will be.

    Raises:
        FileNotFoundError: There is no lineage.
    """
    lineage = read_lineage(folder)
    if lineage is None:
        raise FileNotFoundError(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    parts = [_head(name, lineage, config), _origin(lineage), _scores(lineage)]
    if (evaluation := read_evaluation(folder)) is not None:
        parts.append(_evaluation(evaluation))
        if len(evaluation.comparison) > 1:
            parts.append(_comparison(evaluation))
    parts += [_settings(lineage), _LIMITS]
    write_atomic(folder / "README.md", "\n".join(parts), mode=0o644)


def _head(name: str, lineage: Lineage, config: Mapping[str, Any]) -> str:
    made = time.strftime("%Y-%m-%d", time.localtime(lineage.made))
    sizes = {
        "layers": ("n_layer", "num_hidden_layers"),
        "width": ("n_embd", "hidden_size"),
        "heads": ("n_head", "num_attention_heads"),
        "context": ("n_positions", "max_position_embeddings"),
        "vocabulary": ("vocab_size",),
    }
    shape = ", ".join(
        f"{what} {value:,}"
        for what, keys in sizes.items()
        if isinstance(value := next((config[key] for key in keys if key in config), None), int)
    )
    how = _HOW.get(lineage.stage, "made").format(parent=lineage.parents.get("model"))
    judges = lineage.stage == "reward"
    model_class = f"AutoModelFor{'SequenceClassification' if judges else 'CausalLM'}"
    return f"""---
library_name: transformers
pipeline_tag: {"text-classification" if judges else "text-generation"}
tags: [{config.get("model_type")}, gptstudio]
---

# {name}

A {config.get("model_type")} model of {lineage.training["parameters"]:,} parameters ({shape}),
{how}, on {made}, with gptstudio.

```python
from transformers import {model_class}, AutoTokenizer

model = {model_class}.from_pretrained("{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")
```
"""


def _origin(lineage: Lineage) -> str:
    training = lineage.training
    if lineage.stage == "pretrain":
        amount = (
            f"{training['train_tokens']:,} tokens to train on, {training['held_out_tokens']:,} held"
            f" out (by {training['held_out_by']})."
        )
    else:
        nouns = (noun for noun in ("conversations", "pairs", "prompts") if noun in training)
        noun = next(nouns)
        amount = (
            f"{training[noun]:,} {noun} to train on, {training[f'held_out_{noun}']:,} held out,"
            f" {training['rows_left_out']:,} rows left out; by {training['backend']},"
            f" {training['trained_parameters']:,} parameters trained."
            f" {_LOSS.get(lineage.stage, '')}"
        )
        if training["backend"] != "transformers":
            amount += " The adapter is in `adapter/`, merged into the weights here."
    rows = ((item.file, f"{item.bytes:,}", item.sha256[:16]) for item in lineage.data)
    return f"""## Where it came from

Run `{lineage.run}`, pipeline `{lineage.pipeline}`, tokenizer `{lineage.parents.get("tokenizer")}`:
{training["tokens"]:,} tokens seen in {training["seconds"]:,} s of training steps on
{training["device"]}; ended by {training["ended_by"]}. {amount}

{_table(("file", "bytes", "SHA-256"), rows)}
"""


def _scores(lineage: Lineage) -> str:
    rows = ((key, f"{value:.4f}") for key, value in lineage.scores.items() if value is not None)
    about = _SCORES.get(lineage.stage, _CROSS_ENTROPY)
    return f"""## Scores

{about} The validation loss is on held-out data.

{_table(("score", "value"), rows)}
"""


def _evaluation(evaluation: Evaluation) -> str:
    rows = [
        (name, f"{value:.4f}", f"{evaluation.tokens:,} tokens")
        for name, value in (
            ("loss", evaluation.loss),
            ("perplexity", evaluation.perplexity),
            ("bits per byte", evaluation.bits_per_byte),
        )
        if value is not None
    ]
    for name, share in evaluation.tools.items():
        if share.value is not None:
            rows.append(
                (TOOL_SCORES.get(name, name), f"{share.value:.1%}", f"{share.right}/{share.total}")
            )
    files = ", ".join(item.file for item in evaluation.data)
    return f"""## Evaluation

On {evaluation.conversations:,} held-out conversations ({files}), answered at the likeliest token.

{_table(("measure", "value", "of"), rows)}
"""


def _comparison(evaluation: Evaluation) -> str:
    stages = evaluation.comparison
    last = stages[-1]
    rows = [
        (
            TOOL_SCORES.get(measure, measure),
            *(measure_words(measure, stage.value(measure)) for stage in stages),
            change_words(measure, last.changes[measure]) if measure in last.changes else "-",
        )
        for measure in MEASURES
        if any(stage.value(measure) is not None for stage in stages)
    ]
    models = ", ".join(f"{clean(stage.stage)} is `{clean(stage.model)}`" for stage in stages)
    head = ("measure", *(clean(stage.stage) for stage in stages), "change [95 % interval]")
    return f"""## Stage by stage

The same prompts were put to each model on the way: {models}.

The change is that of the last stage against the one before, shares in points of 100, with the
interval of a paired bootstrap over the prompts; a star where that leaves out 0.

{_table(head, rows)}
"""


def _settings(lineage: Lineage) -> str:
    rows = ((key, str(value)) for key, value in lineage.settings.items())
    return f"""## Settings

{_table(("setting", "value"), rows)}
"""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


#: By stage: how the model came to be.
_HOW = {
    "pretrain": "trained from nothing but the text below",
    "finetune": "fine-tuned from `{parent}` on the conversations below",
    "ppo": "trained from `{parent}` by rewards for its own answers to the prompts below (PPO)",
    "rgpo": "trained from `{parent}` by rewards for its own answers to the prompts below (RGPO)",
    "orpo": "tuned from `{parent}` to prefer the better answers of the pairs below",
    "reward": "which judges and does not write: learned from `{parent}` on the pairs below",
}
#: By stage: what is minimised.
_LOSS = {
    "finetune": "Loss on the assistant's words only.",
    "orpo": "Loss: that of the chosen answers, and the odds ratio's (ORPO, Hong et al. 2024).",
    "reward": "Of a pair the chosen side is to get the higher reward (Bradley and Terry 1952).",
}
_CROSS_ENTROPY = "Cross entropy in nats a token."
_REWARD = (
    "The loss is the policy's, and says little; rewards are weighted means of those in the"
    " settings, on answers at the likeliest token."
)
#: By stage: what its scores mean.
_SCORES = {
    "ppo": _REWARD,
    "rgpo": _REWARD,
    "orpo": "The losses are those of ORPO; held-out accuracy is the share of held-out pairs whose"
    " chosen answer is the likelier one, before and after; the margin is the log odds ratio.",
    "reward": "Held-out accuracy is the share of held-out pairs whose chosen side has the higher"
    " reward; the calibration error and the Brier score say how far the sigmoid of the margin can"
    " be taken for a probability (0: wholly).",
}

_LIMITS = """## Limits

It repeats what its data is like, its faults included, and knows little else. Text that spells a
control token such as `<|end|>` is plain text to gptstudio, but becomes the token itself in programs
that encode with special tokens switched on, as `transformers` does by default.
"""
