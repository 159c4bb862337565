"""What concerns CUDA devices, most of it on one; `benchmarks/gpu_check.py` measures the rest."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gptcore import events
from gptcore.devices import list_devices
from gptcore.memory import estimate_training
from gptcore.settings import EngineSettings, ModelSettings
from gptengine import GPT, GPTTrainer
from gptengine.loss import linear_cross_entropy
from gptengine.train.device import known_peak, place
from gptengine.train.duties import History


def on_gpu(test: Callable[..., None]) -> Any:
    missing = not torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(missing, reason="needs a CUDA device")(test))


SHAPE = {"vocab_size": 512, "context_length": 64, "emb_dim": 64, "n_heads": 2, "n_layers": 2}


class Silent:
    def write(self, payload: events.Payload, *, step: int | None = None) -> None:
        pass


def train(precision: str, folder: Path | None, *, steps: int = 20, attempt: int = 1) -> History:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 20, (4, 8, 65), generator=generator)
    placement = place(EngineSettings(device="cuda", precision=precision))  # type: ignore[arg-type]
    config = {"max_steps": steps, "lr": 1e-3, "min_lr": 1e-3, "warmup_steps": 0}
    trainer = GPTTrainer(GPT(SHAPE), None, config, placement=placement, recorder=Silent())
    batches = [(each[:, :-1], each[:, 1:]) for each in ids]
    return trainer.train(batches, checkpoint_dir=folder, attempt=attempt)


@on_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_learns_in_every_precision(precision: str) -> None:
    losses = train(precision, None).losses
    assert losses[-1] < losses[0] - 1


@on_gpu
def test_resume_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    alone = train("bf16", None).losses
    train("bf16", tmp_path, steps=10)
    resumed = train("bf16", tmp_path, attempt=2).losses
    assert resumed == pytest.approx(alone[10:], abs=1e-2)


@on_gpu
def test_nvml_and_torch_see_the_same_memory() -> None:
    device = list_devices()[0]
    assert device.memory_total == pytest.approx(torch.cuda.mem_get_info()[1], rel=0.05)


@on_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_loss_sums_its_weight_gradient_in_place(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(4096, 64, device="cuda", requires_grad=True)
    weight = torch.randn(2000, 64, device="cuda", requires_grad=True)
    targets = torch.randint(0, 2000, (4096,), device="cuda")
    expected = torch.nn.functional.cross_entropy(hidden @ weight.t(), targets)
    theirs = torch.autograd.grad(expected, (hidden, weight))
    with torch.autocast("cuda", dtype=dtype):
        value = linear_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(value, expected, rtol=5e-3, atol=5e-3)
    for ours, other in zip(torch.autograd.grad(value, (hidden, weight)), theirs, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - other).norm() < 0.01 * other.norm()


@on_gpu
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_estimate_meets_the_peak(checkpointing: bool) -> None:
    shape = ModelSettings(vocab_size=20000, context_length=512, emb_dim=512, n_heads=8, n_layers=6)
    before = torch.cuda.memory_allocated()
    model = GPT(shape.model_dump()).cuda()
    model.gradient_checkpointing = checkpointing
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.randint(0, 20000, (16, 512), device="cuda")
    for step in range(3):
        if step == 2:
            torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model.loss(ids, ids)
        loss.backward()
        if step < 1:
            optimizer.step()
    need = estimate_training(shape, micro_batch=16, gradient_checkpointing=checkpointing)
    peak = torch.cuda.max_memory_allocated() - before
    assert peak == pytest.approx(need.total - need.overhead, rel=0.1)


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA L40", None),
        ("Tesla T4", 65),
        ("NVIDIA T400", None),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 3080 Ti", None),
    ],
)
def test_peak_arithmetic_goes_by_whole_words(name: str, tflops: int | None) -> None:
    assert known_peak(name) == (None if tflops is None else tflops * 1e12)


@pytest.mark.parametrize(("major", "precision"), [(7, "fp16"), (8, "bf16")])
def test_bf16_only_where_the_gpu_computes_in_it(
    major: int, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    properties = SimpleNamespace(major=major, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda precision: None)
    assert place(EngineSettings(device="cuda")).precision == precision
