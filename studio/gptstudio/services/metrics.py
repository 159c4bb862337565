"""The metrics of a run from its events, for plots: exact, quick, in bounded memory.

A million steps are read in about a second, so a run is simply read from its beginning; what is
kept of it is thinned (`gptstudio.services.thinning`). One thread reads and takes snapshots, any
thread may look at those.
"""

import math
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gptcore import events
from gptstudio.services.curves import AXES, Axis, Curve
from gptstudio.services.metric_events import decoded, forms
from gptstudio.services.stage_series import StageMetrics, StageSeries

__all__ = ["AXES", "Axis", "Metrics", "MetricsReader", "StageMetrics"]

#: Bytes to decode at a time: what fits the processor's cache is decoded twice as fast.
CHUNK = 1 << 18
#: A longer line is no event.
LONGEST_LINE = 1 << 22
NUM_RECENT = 200
#: Stages beyond these are made up.
MOST_STAGES = 64


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a run's events tell, at one moment.

    Args:
        stages: In the order in which they first appeared.
        stage: Name of the one that spoke last; empty: none yet.
        recent: The newest events but steps, rewards and progress, oldest first.
        num_recent: How many of those there have ever been: what came since last time is the
            difference.
        first_time: Wall time of the first event; 0: none yet.
        last_time: Wall time of the newest event.
        share: Of the file that is read, 0 to 1.
    """

    stages: Mapping[str, StageMetrics]
    stage: str = ""
    recent: tuple[events.Event, ...] = ()
    num_recent: int = 0
    first_time: float = 0.0
    last_time: float = 0.0
    share: float = 1.0

    def curve(
        self, metric: str, axis: Axis = "step", last: float | None = None, *, stage: str = ""
    ) -> Curve:
        """A metric of a stage, by default of the one that spoke last."""
        found = self.stages.get(stage or self.stage)
        return found.curve(metric, axis, last) if found else Curve()


class MetricsReader:
    """Follows the events of a run; not for several threads at once.

    Args:
        path: The events file; it may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = (0, 0)
        self._num_read = self._num_recent = 0
        self._start_over()

    def _start_over(self) -> None:
        self._num_read += 1
        self._position = self._size = 0
        self._in_long_line = False
        self._stages: dict[str, StageSeries] = {}
        self._stage = ""
        self._recent: deque[events.Event] = deque(maxlen=NUM_RECENT)
        self._first_time = self._last_time = 0.0

    @property
    def share(self) -> float:
        """Share of the file that is read, 0 to 1."""
        return self._position / self._size if self._size else 1.0

    @property
    def num_read(self) -> int:
        """Bytes that have been read, and times that the file was another one.

        Where it is the same, so is the snapshot.
        """
        return self._num_read

    def read(self, seconds: float | None = None) -> bool:
        """Take in what came since the last call.

        Args:
            seconds: About how long to go on, at most; None: to the end.

        Returns:
            Whether there is more.

        Raises:
            OSError: The file cannot be read. One that is missing is empty.
        """
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if self._position:
                self._start_over()
            return False
        try:
            status = os.fstat(descriptor)
            file = (status.st_dev, status.st_ino)
            if file != self._file or status.st_size < self._position:
                self._start_over()
            self._file, self._size = file, status.st_size
            while self._position < self._size and self._read_chunk(descriptor):
                if time.monotonic() >= deadline:
                    return self._position < self._size
        finally:
            os.close(descriptor)
        return False

    def snapshot(self) -> Metrics:
        """What is known by now."""
        return Metrics(
            MappingProxyType({name: stage.snapshot() for name, stage in self._stages.items()}),
            self._stage,
            tuple(self._recent),
            self._num_recent,
            self._first_time,
            self._last_time,
            self.share,
        )

    def _read_chunk(self, descriptor: int) -> bool:
        """Take in the lines of the next chunk; False where the next line is not whole yet."""
        chunk = os.pread(descriptor, CHUNK, self._position)
        end = chunk.rfind(b"\n") + 1
        if not end:
            chunk = os.pread(descriptor, LONGEST_LINE, self._position)
            end = chunk.find(b"\n") + 1
        if not end and len(chunk) < LONGEST_LINE:
            return False
        start = 0
        if self._in_long_line:
            start = chunk.find(b"\n", 0, end) + 1 or len(chunk)
        self._in_long_line = not end
        self._position += end or len(chunk)
        self._num_read += end or len(chunk)
        if start < end:
            self._take(decoded(memoryview(chunk)[start:end]))
        return True

    def _take(self, lines: list[Any]) -> None:
        """Take in decoded lines: steps and rewards in bulk, all others one by one."""
        if not lines:
            return
        self._first_time = self._first_time or lines[0].time
        self._last_time = lines[-1].time
        in_bulk = {forms().step, forms().reward}
        if set(map(type, lines)) <= in_bulk:
            self._take_bulk(lines)
            return
        for is_bulk, group in groupby(lines, lambda line: type(line) in in_bulk):
            if is_bulk:
                self._take_bulk(list(group))
            else:
                for line in group:
                    self._take_other(line)

    def _take_bulk(self, lines: list[Any]) -> None:
        stages = [line.stage for line in lines]
        if stages.count(stages[0]) != len(stages):
            for _, group in groupby(lines, lambda line: line.stage):
                self._take_bulk(list(group))
        elif (stage := self._stage_of(stages[0])) is not None:
            stage.take(lines)

    def _take_other(self, line: Any) -> None:
        """Take in an event that is neither a step nor a reward."""
        kind = type(line).__struct_config__.tag
        is_measured = kind == "resume" or kind in forms().numbers
        stage = self._stage_of(line.stage) if line.stage or is_measured else None
        if stage is not None:
            if kind == "resume" and line.step is not None:
                stage.undo(line.step)
            elif kind == "stage":
                stage.begin(line.time)
            elif kind in forms().numbers:
                stage.add_one(kind, line.step, line.time, line.data)
        if kind != "progress":
            data = line.data.copy()  # of its own: the chunk may go
            event = events.Event(kind, line.time, line.run, line.stage, line.step, data, line.v)
            self._recent.append(event)
            self._num_recent += 1

    def _stage_of(self, name: str) -> StageSeries | None:
        if name not in self._stages:
            if len(self._stages) == MOST_STAGES:
                return None
            self._stages[name] = StageSeries(name)
        self._stage = name
        return self._stages[name]
