"""Pretraining of `gpt2-small` at context 2000 on a CUDA device, measured and written as JSON.

    .venv/bin/python benchmarks/gpu_check.py [--steps 20] [--out benchmarks/results/gpu_check.json]

In bf16 until steady, then fp16, then bf16 with gradient checkpointing: tokens per second, MFU
against the device's peak, peak memory beside the estimate of `gptcore.memory`, NVML's readings; the
same shapes through `transformers`; and a resume check that states the difference it found. Needs
torch, safetensors, numpy and msgspec, pydantic, tokenizers, tomli-w; the peer needs transformers.
Without a CUDA device it says so and exits with 2; `--device cpu --tiny` tries the script itself.
"""

import sys
from pathlib import Path

sys.path.pop(0)  # or this folder's tokenize.py would stand in for the standard library's
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))  # also without an install

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

from gptcore import events
from gptcore.devices import list_devices
from gptcore.memory import estimate_training
from gptcore.profile import EngineSettings, ModelSettings, Profile, read_profile
from gptengine.model import GPT
from gptengine.train.device import Placement, place
from gptengine.train.trainer import GPTTrainer

PROFILE = Path(__file__).resolve().parents[1] / "profiles" / "gpt2-small.toml"
#: Steps that compile, tune kernels and fill the allocator; not timed.
WARM_UP = 6
Batch = tuple[torch.Tensor, torch.Tensor]


class Record:
    """Keeps the steps that a training tells of."""

    def __init__(self) -> None:
        self.steps: list[events.Step] = []

    def write(self, payload: events.Payload, *, step: int | None = None) -> None:
        if isinstance(payload, events.Step):
            self.steps.append(payload)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20, help="timed optimiser steps")
    parser.add_argument("--accumulate", type=int, default=8, help="micro-batches a step")
    parser.add_argument("--micro-batch", type=int, default=0, help="0: the profile's")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu_check.json"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to try the script")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("PyTorch sees no CUDA device: nothing was measured", file=sys.stderr)
        return 2
    profile = read_profile(PROFILE)
    if options.tiny:
        small = {"context_length": 64, "emb_dim": 32, "n_heads": 2, "n_layers": 2}
        shape = ModelSettings(vocab_size=512, **small)  # type: ignore[arg-type]
        profile = profile.model_copy(update={"model": shape})
    micro_batch = options.micro_batch or profile.pretrain.micro_batch
    found: dict[str, Any] = {
        "machine": machine(options.device),
        "model": profile.model.model_dump(),
    }
    found["micro_batch"], found["accumulate"] = micro_batch, options.accumulate
    cases = {
        "bf16": ("bf16", False),
        "fp16": ("fp16", False),
        "bf16, gradient checkpointing": ("bf16", True),
    }
    for name, (precision, checkpointing) in cases.items():
        placement = place(EngineSettings(device=options.device, precision=precision))  # type: ignore[arg-type]
        batches = random_batches(profile, micro_batch * options.accumulate)
        found[name] = measure_ours(
            profile, placement, batches, micro_batch, checkpointing, options.steps
        )
        show(name, found[name])
    placement = place(EngineSettings(device=options.device, precision="bf16"))
    found["transformers, bf16"] = measure_transformers(
        profile, placement, micro_batch, options.accumulate, options.steps
    )
    show("transformers, bf16", found["transformers, bf16"])
    ratio = found["bf16"]["tokens_per_s"] / found["transformers, bf16"]["tokens_per_s"]
    print(f"gptstudio is {ratio:.2f} times transformers")
    found["ratio_to_transformers"] = ratio
    found["resume"] = check_resume(profile, placement, micro_batch)
    print("resume:", found["resume"])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"written to {options.out}")
    return 0


def machine(device: str) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "cpu"
    return {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def random_batches(profile: Profile, size: int, count: int = 4) -> list[Batch]:
    """Batches of random ids: speed and memory do not depend on what they say."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, size, profile.model.context_length + 1)
    ids = torch.randint(0, profile.model.vocab_size, shape, generator=generator)
    return [(each[:, :-1].contiguous(), each[:, 1:].contiguous()) for each in ids]


def new_model(profile: Profile) -> GPT:
    torch.manual_seed(0)
    return GPT(profile.model.model_dump())


def reset(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def measure_ours(
    profile: Profile,
    placement: Placement,
    batches: list[Batch],
    micro_batch: int,
    checkpointing: bool,
    steps: int,
) -> dict[str, Any]:
    """The speed and memory of `GPTTrainer`, once it is steady."""
    reset(placement.device)
    record = Record()
    settings = profile.pretrain.model_copy(
        update={
            "batch_size": len(batches[0][0]),
            "micro_batch": micro_batch,
            "max_steps": WARM_UP + steps,
            "gradient_checkpointing": checkpointing,
            "sample_interval": 0,
            "warmup_steps": 10,
        }
    )
    started = time.perf_counter()
    GPTTrainer(new_model(profile), None, settings, placement=placement, recorder=record).train(
        batches
    )
    estimate = estimate_training(
        profile.model,
        micro_batch=micro_batch,
        precision=placement.precision,
        gradient_checkpointing=checkpointing,
        on_gpu=placement.device.type == "cuda",
    )
    last, peak = record.steps[-1], placement.peak_memory()
    return {
        "tokens_per_s": last.tokens_per_s,
        "mfu": last.mfu,
        "skipped_steps": sum(step.skipped for step in record.steps),
        "losses": [step.loss for step in record.steps[:: max(1, len(record.steps) // 8)]],
        "peak_memory_allocated": peak,
        "peak_memory_reserved": reserved(placement.device),
        "estimate": estimate.total,
        "estimate_without_overhead": estimate.total - estimate.overhead,
        "estimate_parts": estimate.parts(),
        "estimate_over_allocated": (estimate.total - estimate.overhead) / peak,
        "seconds_with_start": time.perf_counter() - started,
        "nvml": nvml(),
    }


def reserved(device: torch.device) -> int:
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0


def nvml() -> list[dict[str, Any]]:
    """What NVML says of each GPU right now."""
    return [
        {
            "index": device.index,
            "name": device.name,
            "memory_total": device.memory_total,
            "memory_used": device.memory_used,
            "utilisation": device.utilisation,
            "temperature": device.temperature,
            "power": device.power,
            "processes": device.processes and len(device.processes),
        }
        for device in list_devices()
    ]


def measure_transformers(
    profile: Profile, placement: Placement, micro_batch: int, accumulate: int, steps: int
) -> dict[str, Any]:
    """The same shapes through `GPT2LMHeadModel`, compiled as ours is, with SDPA and fused AdamW."""
    from transformers import GPT2Config, GPT2LMHeadModel

    reset(placement.device)
    shape = profile.model
    config = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.context_length,
        n_embd=shape.emb_dim,
        n_layer=shape.n_layers,
        n_head=shape.n_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation="sdpa",
    )
    model = GPT2LMHeadModel(config).to(placement.device).train()
    run: Callable[..., Any] = torch.compile(model) if placement.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, fused=True)
    batches = random_batches(profile, micro_batch)

    def step() -> None:
        for number in range(accumulate):
            ids, targets = (part.to(placement.device) for part in batches[number % len(batches)])
            with placement.autocast():
                logits = run(input_ids=ids, use_cache=False).logits
                loss = torch.nn.functional.cross_entropy(
                    logits.view(-1, shape.vocab_size).float(), targets.view(-1)
                )
            (loss / accumulate).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        float(loss.detach())

    for _ in range(WARM_UP):
        step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    seconds = time.perf_counter() - started
    tokens = steps * accumulate * micro_batch * shape.context_length
    return {
        "tokens_per_s": tokens / seconds,
        "peak_memory_allocated": placement.peak_memory(),
        "peak_memory_reserved": reserved(placement.device),
    }


def check_resume(profile: Profile, placement: Placement, micro_batch: int) -> dict[str, Any]:
    """Eight steps in one go, beside four, a checkpoint, and four more in a fresh model."""
    batches = random_batches(profile, micro_batch, count=8)

    def train(steps: int, folder: Path | None, attempt: int) -> tuple[list[float | None], GPT]:
        record, model = Record(), new_model(profile)
        settings = profile.pretrain.model_copy(
            update={
                "batch_size": micro_batch,
                "micro_batch": micro_batch,
                "max_steps": steps,
                "sample_interval": 0,
                "warmup_steps": 0,
                "lr": 1e-4,
                "min_lr": 1e-4,  # so that the rate does not depend on the number of steps
            }
        )
        trainer = GPTTrainer(model, None, settings, placement=placement, recorder=record)
        trainer.train(batches, checkpoint_dir=folder, attempt=attempt)
        return [step.loss for step in record.steps], model

    losses, alone = train(8, None, 1)
    again, _ = train(8, None, 1)
    with tempfile.TemporaryDirectory() as folder:
        train(4, Path(folder), 1)
        resumed, continued = train(8, Path(folder), 2)
    differences = [
        float((a - b).detach().abs().max())
        for a, b in zip(alone.parameters(), continued.parameters(), strict=True)
    ]
    return {
        "largest_loss_difference": spread(losses[4:], resumed),
        "largest_weight_difference": max(differences),
        "largest_loss_difference_between_two_whole_runs": spread(losses, again),
    }


def spread(first: list[float | None], second: list[float | None]) -> float:
    return max(abs((a or 0.0) - (b or 0.0)) for a, b in zip(first, second, strict=True))


def show(name: str, found: dict[str, Any]) -> None:
    mfu = found.get("mfu")
    line = f"{name:30} {found['tokens_per_s']:10,.0f} tokens/s"
    line += f"  MFU {mfu:.1%}" if mfu else ""
    line += f"  peak {found['peak_memory_allocated'] / 2**30:.2f} GiB"
    if "estimate" in found:
        line += f"  estimated {found['estimate_without_overhead'] / 2**30:.2f} GiB"
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
