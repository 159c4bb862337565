"""The sources behind the screens: each a service of its own, asked by a thread of its own."""

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from textual.message import Message

from gptcore.status import LIVE, Status
from gptcore.workspace import Workspace
from gptstudio.app.feeds import Feed, Source
from gptstudio.services.runs import RunBook

if TYPE_CHECKING:
    from gptstudio.services.data_answers import Answer
    from gptstudio.services.data_client import DataClient
    from gptstudio.services.datasets import DatasetTree
    from gptstudio.services.hardware import Hardware, HardwareMonitor
    from gptstudio.services.metrics import Metrics, MetricsReader
    from gptstudio.services.profiles import ProfileCard, ProfileWatch

#: Seconds between two questions. Plots are drawn at most twice a second, GPUs read once.
INTERVALS: dict[Source, float] = {
    "runs": 0.5,
    "metrics": 0.5,
    "hardware": 1.0,
    "datasets": 5.0,
    "profile": 2.0,
    "worker": 0.05,
}
#: Seconds of reading after which a first part of a long record is shown.
FIRST_PART = 0.25
#: Seconds to wait for the data worker's next answer before it counts as silent.
WORKER_WAIT = 2.0


class Sources:
    """Starts, steers and rests the feeds.

    Args:
        workspace: What they look at.
        post: Takes their messages, from any thread.
    """

    def __init__(self, workspace: Workspace, post: Callable[[Message], Any]) -> None:
        self._metrics = _MetricsSource(workspace)
        self._hardware = _HardwareSource(workspace)
        self._datasets = _DatasetSource(workspace)
        self._profile = _ProfileSource(workspace)
        self._data = _DataSource(workspace)
        asked: dict[Source, Callable[[], Any]] = {
            "runs": RunBook(workspace).read,
            "metrics": self._metrics.read,
            "hardware": self._hardware.read,
            "datasets": self._datasets.read,
            "profile": self._profile.read,
            "worker": self._data.read,
        }
        self.feeds = {
            source: Feed(source, ask, INTERVALS[source], post) for source, ask in asked.items()
        }
        self._metrics.more = self.feeds["metrics"].wake

    @property
    def data(self) -> "DataClient":
        """Counts files and compares stages, in a process of its own."""
        return self._data.client

    def want(self, needed: frozenset[Source]) -> None:
        """Ask these; the others rest."""
        for source, feed in self.feeds.items():
            feed.want(source in needed)

    def wake(self, source: Source) -> None:
        """Ask this one at once."""
        self.feeds[source].wake()

    def taken(self, source: Source) -> None:
        """Its last message has been taken."""
        self.feeds[source].taken()

    def show_runs(self, names: Sequence[str]) -> None:
        """Read the metrics of these runs."""
        self._metrics.wanted = tuple(names)
        self.wake("metrics")

    def show_profile(self, name: str) -> None:
        """Read this profile."""
        self._profile.wanted = name
        self.wake("profile")

    def know_runs(self, runs: Sequence[Status]) -> None:
        """Tell whose the processes on the devices are."""
        self._hardware.runs = runs

    def know_profile(self, card: "ProfileCard") -> None:
        """Tell which files are in the mix."""
        self._datasets.card = card
        self.wake("datasets")

    def end(self) -> None:
        """Ask no more."""
        for feed in self.feeds.values():
            feed.end()
        self._data.close()


# Each imports its service when it is first asked: the first screen does not wait for that.


class _MetricsSource:
    """The curves of the runs that are wanted."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.wanted: tuple[str, ...] = ()
        self.more: Callable[[], None] = lambda: None
        self._readers: dict[str, MetricsReader] = {}

    def read(self) -> "dict[str, Metrics] | None":
        from gptstudio.services.metrics import MetricsReader

        wanted = self.wanted
        before = {name: reader.num_read for name, reader in self._readers.items()}
        self._readers = {
            name: self._readers.get(name) or MetricsReader(self._workspace.run(name).events)
            for name in wanted
        }
        for name, reader in self._readers.items():
            try:
                if reader.read(FIRST_PART):
                    self.more()
            except OSError:
                if name == wanted[0]:
                    raise  # an overlay that cannot be read takes nothing else away
        if before == {name: reader.num_read for name, reader in self._readers.items()}:
            return None
        return {name: reader.snapshot() for name, reader in self._readers.items()}


class _HardwareSource:
    """GPUs and host, with our runs' processes known as ours."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.runs: Sequence[Status] = ()
        self._monitor: HardwareMonitor | None = None

    def read(self) -> "Hardware":
        from gptstudio.services.hardware import HardwareMonitor

        if self._monitor is None:
            self._monitor = HardwareMonitor(self._workspace.root)
        pids = {
            pid: run.run
            for run in self.runs
            if run.state in LIVE
            for pid in (run.supervisor_pid, run.stage_pid)
            if pid
        }
        return self._monitor.read(pids)


class _DatasetSource:
    """The files under `datasets/`, and which of them the profile takes."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.card: ProfileCard | None = None
        self._last: DatasetTree | None = None

    def read(self) -> "DatasetTree | None":
        from gptstudio.services.datasets import scan

        profile = self.card.profile if self.card else None
        tree = scan(self._workspace, profile)
        if tree == self._last:
            return None
        self._last = tree
        return tree


class _ProfileSource:
    """The profile that the next run starts with."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.wanted = ""
        self._watch: ProfileWatch | None = None

    def read(self) -> "ProfileCard | None":
        from gptstudio.services.profiles import ProfileWatch

        self._watch = self._watch or ProfileWatch(self._workspace)
        if self.wanted:
            self._watch.choose(self.wanted)
        return self._watch.read()


class _DataSource:
    """The data worker's answers."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._client: DataClient | None = None
        self._making = threading.Lock()  # the interface asks, and a feed waits for answers

    @property
    def client(self) -> "DataClient":
        from gptstudio.services.data_client import DataClient

        with self._making:
            self._client = self._client or DataClient(self._workspace)
        return self._client

    def read(self) -> "list[Answer] | None":
        return self.client.wait_for_some(WORKER_WAIT) or None

    def close(self) -> None:
        """Let it end; where it hangs, it ends with its input."""
        if self._client is not None:
            threading.Thread(target=self._client.close, daemon=True).start()
