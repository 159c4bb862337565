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

from gptcore.memory import logits_rows

#: Targets of this value carry no loss, as in ``torch.nn.functional.cross_entropy``.
IGNORE_INDEX = -100

#: Below these, as in writing token by token, MKL's products start faster.
_ONEDNN_ROWS = 32

# Private, and so perhaps gone one day: then every backward pass makes copies.
_keeps_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)

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
        # A graph that is kept is walked more than once, and wants its gradients unscaled again.
        last = not torch.compiler.is_compiling() and _keeps_graph is not None and not _keeps_graph()
        times = Tensor.mul_ if last else Tensor.mul
        if grad_hidden is not None:
            grad_hidden = times(grad_hidden, scale.to(grad_hidden.dtype))
        if grad_weight is not None:
            grad_weight = times(grad_weight, scale).to(ctx.weight_dtype)
        return grad_hidden, grad_weight, None, None


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
    hidden = hidden.detach()
    w = weight.detach().to(dtype)  # (vocab, dim)
    supervised = targets != IGNORE_INDEX  # (n,)
    safe_targets = targets.where(supervised, 0)
    total = torch.zeros((), dtype=wide, device=hidden.device)
    grad_hidden = torch.empty_like(hidden) if want_hidden else None
    grad_weight = torch.zeros(w.shape, dtype=wide, device=w.device) if want_weight else None

    half = dtype in (torch.float16, torch.bfloat16)
    rows = logits_rows(len(hidden), len(w), device=hidden.device.type, half=half)
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        keep, target = supervised[part, None], safe_targets[part, None]
        chunk = hidden[part].to(dtype)  # (rows, dim)
        fast = onednn_applies(chunk, w)
        logits = product(chunk, w) if fast else chunk @ w.t()  # (rows, vocab)
        loss, grad_logits = _softmax(logits, target, wide, want_hidden or want_weight)
        total += (loss * keep).sum()
        # Rows without a target are silenced in the two products' narrow sides.
        if grad_hidden is not None:
            back = product(grad_logits, w.t()) if fast else grad_logits @ w
            torch.mul(back, keep, out=grad_hidden[part])
        if grad_weight is not None:
            _add_weight_gradient(grad_weight, grad_logits, chunk * keep)
        del logits, grad_logits  # before the next chunk's are there
    count = supervised.sum().clamp_(min=1).to(wide)
    return total / count, count, grad_hidden, grad_weight


def _softmax(
    logits: Tensor, target: Tensor, wide: torch.dtype, want_gradient: bool
) -> tuple[Tensor, Tensor]:
    """The losses (rows, 1), and the gradient of their sum where it is wanted.

    Beside the logits (rows, vocab), which are overwritten, there is at most one tensor of their
    shape: their exponentials, if `wide` is not the logits' own type.
    """
    target_logit = logits.gather(1, target).to(wide)  # (rows, 1)
    top = logits.amax(1, keepdim=True).to(wide)
    powers = (logits.sub_(top) if logits.dtype == wide else logits - top).exp_()
    power_sum = powers.sum(1, keepdim=True)  # (rows, 1), from 1
    loss = top + power_sum.log() - target_logit
    if want_gradient:
        powers.scatter_add_(1, target, -power_sum)
        torch.mul(powers, power_sum.reciprocal(), out=logits)
    return loss, logits


def _add_weight_gradient(sums: Tensor, grad: Tensor, x: Tensor) -> None:
    """Add ``grad.T @ x`` (vocab, dim) to `sums`, which is at least float32."""
    if grad.dtype == sums.dtype:
        sums.addmm_(grad.t(), x)
    elif grad.is_cuda and sums.dtype == torch.float32:
        # The product's own float32 sums, never rounded to half precision.
        if torch.compiler.is_compiling():  # which cannot take addmm's `out_dtype`
            sums.add_(torch.mm(grad.t(), x, out_dtype=sums.dtype))
        else:
            torch.addmm(sums, grad.t(), x, out_dtype=sums.dtype, out=sums)
    else:
        sums.add_(grad.t() @ x)
