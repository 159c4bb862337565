"""The model card: ``README.md`` of a model folder, from what is on record in it."""

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gptcore.evaluation import TOOL_SCORES, Evaluation, read_evaluation
from gptcore.lineage import Lineage, read_lineage
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
    how = {
        "pretrain": "trained from nothing but the text below",
        "finetune": f"fine-tuned from `{lineage.parents.get('model')}` on the conversations below",
    }
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [{config.get("model_type")}, gptstudio]
---

# {name}

A {config.get("model_type")} model of {lineage.training["parameters"]:,} parameters ({shape}),
{how.get(lineage.stage, "made")}, on {made}, with gptstudio.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{name}")
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
        amount = (
            f"{training['conversations']:,} conversations to train on,"
            f" {training['held_out_conversations']:,} held out, {training['rows_left_out']:,} rows"
            f" left out; by {training['backend']},"
            f" {training['trained_parameters']:,} parameters trained. Loss on the assistant's words"
            " only."
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
    return f"""## Scores

Cross entropy in nats a token; the validation loss is on held-out data.

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


def _settings(lineage: Lineage) -> str:
    rows = ((key, str(value)) for key, value in lineage.settings.items())
    return f"""## Settings

{_table(("setting", "value"), rows)}
"""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_LIMITS = """## Limits

It repeats what its data is like, its faults included, and knows little else. Text that spells a
control token such as `<|end|>` is plain text to gptstudio, but becomes the token itself in programs
that encode with special tokens switched on, as `transformers` does by default.
"""
