import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from gptcore.memory import LOGITS_CHUNK
from gptengine import loss as loss_module
from gptengine.loss import linear_cross_entropy


@pytest.fixture(params=[1 << 10, 8 << 20], ids=["many chunks", "one chunk"])
def chunk_bytes(request, monkeypatch):
    monkeypatch.setitem(LOGITS_CHUNK, "cpu", request.param)


@pytest.fixture(params=[True, False], ids=["oneDNN", "plain"])
def product_path(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(loss_module, "_onednn_linear", None)


def _problem(dtype=torch.float32, rows=50, vocab=37, dim=16):
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(rows, dim, dtype=dtype, generator=generator, requires_grad=True)
    weight = torch.randn(vocab, dim, dtype=dtype, generator=generator, requires_grad=True)
    targets = torch.randint(0, vocab, (rows,), generator=generator)
    targets[::3] = -100
    return hidden, weight, targets


def _reference(hidden, weight, targets, scale=1.0):
    value = F.cross_entropy(F.linear(hidden, weight), targets)
    return value, torch.autograd.grad(value * scale, (hidden, weight))


@pytest.mark.usefixtures("chunk_bytes", "product_path")
def test_equals_cross_entropy_in_float32():
    hidden, weight, targets = _problem()
    expected, gradients = _reference(hidden, weight, targets, scale=7.0)
    value = linear_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(
        torch.autograd.grad(value * 7.0, (hidden, weight)), gradients, strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6)


@pytest.mark.usefixtures("chunk_bytes")
def test_gradcheck_in_float64():
    hidden, weight, targets = _problem(torch.float64, rows=11, vocab=9, dim=5)
    assert torch.autograd.gradcheck(
        lambda h, w: linear_cross_entropy(h, w, targets), (hidden, weight)
    )


@pytest.mark.usefixtures("chunk_bytes")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_close_under_autocast_and_gradients_stay_float32(dtype):
    hidden, weight, targets = _problem()
    expected, gradients = _reference(hidden, weight, targets)
    with torch.autocast("cpu", dtype=dtype):
        value = linear_cross_entropy(hidden, weight, targets)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=5e-3, atol=5e-3)
    for ours, theirs in zip(torch.autograd.grad(value, (hidden, weight)), gradients, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.01 * theirs.norm()


def test_half_precision_gradients_do_not_underflow():
    # 1/n alone is below what float16 resolves here; applied to the rows first, it would cost bits.
    hidden, weight, _ = _problem(rows=4096, vocab=8)
    targets = torch.arange(4096) % 8
    _, gradients = _reference(hidden, weight, targets)
    with torch.autocast("cpu", dtype=torch.float16):
        value = linear_cross_entropy(hidden, weight, targets)
    ours = torch.autograd.grad(value, (hidden, weight))
    assert (ours[0] - gradients[0]).norm() < 2e-3 * gradients[0].norm()
    assert (ours[1] - gradients[1]).norm() < 2e-3 * gradients[1].norm()


def test_pure_bfloat16_keeps_the_types():
    hidden, weight, targets = _problem(torch.bfloat16)
    value = linear_cross_entropy(hidden, weight, targets)
    value.backward()
    assert value.dtype == torch.float32
    assert hidden.grad.dtype == weight.grad.dtype == torch.bfloat16


def test_nothing_supervised_gives_zero():
    hidden, weight, targets = _problem()
    value = linear_cross_entropy(hidden, weight, torch.full_like(targets, -100))
    value.backward()
    assert value.item() == 0.0
    assert not hidden.grad.any()
    assert not weight.grad.any()


@pytest.mark.usefixtures("chunk_bytes")
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_only_the_loss(mode, monkeypatch):
    hidden, weight, targets = _problem()
    expected, _ = _reference(hidden, weight, targets)
    monkeypatch.setattr(loss_module, "_add_weight_gradient", None)
    with mode():
        value = linear_cross_entropy(hidden, weight, targets)
    assert not value.requires_grad
    torch.testing.assert_close(value, expected.detach(), rtol=1e-6, atol=1e-6)


def test_only_the_wanted_gradient():
    hidden, weight, targets = _problem()
    _, gradients = _reference(hidden, weight, targets)
    linear_cross_entropy(hidden.detach(), weight, targets).backward()
    torch.testing.assert_close(weight.grad, gradients[1], rtol=1e-5, atol=2e-6)
    linear_cross_entropy(hidden, weight.detach(), targets).backward()
    torch.testing.assert_close(hidden.grad, gradients[0], rtol=1e-5, atol=2e-6)


def test_a_kept_graph_gives_the_same_gradient_twice():
    hidden, weight, targets = _problem()
    value = linear_cross_entropy(hidden, weight, targets)
    first = torch.autograd.grad(value, weight, retain_graph=True)[0].clone()
    assert torch.equal(first, torch.autograd.grad(value, weight)[0])


def test_extreme_logits_stay_finite():
    hidden = torch.tensor([[200.0], [-200.0]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0], [0.0]], requires_grad=True)
    value = linear_cross_entropy(hidden, weight, torch.tensor([1, 1]))
    assert value.item() == pytest.approx(200.0)
    value.backward()
    assert hidden.grad.isfinite().all()


class _Largest(TorchDispatchMode):
    """The most rows of `columns` columns that any operation makes."""

    def __init__(self, columns):
        super().__init__()
        self.columns = columns
        self.rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dim() == 2 and out.shape[1] == self.columns:
            self.rows = max(self.rows, len(out))
        return out


def test_never_holds_more_logits_than_the_budget(monkeypatch):
    monkeypatch.setitem(LOGITS_CHUNK, "cpu", 64 * 4 * 100)
    hidden, weight, targets = _problem(rows=200, vocab=100)
    with _Largest(columns=100) as largest:
        linear_cross_entropy(hidden, weight, targets)
    assert 0 < largest.rows <= 64


def test_backward_copies_only_what_a_kept_graph_needs():
    hidden, weight, targets = _problem()
    _, gradients = _reference(hidden, weight, targets)
    value = linear_cross_entropy(hidden, weight, targets)
    kept = value.grad_fn.saved_tensors[2]
    before = kept.clone()
    torch.autograd.grad(value * 3.0, weight, retain_graph=True)
    assert torch.equal(kept, before)
    (last,) = torch.autograd.grad(value, weight)
    assert last.data_ptr() == kept.data_ptr()
    torch.testing.assert_close(last, gradients[1], rtol=1e-5, atol=2e-6)
