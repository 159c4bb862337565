"""The GPUs of this machine as NVML tells of them, without torch; each query may fail alone."""

import os
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

#: Seconds between two attempts to get back a GPU that is lost while others still answer.
REOPEN_S = 30.0

#: NVML's error codes in words; without entry here NVML's own are used.
_REASONS = {
    4: "no permission to ask the NVIDIA driver",
    9: "the NVIDIA driver is not loaded",
    12: "no NVIDIA driver (libnvidia-ml.so.1 was not found)",
    13: "the NVIDIA driver is too old for NVML",
    15: "it is lost (fell off the bus, or is being reset)",
    16: "it needs a reset",
    18: "driver and library differ in version (updated without a reboot)",
}

#: Codes after which NVML will not answer in this session: uninitialised, driver gone, GPU lost,
#: reset required, version mismatch, unknown.
_SESSION_LOST = frozenset({1, 9, 15, 16, 18, 999})


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
        processes: Process id to bytes used, of compute and graphics together.
        power_limit: Watts, the limit that is enforced.
        problem: Why nothing can be read of it, in words; empty where something can.
    """

    index: int
    name: str
    memory_total: int | None = None
    memory_used: int | None = None
    utilisation: int | None = None
    temperature: int | None = None
    power: float | None = None
    processes: dict[int, int | None] | None = None
    power_limit: float | None = None
    problem: str = ""


class Nvml:
    """A session with NVML: opened at the first look, and again after one that has failed.

    For one thread; a context manager that closes the session::

        with Nvml() as nvml:
            devices = nvml.read()
    """

    def __init__(self) -> None:
        #: Why the last `read` found no GPU, in words; empty where it found one.
        self.reason = ""
        self._nvml: Any = None
        self._reopen_at = float("inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session, if there is one; `read` opens another."""
        nvml, self._nvml = self._nvml, None
        if nvml is None:
            return
        try:
            nvml.nvmlShutdown()
        except _failures(nvml):
            pass  # it has ended by itself

    def read(self) -> list[Device]:
        """The GPUs as they are now; an empty list, and `reason`, where there is none."""
        if time.monotonic() >= self._reopen_at:
            self.close()
        if self._nvml is None and not self._open():
            return []
        nvml = self._nvml
        try:
            count = int(nvml.nvmlDeviceGetCount())
        except _failures(nvml) as error:
            self.reason = _words(error)
            self.close()
            return []
        self.reason = "" if count else "the NVIDIA driver sees none here"
        devices = [_Look(nvml, index).device() for index in range(count)]
        lost = sum(1 for device in devices if device.problem)
        if lost and lost == count:
            self.close()
        elif lost and self._reopen_at == float("inf"):
            self._reopen_at = time.monotonic() + REOPEN_S
        return devices

    def _open(self) -> bool:
        self._reopen_at = float("inf")
        try:
            import pynvml
        except ImportError:
            self.reason = "the Python package nvidia-ml-py is not installed"
            return False
        try:
            pynvml.nvmlInit()
        except _failures(pynvml) as error:
            self.reason = _words(error)
            return False
        self._nvml = pynvml
        return True


def list_devices() -> list[Device]:
    """The GPUs that NVML sees; an empty list where there is no driver."""
    with Nvml() as nvml:
        return nvml.read()


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


class _Look:
    """One look at one GPU."""

    def __init__(self, nvml: Any, index: int) -> None:
        self._nvml = nvml
        self._index = index
        self._failures = _failures(nvml)
        self._lost = ""

    def device(self) -> Device:
        nvml = self._nvml
        handle = self._ask("nvmlDeviceGetHandleByIndex", self._index)
        if handle is None:
            return Device(self._index, "unreadable GPU", problem=self._lost or "NVML will not say")
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
        rates = self._ask("nvmlDeviceGetUtilizationRates", handle)
        power = self._ask("nvmlDeviceGetPowerUsage", handle)
        limit = self._ask("nvmlDeviceGetEnforcedPowerLimit", handle)
        temperature = self._ask("nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU)
        processes = self._processes(handle)
        answers = (memory, rates, power, temperature, processes)
        silent = all(answer is None for answer in answers)
        return Device(
            index=self._index,
            name=str(self._ask("nvmlDeviceGetName", handle) or "GPU"),
            memory_total=None if memory is None else int(memory.total),
            memory_used=None if memory is None else int(memory.used),
            utilisation=None if rates is None else int(rates.gpu),
            temperature=None if temperature is None else int(temperature),
            power=None if power is None else power / 1000,
            processes=processes,
            power_limit=None if limit is None else limit / 1000,
            problem=self._lost if silent else "",
        )

    def _ask(self, query: str, *arguments: Any) -> Any:
        """The answer; None where there is none."""
        try:
            return getattr(self._nvml, query)(*arguments)
        except self._failures as error:
            if getattr(error, "value", None) in _SESSION_LOST:
                self._lost = _words(error)
            return None

    def _processes(self, handle: Any) -> dict[int, int | None] | None:
        """Those that compute and those that draw; who does both is in both lists, in full."""
        used: dict[int, int | None] = {}
        known = False
        for kind in ("Compute", "Graphics"):
            found = self._ask(f"nvmlDeviceGet{kind}RunningProcesses", handle)
            if found is None:
                continue
            known = True
            listed: dict[int, int | None] = {}
            for each in found:  # on MIG once for each instance
                listed[each.pid] = _both(listed.get(each.pid), each.usedGpuMemory)
            for pid, size in listed.items():
                used[pid] = max((x for x in (used.get(pid), size) if x is not None), default=None)
        return used if known else None


def _both(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _failures(nvml: Any) -> tuple[type[Exception], ...]:
    """What a query may raise: a driver older or odder than the package, too."""
    return (nvml.NVMLError, OSError, ValueError, AttributeError)


def _words(error: Exception) -> str:
    code = getattr(error, "value", None)
    if code is None:
        return f"NVML fails: {error}"
    return _REASONS.get(code, f"NVML says: {error}")
