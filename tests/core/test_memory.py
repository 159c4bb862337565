"""The estimate beside what PyTorch keeps and holds, counted on the CPU."""

import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gptcore import memory
from gptcore.memory import Estimate, estimate_training, logits_rows, num_parameters
from gptcore.settings import ModelSettings
from gptengine.model import GPT

SHAPE = ModelSettings(vocab_size=2000, context_length=64, emb_dim=64, n_heads=4, n_layers=4)
MICRO_BATCH = 8

cases = pytest.mark.parametrize("precision", ["fp32", "bf16"])
checkpointing = pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])


class Live(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {storage(each)._cdata for each in tree_leaves((args, kwargs)) if is_tensor(each)}
        out = func(*args, **(kwargs or {}))
        for each in filter(is_tensor, tree_leaves(out)):
            made = storage(each)
            if made._cdata not in known | self._known:
                self._known.add(made._cdata)
                self.now += made.nbytes()
                weakref.finalize(made, self._forget, made._cdata, made.nbytes())
        self.peak = max(self.peak, self.now)
        return out

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def storage(tensor: torch.Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()


def problem(checkpointing: bool, shape: ModelSettings = SHAPE) -> tuple[GPT, torch.Tensor]:
    torch.manual_seed(0)
    model = GPT(shape.model_dump())
    model.gradient_checkpointing = checkpointing
    ids = torch.randint(0, shape.vocab_size, (MICRO_BATCH, shape.context_length))
    return model, ids


def estimate(precision: str, checkpointing: bool) -> Estimate:
    return estimate_training(
        SHAPE,
        micro_batch=MICRO_BATCH,
        precision=precision,
        gradient_checkpointing=checkpointing,
        on_gpu=False,
    )


def autocast(precision: str) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


@cases
@checkpointing
def test_activations_are_what_autograd_saves(precision: str, checkpointing: bool) -> None:
    model, ids = problem(checkpointing)
    saved = {}
    own = {storage(parameter).data_ptr() for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if storage(tensor).data_ptr() not in own and tensor.dim() > 1:
            saved[storage(tensor).data_ptr()] = storage(tensor).nbytes()
        return tensor

    with autocast(precision), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.hidden(ids)
    expected = estimate(precision, checkpointing)
    kept = expected.activations
    if not checkpointing:  # else the copies are not saved, they stay in autocast's cache
        kept += expected.weights - 4 * num_parameters(SHAPE)
    assert hidden.requires_grad
    assert sum(saved.values()) == pytest.approx(kept, rel=0.02)


@cases
@checkpointing
@pytest.mark.parametrize("chunk", [64 << 10, 4 << 20], ids=["small chunks", "large chunks"])
def test_peak_of_a_step(
    precision: str, checkpointing: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(memory.LOGITS_CHUNK, "cpu", chunk)
    model, ids = problem(checkpointing)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with Live() as live:
        with autocast(precision):
            loss = model.loss(ids, ids)
        loss.backward()
    expected = estimate(precision, checkpointing)
    copies = expected.weights - 4 * num_parameters(SHAPE)
    held = expected.activations + expected.temporaries + copies
    assert live.peak == pytest.approx(held, rel=0.12)


def test_rows_of_logits() -> None:
    assert logits_rows(8000, 50257, device="cuda", half=True) == 667
    assert logits_rows(8000, 50257, device="cpu", half=False) == 41
    assert logits_rows(8000, 500, device="cuda", half=True) == 1000
    assert logits_rows(10, 50257, device="cuda", half=True) == 10
    assert logits_rows(10, 10**9, device="cuda", half=False) == 1
