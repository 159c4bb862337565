"""Cross entropy of a linear head, without the logits.

A vocabulary of 50,257 at a context of 2,000 makes 400 MB of float32 logits a sequence, and their
gradient as much again. Here the head and the loss are one operation over chunks of rows: each
chunk's logits become its gradients at once and are then dropped. The idea is Hsu et al., "Liger
Kernel: Efficient Triton Kernels for LLM Training" (2024), section 3.2; this is plain torch.

The products of the head are `product`, which the model's linear layers share.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Targets of this value carry no loss, as in ``torch.nn.functional.cross_entropy``.
IGNORE_INDEX = -100

#: Bytes of float32 logits alive at once. A processor wants its chunk near its caches; an
#: accelerator wants rows enough for an efficient product, yet little memory.
CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 128 << 20}

#: Half-precision sums over more rows than these could pass float16's 65,504.
_HALF_ROWS = 1024

#: Below these, as in writing token by token, MKL's products start faster.
_ONEDNN_ROWS = 32

_onednn_linear = getattr(getattr(torch.ops, "mkldnn", None), "_linear_pointwise", None)


def onednn_applies(x: Tensor, weight: Tensor) -> bool:
    """Whether `product` pays: many rows of float32 on a processor, nothing traced or cast.

    Args:
        x: (..., in).
        weight: (out, in).
    """
    return (
        not torch.compiler.is_compiling()  # first: what follows would break the traced graph
        and _onednn_linear is not None
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() >= _ONEDNN_ROWS * x.shape[-1]
        and torch.backends.mkldnn.is_available()
        and not torch.is_autocast_enabled("cpu")
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` by oneDNN; only where `onednn_applies`, and outside autograd.

    torch sends float32 products to MKL. oneDNN's were 1.2 to 1.6 times as fast on the AVX-512
    processor this was measured on, for forward products and for gradients of the input.

    Args:
        x: (n, in), float32.
        weight: (out, in), float32, of any strides.
        bias: (out,) or nothing.

    Returns:
        (n, out).
    """
    assert _onednn_linear is not None
    return _onednn_linear(x, weight, bias, "none", [], "")


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """``grad.T @ x``: the gradient of a weight (out, in) from (n, out) and (n, in).

    oneDNN does not divide a long sum over few outputs among threads, MKL does.
    """
    if grad.shape[0] <= min(grad.shape[1], x.shape[1]) and onednn_applies(grad, x):
        return product(grad.t(), x.t())
    return grad.t() @ x


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of ``hidden @ weight.T`` against `targets`.

    Equals ``F.cross_entropy(F.linear(hidden, weight), targets)``, except that a batch without any
    target gives 0 and not NaN. Under autocast the products run in the autocast type, softmax and
    sums in float32. Gradients are made in the forward pass, unscaled; the mean's 1/n and the
    incoming gradient (which carries float16's loss scale) come in afterwards, in float32, so that
    neither underflows.

    Args:
        hidden: (n, dim).
        weight: (vocab, dim).
        targets: (n,), int64; `IGNORE_INDEX` where there is no loss.

    Returns:
        Scalar, float32 (float64 for float64 input).
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    if not torch.is_grad_enabled():
        with torch.autocast(kind, enabled=False):
            return _chunked(hidden, weight, targets, dtype, False, False)[0]
    return _LinearCrossEntropy.apply(hidden, weight, targets, dtype)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype
    ) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            loss, count, grad_hidden, grad_weight = _chunked(
                hidden, weight, targets, dtype, ctx.needs_input_grad[0], ctx.needs_input_grad[1]
            )
        ctx.save_for_backward(count, grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        count, grad_hidden, grad_weight = ctx.saved_tensors
        scale = grad / count
        # Not in place: a graph that is kept is walked more than once.
        if grad_hidden is not None:
            grad_hidden = grad_hidden * scale.to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = (grad_weight * scale).to(ctx.weight_dtype)
        return grad_hidden, grad_weight, None, None


def _chunk_rows(num_rows: int, vocab: int, device: torch.device, dtype: torch.dtype) -> int:
    """Rows whose float32 logits fill the device's budget, in even chunks."""
    rows = max(1, CHUNK_BYTES.get(device.type, CHUNK_BYTES["cuda"]) // (4 * vocab))
    if dtype in (torch.float16, torch.bfloat16):
        rows = min(rows, _HALF_ROWS)
    chunks = max(1, -(-num_rows // rows))
    return max(1, -(-num_rows // chunks))


def _chunked(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    dtype: torch.dtype,
    want_hidden: bool,
    want_weight: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """The loss (scalar), the number of targets (at least 1), and the gradients of the *sum*."""
    wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    h = hidden.detach().to(dtype)  # (n, dim)
    w = weight.detach().to(dtype)  # (vocab, dim)
    supervised = targets != IGNORE_INDEX  # (n,)
    safe_targets = targets.where(supervised, 0)
    total = torch.zeros((), dtype=wide, device=h.device)
    grad_hidden = torch.empty_like(hidden) if want_hidden else None
    grad_weight = torch.zeros(w.shape, dtype=wide, device=w.device) if want_weight else None
    fast = onednn_applies(h, w)

    rows = _chunk_rows(len(h), len(w), h.device, dtype)
    for start in range(0, len(h), rows):
        part = slice(start, start + rows)
        chunk, keep, target = h[part], supervised[part, None], safe_targets[part, None]
        logits = product(chunk, w) if fast else chunk @ w.t()  # (rows, vocab)
        target_logit = logits.gather(1, target).to(wide)  # (rows, 1)
        if grad_hidden is None and grad_weight is None:
            log_sum = logits.to(wide).logsumexp(1, keepdim=True)
            total += ((log_sum - target_logit) * keep).sum()
            continue
        # The log of the sum comes from the likeliest token, whose probability cannot vanish:
        # one exponential for both the loss and the gradient.
        top = logits.amax(1, keepdim=True).to(wide)
        probs = torch.softmax(logits, 1, dtype=wide)  # (rows, vocab)
        log_sum = top - probs.amax(1, keepdim=True).log()
        total += ((log_sum - target_logit) * keep).sum()
        # From here the gradient of the logits. Rows without a target are silenced in the two
        # products' narrow sides.
        probs.scatter_add_(1, target, probs.new_full((1, 1), -1).expand_as(target))
        grad_logits = probs.to(dtype)
        if grad_hidden is not None:
            back = product(grad_logits, w.t()) if fast else grad_logits @ w
            torch.mul(back, keep, out=grad_hidden[part])
        if grad_weight is not None:
            _add_weight_gradient(grad_weight, grad_logits, chunk * keep)
    count = supervised.sum().clamp_(min=1).to(wide)
    return total / count, count, grad_hidden, grad_weight


def _add_weight_gradient(sums: Tensor, grad: Tensor, x: Tensor) -> None:
    """Add ``grad.T @ x`` (vocab, dim) to `sums`, which is at least float32."""
    if grad.dtype == sums.dtype:
        sums.addmm_(grad.t(), x)
    elif grad.is_cuda:
        # The product's own float32 sums, never rounded to half precision.
        sums.add_(torch.mm(grad.t(), x, out_dtype=sums.dtype))
    else:
        sums.add_(grad.t() @ x)
