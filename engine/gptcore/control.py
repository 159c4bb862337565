"""Commands from the studio to a run, and whether the run lives.

A command is a file in ``logs/<run>/control/``; the engine takes it between two steps and answers
with an event. Liveness is the kernel's: an flock on ``logs/<run>/lock``, held by the supervisor
and, by inheritance, by its stage process, so a run whose supervisor died counts as alive until
its orphaned stage has ended too.
"""

import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import Literal

import msgspec

from gptcore.workspace import RunPaths, make_private_dir, write_atomic

CommandName = Literal["stop", "pause", "resume", "checkpoint", "sample"]


class Command(msgspec.Struct, frozen=True):
    """One command.

    Attributes:
        id: Unique, and sorts by time.
        name: What to do.
        time: When it was given, seconds since the epoch.
    """

    id: str
    name: CommandName
    time: float


def send(run: RunPaths, name: CommandName) -> Command:
    """Drop a command for `run`; it is answered by an event with the same id."""
    command = Command(f"{time.time_ns():020d}-{secrets.token_hex(4)}", name, time.time())
    make_private_dir(run.control)
    write_atomic(run.control / f"{command.id}.json", msgspec.json.encode(command), durable=False)
    return command


def pending(run: RunPaths) -> list[Command]:
    """Commands that nobody has taken yet, oldest first; what cannot be read is passed over."""
    return [command for path in _files(run) if (command := _read(path)) is not None]


def take(run: RunPaths) -> list[Command]:
    """Remove and return the pending commands, oldest first."""
    commands = []
    for path in _files(run):
        command = _read(path)
        path.unlink(missing_ok=True)
        if command is not None:
            commands.append(command)
    return commands


def _read(path: Path) -> Command | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Command)
    except (OSError, msgspec.DecodeError):
        return None


def _files(run: RunPaths) -> list[Path]:
    try:
        names = os.listdir(run.control)
    except FileNotFoundError:
        return []
    return [run.control / name for name in sorted(names) if name[0].isdigit()]


class FileLock:
    """An exclusive flock, held from `acquire` until every process that inherited it is gone.

    Args:
        path: The lock file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    @property
    def descriptor(self) -> int:
        """The locked descriptor, to hand on to a child."""
        return self._descriptor

    def acquire(self, timeout: float = 0.0) -> bool:
        """Take the lock, trying for `timeout` seconds; whether it worked.

        A reader that asks `is_locked` holds the lock for an instant, so whoever means to keep it
        should allow a second.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return False
                time.sleep(0.02)
            else:
                self._descriptor = descriptor
                return True

    def release(self) -> None:
        """Give up this process's hold."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def is_alive(run: RunPaths) -> bool:
    """Whether any process of `run` lives: its supervisor, its stage, or a worker of torchrun."""
    return any(is_locked(path) for path in (run.lock, *worker_locks(run)))


def worker_lock(run: RunPaths, rank: int) -> FileLock:
    """The lock of one process of several that train together: torchrun hands none on."""
    return FileLock(run.folder / f"lock.{rank}")


def worker_locks(run: RunPaths) -> list[Path]:
    """The lock files of the processes that have trained together, held or not."""
    return sorted(run.folder.glob("lock.[0-9]*"))


def is_locked(path: Path) -> bool:
    """Whether some process holds the flock on `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
