"""The memory limit that a container or a service manager sets on this process."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

#: Where the kernel shows control groups.
CGROUP_ROOT = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The lowest limit above this process.

    Args:
        limit: Bytes.
        used: Bytes used by all under that limit, without file pages that can be dropped; None
            where the kernel will not say.
    """

    limit: int
    used: int | None


@dataclass(frozen=True, slots=True)
class _Names:
    """What the files of a control group are called."""

    limit: str
    used: str
    droppable: str


_V2 = _Names("memory.max", "memory.current", "inactive_file")
_V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def memory_limit(root: Path = CGROUP_ROOT, own: Path = OWN_GROUPS) -> MemoryLimit | None:
    """The lowest memory limit of the control groups that this process is in; None without one.

    Version 2 of control groups and version 1 are understood, also inside a container that sees
    its own group as the root.

    Args:
        root: Where the kernel shows control groups.
        own: The file that names the groups of this process.
    """
    try:
        lines = own.read_text().splitlines()
    except (OSError, ValueError):
        return None
    limits = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            limits += _limits(root, path, _V2)
        elif "memory" in controllers.split(","):
            limits += _limits(root / "memory", path, _V1)
    return min(limits, key=lambda found: found.limit, default=None)


def _limits(base: Path, path: str, names: _Names) -> list[MemoryLimit]:
    """Those of a group and of all above it."""
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    folders = [base.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    return [found for folder in folders if (found := _limit(folder, names)) is not None]


def _limit(folder: Path, names: _Names) -> MemoryLimit | None:
    limit = _number(folder / names.limit)
    if limit is None:
        return None
    used = _number(folder / names.used)
    if used is not None:
        used = max(0, used - _droppable(folder / "memory.stat", names.droppable))
    return MemoryLimit(limit, used)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())  # version 2 says "max" where there is no limit
    except (OSError, ValueError):
        return None


def _droppable(file: Path, name: str) -> int:
    try:
        lines = file.read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)
    except (OSError, ValueError, IndexError):
        return 0
