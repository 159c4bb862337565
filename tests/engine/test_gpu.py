"""What needs a CUDA device; `benchmarks/gpu_check.py` measures the rest."""

from pathlib import Path

import pytest
import torch

from gptcore import events
from gptcore.devices import list_devices
from gptcore.profile import EngineSettings
from gptengine import GPT, GPTTrainer
from gptengine.train.device import place
from gptengine.train.loop import History

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

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


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_learns_in_every_precision(precision: str) -> None:
    losses = train(precision, None).losses
    assert losses[-1] < losses[0] - 1


def test_resume_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    alone = train("bf16", None).losses
    train("bf16", tmp_path, steps=10)
    resumed = train("bf16", tmp_path, attempt=2).losses
    assert resumed == pytest.approx(alone[10:], abs=1e-2)


def test_nvml_and_torch_see_the_same_memory() -> None:
    device = list_devices()[0]
    assert device.memory_total == pytest.approx(torch.cuda.mem_get_info()[1], rel=0.05)
