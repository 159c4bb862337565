"""The GPUs of this machine as NVML tells of them, without torch; each query may fail."""

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU; None where NVML will not say.

    Args:
        index: NVML's, of the physical GPU.
        name: Marketing name.
        memory_total: Bytes.
        memory_used: Bytes, by everyone.
        utilisation: Per cent of the last second.
        temperature: Degrees Celsius.
        power: Watts.
        processes: Process id to bytes used.
    """

    index: int
    name: str
    memory_total: int | None = None
    memory_used: int | None = None
    utilisation: int | None = None
    temperature: int | None = None
    power: float | None = None
    processes: dict[int, int | None] | None = None


def list_devices() -> list[Device]:
    """The GPUs that NVML sees; an empty list where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError, OSError):
        return []
    try:
        return [_read(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def visible_devices() -> list[Device]:
    """The GPUs in the order in which CUDA will number them, as far as that can be told."""
    devices = list_devices()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return devices
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if not all(name.isdigit() for name in names):  # -1, or UUIDs, whose order is not known here
        return [] if "-1" in names else devices[: len(names)]
    return [devices[int(name)] for name in names if int(name) < len(devices)]


def _read(nvml: Any, index: int) -> Device:
    def ask(query: Any, *arguments: Any) -> Any:
        try:
            return query(*arguments)
        except nvml.NVMLError:
            return None

    handle = ask(nvml.nvmlDeviceGetHandleByIndex, index)
    if handle is None:
        return Device(index, "unreadable GPU")
    memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
    rates = ask(nvml.nvmlDeviceGetUtilizationRates, handle)
    power = ask(nvml.nvmlDeviceGetPowerUsage, handle)
    processes = ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle)
    return Device(
        index=index,
        name=str(ask(nvml.nvmlDeviceGetName, handle) or "GPU"),
        memory_total=memory and int(memory.total),
        memory_used=memory and int(memory.used),
        utilisation=rates and int(rates.gpu),
        temperature=ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        power=None if power is None else power / 1000,
        processes=None if processes is None else {p.pid: p.usedGpuMemory for p in processes},
    )
