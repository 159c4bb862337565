"""The curves of one stage as its events come: what belongs together, and what a resume undid."""

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeGuard

import msgspec
from msgspec.structs import astuple

from gptstudio.services.curves import AXES, Axis, Curve
from gptstudio.services.metric_events import (
    BROKEN,
    HELD_OUT,
    MOST_PARTS,
    PART_LENGTH,
    REWARD,
    STEP,
    forms,
    places,
    reward_row,
)
from gptstudio.services.thinning import Series, Snapshot


@dataclass(frozen=True, slots=True)
class StageMetrics:
    """The metrics of one stage.

    Args:
        name: Of the stage.
        began: Wall time of its first start or measurement.
        series: What was measured, by name of the series.
        parts: Names of the rewards that are measured each; the first is the metric
            `metric_events.part_metric(0)`. Text from outside.
        has_more_parts: Whether there are others, which are not kept.
    """

    name: str
    began: float
    series: Mapping[str, Snapshot]
    parts: tuple[str, ...] = ()
    has_more_parts: bool = False

    def curve(self, metric: str, axis: Axis = "step", last: float | None = None) -> Curve:
        """A metric; without points where it was never measured.

        Args:
            metric: A name in `metric_events.places`.
            axis: What `x` is: steps, seconds since the stage began, or tokens trained on.
            last: Only what is not further than this behind the newest point of the stage.
        """
        number = AXES.index(axis)
        name, column = places()[metric]
        series = self.series.get(name)
        if series is None:
            return Curve()
        x = series.axes[number]
        if axis == "time":
            x = array("d", [value - self.began for value in x])
        curve = Curve(x, *series.metrics[column])
        if last is None or not curve:
            return curve
        newest = max(each.axes[number][-1] for each in self.series.values() if each.axes[number])
        return curve.since(newest - last - (self.began if axis == "time" else 0.0))

    def has(self, metric: str) -> bool:
        """Whether there is a finite value of it."""
        return any(value == value for value in self.curve(metric).mean)


#: Step, wall time, tokens and metrics.
_Point = tuple[float | None, float, tuple[float | None, ...]]


class _Batch(NamedTuple):
    """Measurements of one series, in columns."""

    steps: list[float | None]
    times: list[float]
    rows: list[tuple[float | None, ...]]


class StageSeries:
    """The series of one stage."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._began: float | None = None
        self._series: dict[str, Series] = {}
        self._part_names: tuple[str, ...] = ()
        self._has_more_parts = False

    def begin(self, when: float) -> None:
        """The stage was started, or measured for the first time."""
        if self._began is None:
            self._began = when

    def take(self, lines: list[Any]) -> None:
        """Append steps and rewards, in their order."""
        if set(map(type, lines)) == {forms().step}:
            steps, times = [line.step for line in lines], [line.time for line in lines]
            self._add(STEP, steps, times, map(astuple, [line.data for line in lines]))
            return
        found = self._divided(lines)
        last = {name: series.last_step for name, series in self._series.items()}
        if len(lines) == 1 or all(
            _is_rising(batch.steps, last.get(name, -math.inf)) for name, batch in found.items()
        ):
            for name, batch in found.items():
                self._add(name, *batch)
            return
        for line in lines:  # what goes back undoes the other series, too
            self.take([line])

    def _divided(self, lines: list[Any]) -> dict[str, _Batch]:
        """Lines of steps and rewards by the series that they belong to."""
        step_type: Any = forms().step
        tokens = self._tokens()
        learned, held_out = reward_row(REWARD), reward_row(HELD_OUT)
        found: dict[str, list[_Point]] = {STEP: [], REWARD: [], HELD_OUT: []}
        add_step, add_reward = found[STEP].append, found[REWARD].append
        for line in lines:
            data = line.data
            if type(line) is step_type:
                add_step((line.step, line.time, astuple(data)))
                tokens = tokens if data.tokens is None else data.tokens
            elif data.held_out:
                found[HELD_OUT].append((line.step, line.time, (tokens, *held_out(data))))
            else:
                row = (tokens, *learned(data), *self._part_values(data.parts))
                add_reward((line.step, line.time, row))
        return {
            name: _Batch(*map(list, zip(*points, strict=True)))
            for name, points in found.items()
            if points
        }

    def _part_values(self, parts: dict[str, float | None]) -> Iterable[float | None]:
        """The rewards by name, each at the place of its name."""
        if tuple(parts) == self._part_names:  # as nearly always
            return (*parts.values(), *[None] * (MOST_PARTS - len(parts)))
        values: list[float | None] = [None] * MOST_PARTS
        for name in parts:
            short = name[:PART_LENGTH]
            if short not in self._part_names:
                if len(self._part_names) == MOST_PARTS:
                    self._has_more_parts = True
                    continue
                self._part_names += (short,)
            values[self._part_names.index(short)] = parts[name]
        return values

    def add_one(self, kind: str, step: int | None, when: float, data: msgspec.Raw) -> None:
        """Append the measurement of an event whose payload is still encoded."""
        try:
            numbers = forms().numbers[kind].decode(data)
            where = None if step is None else float(step)
        except (*BROKEN, OverflowError):
            return
        # Its own tokens may be others, such as those evaluated on.
        row = astuple(msgspec.structs.replace(numbers, tokens=self._tokens()))
        self._add(kind, [where], [when], [row])

    def _tokens(self) -> float | None:
        """Tokens trained on so far; None: not known."""
        steps = self._series.get(STEP)
        return steps.last_tokens if steps else None

    def _add(
        self,
        name: str,
        steps: list[float | None],
        times: list[float],
        rows: Iterable[tuple[float | None, ...]],
    ) -> None:
        """Append measurements of a series.

        One that goes back to a step before the last, as of a stage that was started anew without
        a word of where it resumes, undoes what had come from that step on.
        """
        self.begin(times[0])
        series = self._series.get(name)
        if series is None:
            series = self._series[name] = Series(sum(each == name for each, _ in places().values()))
        if _is_rising(steps, series.last_step):
            series.extend(steps, times, rows)
            return
        for step, when, row in zip(steps, times, rows, strict=True):
            if step is None:
                continue
            if step < series.last_step:
                self.undo(math.nextafter(step, -math.inf))
            series.extend([step], [when], [row])

    def undo(self, step: float) -> None:
        """Drop what lies behind `step`."""
        for series in self._series.values():
            series.undo(step)

    def snapshot(self) -> StageMetrics:
        """The series as they are now."""
        series = MappingProxyType({name: each.snapshot() for name, each in self._series.items()})
        return StageMetrics(
            self._name, self._began or 0.0, series, self._part_names, self._has_more_parts
        )


def _is_rising(steps: list[float | None], floor: float) -> TypeGuard[list[float]]:
    try:
        return steps[0] >= floor and sorted(steps) == steps  # type: ignore
    except TypeError:  # one has no number
        return False
