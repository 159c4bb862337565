"""Where things are in the person's workspace, and how files get there whole or not at all."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gptcore.errors import UserError

#: Names a variable that holds the workspace when none is given on the command line.
WORKSPACE_VARIABLE = "GPTSTUDIO_WORKSPACE"

#: Seconds after which a half-made folder is nobody's, also where several machines share a disk.
ABANDONED_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The run record of one run: ``logs/<run>/`` and what lies in it."""

    name: str
    folder: Path

    @property
    def profile(self) -> Path:
        """Settings as resolved, frozen at start."""
        return self.folder / "profile.toml"

    @property
    def inputs(self) -> Path:
        """The files and parents that the run learns from, frozen when a stage first starts."""
        return self.folder / "inputs.json"

    @property
    def status(self) -> Path:
        """State, stage, step, pids, heartbeat; replaced atomically by the supervisor alone."""
        return self.folder / "status.json"

    @property
    def lock(self) -> Path:
        """The file whose flock says that the run lives."""
        return self.folder / "lock"

    @property
    def events(self) -> Path:
        """Metrics, samples, checkpoints, warnings; append-only."""
        return self.folder / "events.jsonl"

    @property
    def log(self) -> Path:
        """What the run's processes printed."""
        return self.folder / "training.log"

    @property
    def control(self) -> Path:
        """One file a command."""
        return self.folder / "control"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A person's working folder.

    Args:
        root: Absolute path of the workspace.
    """

    root: Path

    @classmethod
    def locate(cls, given: Path | None = None) -> "Workspace":
        """The workspace given, else that of ``GPTSTUDIO_WORKSPACE``, else the current folder.

        Raises:
            UserError: The folder does not exist.
        """
        root = given or Path(os.environ.get(WORKSPACE_VARIABLE) or Path.cwd())
        if not root.is_dir():
            raise UserError(
                "the workspace does not exist",
                where=str(root),
                fix=f"gptstudio init {root}",
            )
        return cls(root.resolve())

    @property
    def datasets(self) -> Path:
        """Input data."""
        return self.root / "datasets"

    @property
    def profiles(self) -> Path:
        """The person's settings files."""
        return self.root / "profiles"

    @property
    def tokenizers(self) -> Path:
        """Trained tokenizers, a folder each."""
        return self.root / "tokenizers"

    @property
    def models(self) -> Path:
        """Finished models, a Hugging Face folder each."""
        return self.root / "models"

    @property
    def logs(self) -> Path:
        """Run records, a folder each."""
        return self.root / "logs"

    @property
    def cache(self) -> Path:
        """What can be made again: token shards, file digests."""
        return self.root / "cache"

    @property
    def queue(self) -> Path:
        """Tickets of runs that wait for a device."""
        return self.root / "queue"

    def run(self, name: str) -> RunPaths:
        """The record of the run called `name`, whether or not it exists."""
        return RunPaths(name, self.logs / name)

    def checkpoints(self, run: str, stage: str) -> Path:
        """The folder of checkpoints of one stage of one run."""
        return self.root / "checkpoints" / run / stage

    def relative(self, path: Path) -> str:
        """`path` as the person would type it from the workspace."""
        try:
            return str(path.relative_to(self.root))
        except ValueError:
            return str(path)


def make_private_dir(path: Path) -> Path:
    """Make `path` (and its parents), readable by its owner alone."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_atomic(path: Path, data: bytes | str, *, mode: int = 0o600, durable: bool = True) -> None:
    """Replace `path` by `data`: readers see the old file or the new one, never a part.

    Args:
        path: The file to replace; its folder must exist.
        data: The whole new content.
        mode: Permission bits of the new file.
        durable: Whether to wait until the disk has it; status files are written without.
    """
    raw = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        fsync_dir(path.parent)


def fsync_dir(folder: Path) -> None:
    """Wait until the disk has the names in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def new_dir(final: Path) -> Iterator[Path]:
    """Fill a temporary sibling of `final`, then put it there in one rename.

    Everything written is synced to disk before the rename; on an error the sibling is removed
    and `final` never appears.

    Args:
        final: Where the folder shall be; must not exist.

    Yields:
        The folder to write into.
    """
    final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_abandoned(final.parent)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                with (Path(folder) / name).open("rb") as file:
                    os.fsync(file.fileno())
            fsync_dir(Path(folder))
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_dir(final.parent)


def _remove_abandoned(folder: Path) -> None:
    """Remove what `new_dir` began in `folder` in processes that were killed, some time after."""
    for path in folder.glob(".*.*.tmp"):
        pid = path.name.split(".")[-2]
        try:
            old = time.time() - path.stat().st_mtime > ABANDONED_AFTER
        except FileNotFoundError:
            continue
        if old and path.is_dir() and pid.isdigit() and not _is_running(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def replace_link(link: Path, target: Path) -> None:
    """Point the symbolic link `link` at `target`, relative to its folder, in one rename."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(target, link.parent))
    temporary.replace(link)
