"""Waiting for a device: a queue without a daemon.

A queued run is its own supervisor, waiting with a ticket ``queue/<n>-<run>``. Tickets are looked
at, and devices claimed, under one flock. A device is free when no other run of this workspace is on
it and, for a GPU, when the run's estimate fits what NVML says is free.
"""

from collections.abc import Callable
from pathlib import Path

from gptcore.control import FileLock, is_locked
from gptcore.devices import list_devices, visible_devices
from gptcore.lineage import find_parent
from gptcore.profile import Profile
from gptcore.run_memory import estimate_stages, largest
from gptcore.settings import EngineSettings
from gptcore.status import LIVE, observe
from gptcore.workspace import RunPaths, Workspace, make_private_dir, write_atomic

LOCK_TIMEOUT_S = 10.0


def devices_for(settings: EngineSettings) -> list[str]:
    """The physical devices a run will compute on, such as `["cuda:0", "cuda:1"]` or `["cpu"]`."""
    visible = [device.index for device in visible_devices()]
    if settings.device == "cpu" or (settings.device == "auto" and not visible):
        return ["cpu"]
    if ":" in settings.device:
        first, count = int(settings.device.partition(":")[2]), 1
    else:
        first, count = 0, settings.processes
    wanted = range(first, first + count)
    return [f"cuda:{visible[number] if number < len(visible) else number}" for number in wanted]


class Ticket:
    """A run's place in the queue.

    Args:
        workspace: Whose queue.
        run: The run that waits; its lock is held by this process.
        devices: What it wants.
    """

    def __init__(self, workspace: Workspace, run: RunPaths, devices: list[str]) -> None:
        self._workspace = workspace
        self._run = run
        self._devices = set(devices)
        self._folder = make_private_dir(workspace.queue)
        self._lock = FileLock(self._folder / "lock")
        with self._locked():
            for left in self._folder.glob(f"[0-9]*-{run.name}"):  # by an attempt that was killed
                if left.name.partition("-")[2] == run.name:
                    left.unlink(missing_ok=True)
            numbers = [number for number, _, _ in self._tickets()]
            self._number = max(numbers, default=0) + 1
            write_atomic(self._path, " ".join(devices))

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._number:06d}-{self._run.name}"

    def try_claim(self, profile: Profile, micro_batch: int, claim: Callable[[], None]) -> str:
        """Claim the devices if they are free; else say what the run waits for.

        Args:
            profile: For the estimate of memory.
            micro_batch: In place of the profile's, after memory ran out; 0: the profile's.
            claim: Called under the queue's lock to put the claim on record.

        Returns:
            Empty where the claim was made.
        """
        with self._locked():
            for number, name, devices in self._tickets():
                if number < self._number and devices & self._devices:
                    return f"behind {name} in the queue"
            for name in self._other_runs():
                status = observe(self._workspace.run(name))
                if status is None or status.state not in LIVE or status.state == "queued":
                    continue
                if shared := self._devices & set(status.device.split()):
                    return f"{', '.join(sorted(shared))} is in use by {name}"
            if reason := self._lacks_memory(profile, micro_batch):
                return reason
            claim()
            self._path.unlink(missing_ok=True)
            return ""

    def give_up(self) -> None:
        """Leave the queue."""
        self._path.unlink(missing_ok=True)

    def _locked(self) -> FileLock:
        if not self._lock.acquire(LOCK_TIMEOUT_S):
            raise TimeoutError(f"another process has held {self._folder / 'lock'} for too long")
        return self._lock

    def _tickets(self) -> list[tuple[int, str, set[str]]]:
        """Number, run and devices of each ticket whose run still lives."""
        tickets = []
        for path in sorted(self._folder.glob("[0-9]*-*")):
            number, _, name = path.name.partition("-")
            if is_locked(self._workspace.run(name).lock):
                tickets.append((int(number), name, set(path.read_text().split())))
            else:
                path.unlink(missing_ok=True)
        return tickets

    def _other_runs(self) -> list[str]:
        folders = self._workspace.logs.iterdir()
        return sorted(
            path.name for path in folders if path.is_dir() and path.name != self._run.name
        )

    def _lacks_memory(self, profile: Profile, micro_batch: int) -> str:
        wanted = {int(name[5:]) for name in self._devices if name.startswith("cuda:")}
        if not wanted:
            return ""
        named = profile.pipeline.parent
        parent = find_parent(self._workspace, named) if named else None
        found = largest(estimate_stages(profile, parent, micro_batch))
        if found is None:
            return ""
        need = found[1].total
        for device in list_devices():
            if device.index not in wanted or not device.memory_total or not device.memory_used:
                continue
            free = device.memory_total - device.memory_used
            if free < need <= device.memory_total:  # one that never fits is left to halve itself
                return (
                    f"cuda:{device.index} has {free / 2**30:.1f} GiB free,"
                    f" {need / 2**30:.1f} GiB are needed"
                )
        return ""
