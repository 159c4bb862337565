"""GPUs and host as they are now: who uses what, and which of it is ours."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gptcore.devices import Device, Nvml
from gptstudio.services.cgroups import memory_limit

if TYPE_CHECKING:
    import psutil

T = TypeVar("T")

#: Longest command that is kept, in characters.
COMMAND_LENGTH = 200


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process on a GPU; None for what this user may not know.

    Args:
        pid: Process id.
        owner: Name of the user.
        command: The command line without the folder of the program; text from outside.
        bytes: GPU memory it holds.
        run: The run of ours that it belongs to; None for others'.
    """

    pid: int
    owner: str | None
    command: str | None
    bytes: int | None
    run: str | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU and who is on it, the largest first; processes None where NVML will not say."""

    device: Device
    processes: tuple[GpuProcess, ...] | None


@dataclass(frozen=True, slots=True)
class Host:
    """The machine; None for what it does not say.

    Args:
        cpu: Per cent of all cores, since the look before; None at the first.
        cores: How many there are.
        load: Processes that want a core, on average over 1, 5 and 15 minutes.
        memory_used: Bytes.
        memory_total: Bytes; the control group's limit where that is lower.
        swap_used: Bytes.
        swap_total: Bytes.
        disk_free: Bytes that this user may still write to the workspace's file system.
        disk_total: Bytes.
        memory_is_limited: Whether memory is that of a control group, such as a container.
    """

    cpu: float | None = None
    cores: int | None = None
    load: tuple[float, float, float] | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    swap_used: int | None = None
    swap_total: int | None = None
    disk_free: int | None = None
    disk_total: int | None = None
    memory_is_limited: bool = False


@dataclass(frozen=True, slots=True)
class Hardware:
    """One look.

    Args:
        gpus: By index.
        no_gpu: Why there is none, in words; empty where there is one.
        host: The machine.
        at: When it was taken, on the monotonic clock, in seconds.
    """

    gpus: tuple[Gpu, ...]
    no_gpu: str
    host: Host
    at: float


class HardwareMonitor:
    """Looks at GPUs and host, once a second, from one thread at a time; a look blocks.

    Args:
        root: The workspace, for its file system.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._nvml = Nvml()
        self._known: dict[int, _Known] = {}
        self._cpu_before: tuple[float, float] | None = None

    def read(self, runs: Mapping[int, str] | None = None) -> Hardware:
        """Look.

        Args:
            runs: Process id of each supervisor and stage of our live runs, to the run's name.
        """
        devices = self._nvml.read()
        pids = {pid for device in devices for pid in device.processes or ()}
        self._known = {pid: known for pid in pids if (known := self._find_out(pid)) is not None}
        gpus = tuple(Gpu(device, self._processes(device, runs or {})) for device in devices)
        return Hardware(gpus, self._nvml.reason, self._host(), time.monotonic())

    def _processes(self, device: Device, runs: Mapping[int, str]) -> tuple[GpuProcess, ...] | None:
        if device.processes is None:
            return None
        found = []
        for pid, size in device.processes.items():
            known = self._known.get(pid)
            family = (pid, *(known.ancestors if known else ()))
            run = next((runs[each] for each in family if each in runs), None)
            owner, command = (known.owner, known.command) if known else (None, None)
            found.append(GpuProcess(pid, owner, command, size, run))
        return tuple(sorted(found, key=lambda each: (-(each.bytes or 0), each.pid)))

    def _find_out(self, pid: int) -> "_Known | None":
        """What can be known of a process; asked once in its life. None where it has gone."""
        import psutil

        try:
            process = psutil.Process(pid)
            created = process.create_time()
        except psutil.Error:
            return None
        before = self._known.get(pid)
        if before is not None and before.created == created:
            return before
        return _Known(
            created=created,
            owner=_ask(process.username),
            command=_ask(lambda: _command(process)),
            ancestors=_ask(lambda: tuple(each.pid for each in process.parents())) or (),
        )

    def _host(self) -> Host:
        import psutil

        memory, swap = _ask(psutil.virtual_memory), _ask(psutil.swap_memory)
        disk = _ask(lambda: shutil.disk_usage(self._root))
        used = None if memory is None else memory.total - memory.available
        total = None if memory is None else memory.total
        limit = _ask(memory_limit)
        is_limited = limit is not None and (total is None or limit.limit < total)
        if limit is not None and is_limited:
            used, total = limit.used, limit.limit
        return Host(
            cpu=self._cpu(),
            cores=os.cpu_count(),
            load=_ask(os.getloadavg),
            memory_used=used,
            memory_total=total,
            swap_used=None if swap is None else swap.used,
            swap_total=None if swap is None else swap.total,
            disk_free=None if disk is None else disk.free,
            disk_total=None if disk is None else disk.total,
            memory_is_limited=is_limited,
        )

    def _cpu(self) -> float | None:
        """Per cent since the look before.

        `psutil.cpu_percent` remembers the time before by thread, and thread workers change theirs.
        """
        import psutil

        times = _ask(psutil.cpu_times)
        if times is None:
            return None
        # A guest's time is in user and nice already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        idle = times.idle + getattr(times, "iowait", 0.0)
        before, self._cpu_before = self._cpu_before, (total, idle)
        if before is None or total <= before[0]:
            return None
        share = 1 - float(idle - before[1]) / float(total - before[0])
        return min(100.0, max(0.0, 100 * share))


@dataclass(frozen=True, slots=True)
class _Known:
    """What stays true of a process as long as it lives."""

    created: float
    owner: str | None
    command: str | None
    ancestors: tuple[int, ...]


def _command(process: "psutil.Process") -> str:
    words = process.cmdline()
    if not words or not words[0]:
        return str(process.name())
    if len(words) > 1 or " " not in words[0]:  # a single word with spaces is a title, not a path
        words = [words[0].rsplit("/", 1)[-1], *words[1:]]
    return " ".join(words)[:COMMAND_LENGTH]


def _ask(query: Callable[[], T]) -> T | None:
    """The answer, or None: each thing may fail alone, on odd kernels and in containers."""
    import psutil

    failures: tuple[Any, ...] = (psutil.Error, OSError, ValueError, KeyError, RuntimeError)
    try:
        return query()
    except failures:
        return None
