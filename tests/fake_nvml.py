"""NVML at its boundary: functions of the real `pynvml` that answer for GPUs that are not there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

GIB = 2**30


def refusal(code: int = pynvml.NVML_ERROR_NOT_SUPPORTED) -> Exception:
    return pynvml.NVMLError(code)


@dataclass
class FakeGpu:
    """What a GPU answers; an exception is raised instead."""

    name: Any = "NVIDIA H200"
    memory: Any = (140 * GIB, 88 * GIB)
    utilisation: Any = 97
    temperature: Any = 64
    power: Any = 612_000
    power_limit: Any = 700_000
    compute: Any = field(default_factory=list)  # (pid, bytes)
    graphics: Any = field(default_factory=list)
    lost: bool = False


class FakeNvml:
    """Stands in for the driver; counts how often a session is opened and closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gpus: list[FakeGpu]) -> None:
        self.gpus = gpus
        self.inits = self.shutdowns = 0
        self.init_fails: Exception | None = None
        self.count_fails: Exception | None = None
        for name, answer in self._answers().items():
            monkeypatch.setattr(pynvml, name, answer)

    def _answers(self) -> dict[str, Callable[..., Any]]:
        return {
            "nvmlInit": self._init,
            "nvmlShutdown": self._shutdown,
            "nvmlDeviceGetCount": self._count,
            "nvmlDeviceGetHandleByIndex": self._handle,
            "nvmlDeviceGetName": lambda gpu: self._say(gpu, gpu.name),
            "nvmlDeviceGetMemoryInfo": lambda gpu: self._pair(gpu, gpu.memory, "total", "used"),
            "nvmlDeviceGetUtilizationRates": lambda gpu: SimpleNamespace(
                gpu=self._say(gpu, gpu.utilisation), memory=0
            ),
            "nvmlDeviceGetTemperature": lambda gpu, sensor: self._say(gpu, gpu.temperature),
            "nvmlDeviceGetPowerUsage": lambda gpu: self._say(gpu, gpu.power),
            "nvmlDeviceGetEnforcedPowerLimit": lambda gpu: self._say(gpu, gpu.power_limit),
            "nvmlDeviceGetComputeRunningProcesses": lambda gpu: self._listed(gpu, gpu.compute),
            "nvmlDeviceGetGraphicsRunningProcesses": lambda gpu: self._listed(gpu, gpu.graphics),
        }

    def _init(self) -> None:
        if self.init_fails:
            raise self.init_fails
        self.inits += 1

    def _shutdown(self) -> None:
        self.shutdowns += 1

    def _count(self) -> int:
        if self.count_fails:
            raise self.count_fails
        return len(self.gpus)

    def _handle(self, index: int) -> FakeGpu:
        return self.gpus[index]

    def _say(self, gpu: FakeGpu, value: Any) -> Any:
        if gpu.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        if isinstance(value, Exception):
            raise value
        return value

    def _pair(self, gpu: FakeGpu, value: Any, first: str, second: str) -> SimpleNamespace:
        said = self._say(gpu, value)
        return SimpleNamespace(**{first: said[0], second: said[1]})

    def _listed(self, gpu: FakeGpu, value: Any) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=p, usedGpuMemory=size) for p, size in self._say(gpu, value)]
