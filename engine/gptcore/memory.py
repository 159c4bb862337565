"""How much memory a training run will need, by arithmetic: no torch, no device.

Counts what PyTorch keeps for one training step of `gptengine.model.GPT` under AdamW, with float32
master weights and autocast. Activations follow Korthikanti et al. 2022, "Reducing Activation
Recomputation in Large Transformer Models", with the attention matrix left out (flash attention
keeps none) and the logits computed in slices (the fused loss keeps none).
"""

from dataclasses import dataclass, fields

from gptcore.profile import ModelSettings

#: CUDA context, cuBLAS workspaces and the allocator's rounding, in bytes.
CUDA_OVERHEAD = 700 * 2**20
#: Float32 logits that the fused loss holds at a time, in bytes.
LOGITS_SLICE = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes on one device, by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    overhead: int

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return sum(getattr(self, field.name) for field in fields(self))

    def parts(self) -> dict[str, int]:
        """Name to bytes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def num_parameters(model: ModelSettings, vocab_size: int | None = None) -> int:
    """Parameters of the GPT, the tied embedding counted once."""
    width = model.emb_dim
    block = 12 * width**2 + 10 * width + (3 * width if model.qkv_bias else 0)
    embeddings = ((vocab_size or model.vocab_size) + model.context_length) * width
    return embeddings + model.n_layers * block + 2 * width


def estimate_training(
    model: ModelSettings,
    *,
    micro_batch: int,
    precision: str = "bf16",
    gradient_checkpointing: bool = False,
    vocab_size: int | None = None,
    on_gpu: bool = True,
) -> Estimate:
    """Peak memory of one training step on one device.

    Args:
        model: The shape.
        micro_batch: Sequences of `model.context_length` tokens computed at once.
        precision: `fp32`, `bf16` or `fp16`.
        gradient_checkpointing: Whether each block's activations are computed again in backward.
        vocab_size: Of the trained tokenizer, where known.
        on_gpu: Whether to count the CUDA context.
    """
    vocab = vocab_size or model.vocab_size
    parameters = num_parameters(model, vocab)
    half = precision != "fp32"
    bytes_each = 2 if half else 4
    tokens = micro_batch * model.context_length
    width = model.emb_dim
    # A token, a block: two normed inputs, kept in float32 and once more as the matmul saw them;
    # query, key, value; attention's output; the hidden layer before and after its GELU.
    block = tokens * width * (2 * 4 + bytes_each * (1 + 3 + 1 + 1 + 4 + 4))
    dropout = tokens * width * 2 if model.drop_rate else 0
    if gradient_checkpointing:
        activations = tokens * width * 4 * model.n_layers + block + dropout
    else:
        activations = (block + dropout) * model.n_layers
    rows = min(tokens, max(1, LOGITS_SLICE // (4 * vocab)))
    logits = rows * vocab * (4 + bytes_each) + 4 * vocab * width + 2 * tokens * width * 4
    return Estimate(
        weights=4 * parameters + (2 * parameters if half else 0),  # autocast keeps a copy
        gradients=4 * parameters,
        optimizer=8 * parameters,
        activations=activations,
        logits=logits,
        overhead=CUDA_OVERHEAD if on_gpu else 0,
    )


def largest_micro_batch(
    model: ModelSettings,
    budget: int,
    *,
    precision: str = "bf16",
    gradient_checkpointing: bool = False,
) -> int:
    """The most sequences at once that fit `budget` bytes; 0 where not even one does."""

    def need(micro_batch: int) -> int:
        return estimate_training(
            model,
            micro_batch=micro_batch,
            precision=precision,
            gradient_checkpointing=gradient_checkpointing,
        ).total

    if need(1) > budget:
        return 0
    size = 1
    while need(size * 2) <= budget:
        size *= 2
    return size
