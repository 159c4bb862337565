"""Which numbers of which events are metrics, and how their lines are decoded in bulk."""

import functools
import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from gptcore import events


class Metric(NamedTuple):
    """A number to plot.

    Args:
        name: Of the metric.
        series: Measured together with the others of that series: the kind of their events, or
            `HELD_OUT`.
        field: In the payload of those events; empty: as the metric is called.
    """

    name: str
    series: str
    field: str = ""


#: The kind that comes by the million, and whose `tokens` are those trained on so far.
STEP = "step"
#: The kind that comes as often where rewards are learned from.
REWARD = "reward"
#: Events of that kind that are about data that is not learned from.
HELD_OUT = "held-out reward"

#: Rewards that are plotted by name, of those that add up to one: the first that come.
MOST_PARTS = 8
#: What is kept of their names, in characters.
PART_LENGTH = 100

#: A metric more is a line more.
METRICS = (
    Metric("loss", STEP),
    Metric("lr", STEP),
    Metric("grad_norm", STEP),
    Metric("tokens_per_s", STEP),
    Metric("mfu", STEP),
    Metric("memory", STEP),
    Metric("val_loss", "eval"),
    Metric("reward", REWARD, "mean"),
    Metric("reward_std", REWARD, "std"),
    Metric("kl", REWARD),
    Metric("entropy", REWARD),
    Metric("clip_fraction", REWARD),
    Metric("value_loss", REWARD),
    Metric("length", REWARD),
    Metric("guidance", REWARD),
    Metric("accuracy", REWARD),
    Metric("margin", REWARD),
    Metric("val_reward", HELD_OUT, "mean"),
    Metric("val_accuracy", HELD_OUT, "accuracy"),
    Metric("val_margin", HELD_OUT, "margin"),
)

#: What decoding raises for a line that is no event: the last, for one nested too deeply.
BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Forms(NamedTuple):
    """How lines are decoded: one type a kind, so that a chunk of them is one call.

    Args:
        step: Of a line of kind `step`, whose data is tokens and metrics.
        reward: Of a line of kind `reward`, whose data is metrics, parts, and whether it is about
            data that is held out.
        line: Decodes any line; the data of all other kinds stays encoded.
        numbers: Decodes the data of those of them that have metrics.
    """

    step: type[msgspec.Struct]
    reward: type[msgspec.Struct]
    line: msgspec.json.Decoder[Any]
    numbers: dict[str, msgspec.json.Decoder[Any]]


@functools.cache
def forms() -> Forms:
    """The types and decoders that `METRICS` and the kinds of events ask for."""
    step = _numbers(STEP, ("tokens", *_fields(STEP)))
    extra: list[tuple[Any, ...]] = [("parts", dict[str, float | None], {})]
    extra += [("held_out", bool, False)]
    reward = _numbers(REWARD, dict.fromkeys((*_fields(REWARD), *_fields(HELD_OUT))), extra)
    bulk: dict[str, Any] = {STEP: _line(STEP, step), REWARD: _line(REWARD, reward)}
    others = {metric.series for metric in METRICS} - {*bulk, HELD_OUT}
    numbers = {kind: _numbers(kind, ("tokens", *_fields(kind))) for kind in others}
    types = {kind: bulk.get(kind) or _line(kind, None) for kind in {*events.KINDS, *others}}
    either: Any = functools.reduce(operator.or_, types.values())
    decoders = {kind: msgspec.json.Decoder(each) for kind, each in numbers.items()}
    return Forms(bulk[STEP], bulk[REWARD], msgspec.json.Decoder(either), decoders)


def _fields(series: str) -> list[str]:
    return [metric.field or metric.name for metric in METRICS if metric.series == series]


def _numbers(kind: str, names: Iterable[str], extra: Iterable[tuple[Any, ...]] = ()) -> Any:
    """The type of a payload: these numbers, and what else is in it."""
    fields = [(name, float | None, None) for name in names]
    return msgspec.defstruct(f"Numbers_{kind}", [*fields, *extra], gc=False, frozen=True)


def _line(kind: str, numbers: Any) -> Any:
    """The type of a line; without `numbers` its data stays encoded."""
    head: list[Any] = [("time", float)]
    tail: list[Any] = [("stage", str, "")]
    if numbers is not None:
        tail += [("step", float | None, None), ("data", numbers, numbers())]
    else:
        head += [("run", str)]
        tail += [("step", int | None, None), ("data", msgspec.Raw, msgspec.Raw(b"{}"))]
        tail += [("v", int, events.VERSION)]
    return msgspec.defstruct(f"Line_{kind}", head + tail, tag_field="kind", tag=kind, gc=False)


def decoded(lines: memoryview) -> list[Any]:
    """The lines of a chunk; those that are broken or of a kind not known are passed over."""
    decoder = forms().line
    try:
        return decoder.decode_lines(lines)
    except BROKEN:
        pass
    found = []
    for line in bytes(lines).split(b"\n"):
        try:
            found.append(decoder.decode(line))
        except BROKEN:
            pass
    return found


def part_metric(number: int) -> str:
    """The metric that is the reward of that number, counted from 0, among the named ones."""
    return f"part {number}"


@functools.cache
def places() -> dict[str, tuple[str, int]]:
    """The series that each metric is in, and its place among the metrics there."""
    found: dict[str, tuple[str, int]] = {}
    parts = [Metric(part_metric(number), REWARD) for number in range(MOST_PARTS)]
    for metric in (*METRICS, *parts):
        place = sum(series == metric.series for series, _ in found.values())
        found[metric.name] = (metric.series, place)
    return found


@functools.cache
def reward_row(series: str) -> "operator.attrgetter[tuple[float | None, ...]]":
    """Takes from the data of a reward event the metrics of that series, in their order."""
    return operator.attrgetter(*_fields(series))
