"""How much memory a training run will need, by arithmetic: no torch, no device.

Counts what PyTorch keeps for one training step of `gptengine.model.GPT` under AdamW, with float32
master weights and autocast, run eagerly. torch.compile keeps somewhat less, as it makes cheap
activations again. Several processes (DDP) need another 4 bytes a parameter, not counted here.

What autograd keeps, in bytes a token, for a residual stream of width D and H heads; `h` is 2 in
bf16 and fp16, 4 in fp32:

| a block saves                                        | half   | fp32   |
|------------------------------------------------------|--------|--------|
| input of the first norm: the float32 residual stream | 4 D    | 4 D    |
| its mean and deviation                               | 8      | 8      |
| its output, as the query-key-value product takes it  | h D    | 4 D    |
| query, key and value, in one tensor                  | 3 h D  | 12 D   |
| attention's output, which the projection takes       | h D    | 4 D    |
| logarithm of attention's sums, float32               | 4 H    | 4 H    |
| input of the second norm, mean and deviation         | 4 D + 8| 4 D + 8|
| its output, as the MLP takes it                      | h D    | 4 D    |
| the hidden layer before GELU and after               | 8 h D  | 32 D   |

That is 36 D in half precision and 64 D in fp32, besides 16 + 4 H; with dropout 2 D more, a byte for
each mask. The attention matrix is never kept (flash attention), so this is Korthikanti et al. 2022,
"Reducing Activation Recomputation in Large Transformer Models", without its quadratic term. Outside
the blocks: the token ids (8), and the last norm's input (4 D + 8).
"""

from dataclasses import dataclass, fields

from gptcore.profile import Profile
from gptcore.settings import ModelSettings

#: CUDA context, cuBLAS workspaces and the allocator's rounding, in bytes.
CUDA_OVERHEAD = 700 * 2**20

#: Bytes of float32 logits that the fused loss (`gptengine.loss`) holds at a time. A processor wants
#: its chunk near its caches; an accelerator wants rows enough for an efficient product, yet little
#: memory.
LOGITS_CHUNK = {"cpu": 8 << 20, "cuda": 128 << 20}

#: Half-precision sums over more rows than these could pass float16's 65,504.
_HALF_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes on one device, by what they are for.

    Args:
        weights: In float32, and autocast's copies of what the blocks multiply by.
        gradients: In float32.
        optimizer: AdamW's two moments, in float32.
        activations: What autograd keeps from forward to backward.
        temporaries: What is there besides, at the peak: the loss's chunk and gradients, or a
            block computed again.
        overhead: What the device needs before any tensor.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    temporaries: int
    overhead: int

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return sum(getattr(self, field.name) for field in fields(self))

    def parts(self) -> dict[str, int]:
        """Name to bytes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def logits_rows(num_rows: int, vocab_size: int, *, device: str, half: bool) -> int:
    """Rows of logits that the fused loss computes at a time: even chunks within the budget.

    Args:
        num_rows: Tokens of the micro-batch.
        vocab_size: Logits a row.
        device: Kind of device, as in `torch.device.type`.
        half: Whether the products run in bf16 or fp16.
    """
    rows = max(1, LOGITS_CHUNK.get(device, LOGITS_CHUNK["cuda"]) // (4 * vocab_size))
    if half:
        rows = min(rows, _HALF_ROWS)
    chunks = max(1, -(-num_rows // rows))
    return max(1, -(-num_rows // chunks))


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
        precision: `fp32`, `bf16`, `fp16`; `auto`: a half precision on a GPU.
        gradient_checkpointing: Whether each block's activations are computed again in backward.
        vocab_size: Of the trained tokenizer, where known.
        on_gpu: Whether to count the CUDA context.
    """
    vocab = vocab_size or model.vocab_size
    parameters = num_parameters(model, vocab)
    half = precision in ("bf16", "fp16") or (precision == "auto" and on_gpu)
    tokens = micro_batch * model.context_length
    width, layers = model.emb_dim, model.n_layers
    products = layers * (12 * width**2 + (9 if model.qkv_bias else 6) * width)
    block = tokens * _block_bytes(model, half)
    ends = tokens * (8 + 4 * width + 8 + (width if model.drop_rate else 0))
    loss = _loss_bytes(tokens, width, vocab, half=half, on_gpu=on_gpu)
    if gradient_checkpointing:
        activations = layers * tokens * width * 4 + ends
        # The last block again, but for its input and the last norm's, and in its backward the
        # gradients of the stream and of the wide hidden layer, while the head's gradient waits.
        gradients = tokens * width * (14 if half else 20)
        again = block - 2 * tokens * width * 4 + gradients + 4 * vocab * width
        temporaries = max(loss, again)
    else:
        activations, temporaries = layers * block + ends, loss
    return Estimate(
        weights=4 * parameters + (2 * products if half else 0),
        gradients=4 * parameters,
        optimizer=8 * parameters,
        activations=activations,
        temporaries=temporaries,
        overhead=CUDA_OVERHEAD if on_gpu else 0,
    )


def estimate_pretraining(profile: Profile, micro_batch: int = 0) -> Estimate:
    """Peak memory of pretraining with `profile` on one device.

    Args:
        profile: The settings.
        micro_batch: In place of the profile's, after memory ran out; 0: the profile's.
    """
    return estimate_training(
        profile.model,
        micro_batch=micro_batch or profile.pretrain.micro_batch,
        precision=profile.engine.precision,
        gradient_checkpointing=profile.pretrain.gradient_checkpointing,
        on_gpu=profile.engine.device != "cpu",
    )


def _block_bytes(model: ModelSettings, half: bool) -> int:
    """What a block keeps of a token, by the table above."""
    products = (2 if half else 4) * (1 + 3 + 1 + 1 + 4 + 4)
    masks = 2 if model.drop_rate else 0
    return model.emb_dim * (2 * 4 + products + masks) + 16 + 4 * model.n_heads


def _loss_bytes(tokens: int, width: int, vocab: int, *, half: bool, on_gpu: bool) -> int:
    """The fused loss at work on a chunk of its rows, by `gptengine.loss`."""
    rows = logits_rows(tokens, vocab, device="cuda" if on_gpu else "cpu", half=half)
    each = 2 if half else 4
    # The float32 exponentials, and the half-precision logits that become their own gradient.
    chunk = rows * vocab * (4 + 2 if half else 4) + 3 * rows * width * each
    head = vocab * width * (4 + 2 if half else 4)  # the sum of its gradient, and its copy
    return chunk + head + tokens * (2 * 4 * width + 8 + 8 + 1)  # hidden and its gradient; targets


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
