"""Which numbers of which events are metrics, and how their lines are decoded in bulk."""

import functools
import operator
from typing import Any, NamedTuple

import msgspec

from gptcore import events


class Metric(NamedTuple):
    """A number to plot.

    Args:
        name: Of the metric, and of the field in the payload of its events.
        kind: Of those events.
    """

    name: str
    kind: str


#: A metric more is a line more.
METRICS = (
    Metric("loss", "step"),
    Metric("lr", "step"),
    Metric("grad_norm", "step"),
    Metric("tokens_per_s", "step"),
    Metric("mfu", "step"),
    Metric("memory", "step"),
    Metric("val_loss", "eval"),
)
#: The kind that comes by the million, and whose `tokens` are those trained on so far.
STEP = "step"

#: What decoding raises for a line that is no event: the last, for one nested too deeply.
BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Forms(NamedTuple):
    """How lines are decoded: one type a kind, so that a chunk of them is one call.

    Args:
        step: Of a line of kind `step`, whose data is tokens and metrics.
        line: Decodes any line; the data of kinds but `step` stays encoded.
        numbers: Decodes the data of other kinds that have metrics, likewise.
    """

    step: type[msgspec.Struct]
    line: msgspec.json.Decoder[Any]
    numbers: dict[str, msgspec.json.Decoder[Any]]


@functools.cache
def forms() -> Forms:
    """The types and decoders that `METRICS` and the kinds of events ask for."""
    numbers: dict[str, Any] = {}
    for kind in dict.fromkeys(metric.kind for metric in METRICS):
        names = ["tokens", *(metric.name for metric in METRICS if metric.kind == kind)]
        fields = [(name, float | None, None) for name in names]
        numbers[kind] = msgspec.defstruct(f"Numbers_{kind}", fields, gc=False, frozen=True)

    def form(kind: str) -> Any:
        head: list[Any] = [("time", float)]
        tail: list[Any] = [("stage", str, "")]
        if kind == STEP:
            tail += [("step", float | None, None), ("data", numbers[kind], numbers[kind]())]
        else:
            head += [("run", str)]
            tail += [("step", int | None, None), ("data", msgspec.Raw, msgspec.Raw(b"{}"))]
            tail += [("v", int, events.VERSION)]
        return msgspec.defstruct(f"Line_{kind}", head + tail, tag_field="kind", tag=kind, gc=False)

    types = {kind: form(kind) for kind in {*events.KINDS, *numbers}}
    either: Any = functools.reduce(operator.or_, types.values())
    decoders = {kind: msgspec.json.Decoder(numbers[kind]) for kind in numbers}
    return Forms(types[STEP], msgspec.json.Decoder(either), decoders)


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


@functools.cache
def places() -> dict[str, tuple[str, int]]:
    """The kind of event that each metric is in, and its place among the metrics there."""
    found: dict[str, tuple[str, int]] = {}
    for metric in METRICS:
        place = sum(kind == metric.kind for kind, _ in found.values())
        found[metric.name] = (metric.kind, place)
    return found
