"""How much memory a fine-tuning will need, by arithmetic, like `gptcore.memory` for pretraining.

The model runs in transformers' own modules, which keep more for the backward pass than ours. What
autograd kept of a token in a block of width D, adapters of rank 16 on all linear layers, measured
with `torch.autograd.graph.saved_tensors_hooks` on a CPU (copies of the weights in half precision
not counted):

| architecture                  | fp32  | bf16 |
|-------------------------------|-------|------|
| GPT-2                         | 113 D | 60 D |
| Llama (MLP of width 2.7 D)    |  77 D | 50 D |
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptcore.memory import CUDA_OVERHEAD, Estimate, num_parameters
from gptcore.settings import FinetuneSettings, ModelSettings, TuningSettings

#: Bytes a token and unit of width that a block keeps: fp32, half precision.
_BLOCK = {"gpt2": (113, 60)}
_OTHER_BLOCK = (77, 50)

#: Bytes of a weight held in 4 bits, its share of the scales included (Dettmers et al. 2023).
_FOUR_BIT = 0.53

#: Tokens of a long conversation, where nothing says how long they may be.
USUAL_LENGTH = 2048

#: Rows of logits that TRL computes at a time, and how many copies of them it holds.
_LOGITS_ROWS, _LOGITS_COPIES = 256, 3


@dataclass(frozen=True, slots=True)
class Shape:
    """What matters of a causal LM.

    Args:
        kind: As `model_type` in its config.json.
        parameters: All of them.
        stored_bytes: A parameter takes, as it is stored.
        width: Of the residual stream.
        layers: Blocks.
        vocab_size: Rows of the embedding.
        context: Tokens that it can see.
        is_tied: Whether embedding and head are one.
    """

    kind: str
    parameters: int
    stored_bytes: int
    width: int
    layers: int
    vocab_size: int
    context: int
    is_tied: bool = True


def shape_of_settings(model: ModelSettings) -> Shape:
    """The shape of a model that is made here."""
    return Shape(
        "gpt2",
        num_parameters(model),
        4,
        model.emb_dim,
        model.n_layers,
        model.vocab_size,
        model.context_length,
    )


def shape_of_folder(folder: Path) -> Shape | None:
    """The shape of the model in a local Hugging Face folder; None where it cannot be told."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
        size = _weights_bytes(folder)
        stored = 4 if config.get("dtype", config.get("torch_dtype")) in (None, "float32") else 2

        def first(*names: str) -> int:
            return int(next(config[name] for name in names if config.get(name)))

        return Shape(
            str(config["model_type"]),
            size // stored,
            stored,
            first("n_embd", "hidden_size"),
            first("n_layer", "num_hidden_layers"),
            first("vocab_size"),
            first("n_positions", "max_position_embeddings"),
            bool(config.get("tie_word_embeddings", config["model_type"] == "gpt2")),
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None


def _weights_bytes(folder: Path) -> int:
    """Bytes of the weights, in one file or in shards that an index names."""
    whole = folder / "model.safetensors"
    if whole.is_file():
        return whole.stat().st_size
    index = json.loads((folder / "model.safetensors.index.json").read_bytes())
    return int(index["metadata"]["total_size"])


def estimate_finetuning(
    shape: Shape,
    settings: TuningSettings,
    *,
    precision: str,
    on_gpu: bool,
    micro_batch: int = 0,
) -> Estimate:
    """Peak memory of one training step on one device.

    Args:
        shape: Of the model.
        settings: Of the training.
        precision: `fp32`, `bf16`, `fp16`, or `auto`: half precision on a GPU alone.
        on_gpu: Whether the device is one.
        micro_batch: In place of the settings', after memory ran out; 0: theirs.
    """
    half = is_half(precision, on_gpu)
    tokens = (micro_batch or settings.micro_batch) * usual_length(shape, settings)
    trained = num_trained(shape, settings)
    held = 4.0 * shape.parameters
    if settings.method != "full":
        stored = shape.stored_bytes if half else 4
        held = shape.parameters * (_FOUR_BIT if settings.method == "qlora" else stored)
        held += 4 * trained
    per_block = _BLOCK.get(shape.kind, _OTHER_BLOCK)[half] * shape.width * tokens
    ends = tokens * shape.width * (4 + 4)
    kept = shape.layers * per_block + ends
    again = 0
    if settings.gradient_checkpointing:
        kept, again = shape.layers * tokens * shape.width * (2 if half else 4) + ends, per_block
    logits = _LOGITS_ROWS * shape.vocab_size * 4 * _LOGITS_COPIES
    largest = 2 * 4 * shape.width**2 if half else 0  # a weight's copy in half precision
    return Estimate(
        weights=round(held),
        gradients=4 * trained,
        optimizer=8 * trained,
        activations=kept,
        temporaries=max(logits, again) + largest,
        overhead=CUDA_OVERHEAD if on_gpu else 0,
    )


def is_half(precision: str, on_gpu: bool) -> bool:
    """Whether products are computed in half precision."""
    return precision in ("bf16", "fp16") or (precision == "auto" and on_gpu)


def usual_length(shape: Shape, settings: TuningSettings) -> int:
    """Tokens of a long sequence."""
    packs = isinstance(settings, FinetuneSettings) and settings.packing
    usual = shape.context if packs else min(shape.context, USUAL_LENGTH)
    return min(settings.context_length or usual, shape.context)


def num_trained(shape: Shape, settings: TuningSettings) -> int:
    """Parameters that are trained; the embedding among them unless that is off."""
    if settings.method == "full":
        return shape.parameters
    # Rank times input and output of each linear layer: 16 widths a block in GPT-2, and about as
    # many in others.
    adapters = 16 * shape.layers * shape.width * settings.rank
    return adapters + (num_embedding(shape) if trains_embedding(settings) else 0)


def num_embedding(shape: Shape) -> int:
    """Parameters of embedding and head."""
    return shape.vocab_size * shape.width * (1 if shape.is_tied else 2)


def trains_embedding(settings: TuningSettings) -> bool:
    """Whether the embedding may be trained along with the adapters: `auto` may."""
    return settings.train_embedding != "off"
