"""The model card: ``README.md`` of a model folder, from its lineage."""

import time

from gptcore.lineage import Lineage
from gptengine.model import GPTConfig


def model_card(name: str, lineage: Lineage, config: GPTConfig) -> str:
    """The card of a pretrained model, in Markdown with the hub's header."""
    training = lineage.training
    made = time.strftime("%Y-%m-%d", time.localtime(lineage.made))
    data = "\n".join(
        f"| {item.file} | {item.bytes:,} | {item.sha256[:16]} |" for item in lineage.data
    )
    scores = "\n".join(
        f"| {key} | {value:.4f} |" for key, value in lineage.scores.items() if value is not None
    )
    settings = "\n".join(f"| {key} | {value} |" for key, value in lineage.settings.items())
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [gpt2, gptstudio]
---

# {name}

A GPT-2 of {training["parameters"]:,} parameters ({config.n_layers} layers, width {config.emb_dim},
{config.n_heads} heads, context {config.context_length}, vocabulary {config.vocab_size:,}), trained
from nothing but the text below, on {made}, with gptstudio.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{name}")
tokenizer = AutoTokenizer.from_pretrained("{name}")
```

## Where it came from

Run `{lineage.run}`, pipeline `{lineage.pipeline}`, tokenizer `{lineage.parents.get("tokenizer")}`:
{training["tokens"]:,} tokens seen in {training["seconds"]:,} s of training steps on
{training["device"]}; ended by {training["ended_by"]}. {training["train_tokens"]:,} tokens to train
on, {training["held_out_tokens"]:,} held out (by {training["held_out_by"]}).

| file | bytes | SHA-256 |
|---|---|---|
{data}

## Scores

Cross entropy in nats a token; the validation loss is on held-out text.

| score | value |
|---|---|
{scores}

## Settings

| setting | value |
|---|---|
{settings}

## Limits

It repeats what its text is like, its faults included, and knows nothing else. Text that spells a
control token such as `<|end|>` is plain text to gptstudio, but becomes the token itself in programs
that encode with special tokens switched on, as `transformers` does by default.
"""
