"""The device, the precision and the process group that a training runs on."""

import os
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.amp.grad_scaler import GradScaler

from gptcore.errors import UserError
from gptcore.settings import EngineSettings

#: Dense bf16 and fp16 arithmetic at its peak, FLOP/s, from the vendors' data sheets.
PEAK_FLOPS = {
    "H200": 989e12,
    "H100": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "B200": 2250e12,
    "A100": 312e12,
    "A10G": 70e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "RTX 4080": 97e12,
    "RTX 3090": 71e12,
    "RTX 3080": 59e12,
    "V100": 125e12,
    "T4": 65e12,
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where this process computes, and how.

    Args:
        device: Its device.
        precision: `fp32`, `bf16` or `fp16`.
        compile: Whether to use torch.compile.
        rank: Of this process among all.
        world_size: How many processes train together.
    """

    device: torch.device
    precision: str
    compile: bool
    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the record and the checkpoints."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[object]:
        """Matrix products in the chosen precision, sums and norms in float32."""
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def scaler(self) -> GradScaler | None:
        """A loss scaler where the precision needs one."""
        return GradScaler(self.device.type) if self.precision == "fp16" else None

    def peak_memory(self) -> int:
        """Peak bytes of this process on its device; of main memory on a CPU."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def peak_flops(self) -> float | None:
        """The device's peak arithmetic in FLOP/s, where it is known."""
        if self.device.type != "cuda" or self.precision == "fp32":
            return None
        return known_peak(torch.cuda.get_device_name(self.device))

    def describe(self) -> str:
        """For people."""
        name = self.device.type
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        several = f" x {self.world_size}" if self.world_size > 1 else ""
        return f"{name}{several}, {self.precision}"


def known_peak(name: str) -> float | None:
    """The `PEAK_FLOPS` of the entry that a marketing name has as whole words, the longest first.

    Args:
        name: Such as "NVIDIA A100-SXM4-80GB".
    """
    if re.search(r"\b(Laptop|Max-Q|Ti|SUPER)\b", name):  # other chips under the same number
        return None
    for key in sorted(PEAK_FLOPS, key=len, reverse=True):
        if re.search(rf"\b{re.escape(key)}\b", name):
            return PEAK_FLOPS[key]
    return None


def place(settings: EngineSettings | None = None) -> Placement:
    """Choose the device of this process, and join the process group under torchrun.

    Raises:
        UserError: The device or precision asked for is not there.
    """
    settings = settings or EngineSettings()
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    wanted = settings.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device("cuda", local_rank) if wanted == "cuda" else torch.device(wanted)
    if device.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= there:
            raise UserError(
                f"the profile asks for {device}, and PyTorch sees {there} CUDA devices",
                where="engine.device",
                fix="--set engine.device=cpu, or see gptstudio doctor",
            )
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
    if world_size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    precision = settings.precision
    if precision == "auto":
        # Emulated, as before Ampere, bf16 is slower than fp16 in tensor cores.
        bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if bf16 else "fp16" if device.type == "cuda" else "fp32"
    compiled = settings.compile == "on" or (settings.compile == "auto" and device.type == "cuda")
    return Placement(device, precision, compiled, rank, world_size)
