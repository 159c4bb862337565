"""Pretraining of `gpt2-small` at context 2000 on a CUDA device, measured and written as JSON.

    .venv/bin/python benchmarks/gpu_check.py [--steps 20] [--out benchmarks/results/gpu_check.json]

In bf16 until steady, then fp16, then bf16 with gradient checkpointing: tokens per second, MFU
against the device's peak, peak memory beside the estimate of `gptcore.memory`, NVML's readings in
the meantime; the same shapes through `transformers`; and a resume check that states the difference
it found. The file is written anew after each of them.

Needs torch, numpy, safetensors, tokenizers, msgspec, pydantic and tomli-w; the peer needs
transformers, NVML's readings need nvidia-ml-py (else they are null). psutil may be missing. Without
a CUDA device it says so and exits with 2; `--device cpu --tiny` tries the script itself.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engine"))  # also without an install

import argparse
import gc
import importlib.util
import json
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

STAND_IN = importlib.util.find_spec("psutil") is None
if STAND_IN:  # the trainer's imports want it, for encoding text; no text is encoded here
    sys.modules["psutil"] = ModuleType("psutil")

from gptcore import events
from gptcore.devices import Device, visible_devices
from gptcore.memory import estimate_training
from gptcore.profile import Profile, read_profile
from gptcore.settings import EngineSettings, ModelSettings
from gptengine.model import GPT
from gptengine.train.device import Placement, place
from gptengine.train.trainer import GPTTrainer

if STAND_IN:
    del sys.modules["psutil"]  # others ask whether it is there

PROFILE = Path(__file__).resolve().parents[1] / "profiles" / "gpt2-small.toml"
#: Steps that compile, tune kernels and fill the allocator; not timed.
WARM_UP = 6
#: Seconds between two readings of NVML.
WATCH_INTERVAL = 0.5
Batch = tuple[torch.Tensor, torch.Tensor]


class Watch:
    """Reads NVML of one device in a thread, from `start` on.

    Args:
        device: Not read unless it is a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._index = device.index or 0
        self._readings: list[Device] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        if device.type == "cuda" and importlib.util.find_spec("pynvml"):
            self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        if self._thread and not self._thread.is_alive():
            self._thread.start()

    def stop(self) -> dict[str, Any] | None:
        """What was read; None where there was nothing to read."""
        self._ended.set()
        if self._thread and self._thread.is_alive():
            self._thread.join()
        if not self._readings:
            return None
        return {
            "index": self._readings[0].index,
            "name": self._readings[0].name,
            "readings": len(self._readings),
            "memory_total": self._readings[0].memory_total,
            "memory_used": highest_and_mean([each.memory_used for each in self._readings]),
            "utilisation": highest_and_mean([each.utilisation for each in self._readings]),
            "temperature": highest_and_mean([each.temperature for each in self._readings]),
            "power": highest_and_mean([each.power for each in self._readings]),
        }

    def _read(self) -> None:
        while not self._ended.is_set():
            devices = visible_devices()
            if self._index < len(devices):
                self._readings.append(devices[self._index])
            self._ended.wait(WATCH_INTERVAL)


class Record:
    """Keeps the steps that a training tells of.

    Args:
        watch: Started once the steps are steady.
    """

    def __init__(self, watch: Watch | None = None) -> None:
        self.steps: list[events.Step] = []
        self._watch = watch

    def write(self, payload: events.Payload, *, step: int | None = None) -> None:
        if isinstance(payload, events.Step):
            self.steps.append(payload)
            if self._watch and len(self.steps) == WARM_UP:
                self._watch.start()


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
    options.out.parent.mkdir(parents=True, exist_ok=True)

    def keep(name: str, measured: Any) -> None:
        found[name] = measured
        options.out.write_text(json.dumps(found, indent=2) + "\n")

    for name, (precision, checkpointing) in cases.items():
        placement = place(EngineSettings(device=options.device, precision=precision))  # type: ignore[arg-type]
        batches = random_batches(profile, micro_batch * options.accumulate)
        keep(
            name,
            measure_ours(profile, placement, batches, micro_batch, checkpointing, options.steps),
        )
        show(name, found[name])
    placement = place(EngineSettings(device=options.device, precision="bf16"))
    peer = measure_transformers(profile, placement, micro_batch, options.accumulate, options.steps)
    keep("transformers, bf16", peer)
    show("transformers, bf16", peer)
    ratio = found["bf16"]["tokens_per_s"] / peer["tokens_per_s"]
    print(f"gptstudio is {ratio:.2f} times transformers")
    keep("ratio_to_transformers", ratio)
    keep("resume", check_resume(profile, placement, micro_batch))
    print("resume:", found["resume"])
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


def reset(device: torch.device) -> int:
    """Drop what the last case left; the bytes that stay allocated, and will count in the peak."""
    gc.collect()
    torch.compiler.reset()
    gc.collect()
    if device.type != "cuda":
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def measure_ours(
    profile: Profile,
    placement: Placement,
    batches: list[Batch],
    micro_batch: int,
    checkpointing: bool,
    steps: int,
) -> dict[str, Any]:
    """The speed and memory of `GPTTrainer`, once it is steady."""
    left_over = reset(placement.device)
    watch = Watch(placement.device)
    record = Record(watch)
    settings = profile.pretrain.model_copy(
        update={
            "batch_size": len(batches[0][0]),
            "micro_batch": micro_batch,
            "max_steps": WARM_UP + steps,
            "gradient_checkpointing": checkpointing,
            "log_interval": 1,
            "sample_interval": 0,
            "warmup_steps": 10,
        }
    )
    started = time.perf_counter()
    GPTTrainer(new_model(profile), None, settings, placement=placement, recorder=record).train(
        batches
    )
    readings = watch.stop()
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
        "allocated_before": left_over,
        "seconds_with_start": time.perf_counter() - started,
        "nvml": readings,
    }


def reserved(device: torch.device) -> int:
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0


def highest_and_mean(values: list[Any]) -> dict[str, float] | None:
    """Of the values that there are."""
    known = [value for value in values if value is not None]
    return {"max": max(known), "mean": statistics.fmean(known)} if known else None


def measure_transformers(
    profile: Profile, placement: Placement, micro_batch: int, accumulate: int, steps: int
) -> dict[str, Any]:
    """The same shapes through `GPT2LMHeadModel`, compiled as ours is, with SDPA and fused AdamW."""
    from transformers import GPT2Config, GPT2LMHeadModel

    left_over = reset(placement.device)
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
    watch = Watch(placement.device)
    watch.start()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    seconds = time.perf_counter() - started
    readings = watch.stop()
    tokens = steps * accumulate * micro_batch * shape.context_length
    return {
        "tokens_per_s": tokens / seconds,
        "peak_memory_allocated": placement.peak_memory(),
        "peak_memory_reserved": reserved(placement.device),
        "allocated_before": left_over,
        "nvml": readings,
    }


def check_resume(profile: Profile, placement: Placement, micro_batch: int) -> dict[str, Any]:
    """Eight steps in one go, beside four, a checkpoint, and four more in a fresh model."""
    batches = random_batches(profile, micro_batch, count=8)

    def train(steps: int, folder: Path | None, attempt: int) -> tuple[list[float | None], GPT]:
        reset(placement.device)
        record, model = Record(), new_model(profile)
        settings = profile.pretrain.model_copy(
            update={
                "batch_size": micro_batch,
                "micro_batch": micro_batch,
                "max_steps": steps,
                "log_interval": 1,
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
