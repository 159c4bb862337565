"""The sheet before a run starts: what it takes beside what there is; nothing starts without it."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from gptcore.text import clean
from gptstudio.app.dialogs.base import Dialog
from gptstudio.app.keys import bindings
from gptstudio.services.review import Review
from gptstudio.text import human_bytes, human_count, human_time

if TYPE_CHECKING:
    from gptcore.memory import Estimate
    from gptstudio.services.hardware import Gpu, Hardware

#: A label, what is so, and its style; what is so may be outside text.
Fact = tuple[str, str, str]

#: Width of the labels, in cells.
_LABELS = 9
#: Warnings that are shown; the rest is counted.
_MOST_WARNINGS = 4


class ReviewSheet(Dialog[bool]):
    """Shows a `Review` once it is there; answers whether to start.

    Args:
        profile: Name of the profile.
        hardware: What is free, as last seen.
        readonly: Whether starting is refused.
    """

    BINDINGS = bindings("review")

    def __init__(self, profile: str, hardware: "Hardware | None", *, readonly: bool) -> None:
        super().__init__(f"Start a run of {clean(profile)}?", "esc cancel")
        self._hardware = hardware
        self._readonly = readonly
        self._review: Review | None = None

    def content(self) -> list[Widget]:
        """The sheet, filled in by `show`."""
        return [Static("looking at data, memory and devices ...", id="sheet", markup=False)]

    def show(self, review: Review) -> None:
        """Fill the sheet in, now or once it is there."""
        self._review = review
        if self.is_mounted:
            self.on_mount()

    def on_mount(self) -> None:
        """Show what is known by now."""
        if self._review is None:
            return
        place = self.query_one("#sheet", Static)
        width = max(30, self.query_one(Vertical).container_size.width - 6)
        place.update(sheet(self._review, self._hardware, min(70, width)))
        if self._may_start:
            verb = "queue" if self._review.waits_for else "start"
            hints = Content(f"s or enter {verb}   esc cancel")
            self.query_one(Vertical).border_subtitle = hints

    def action_start(self) -> None:
        """Start it, once it has been shown and can be."""
        if self._may_start:
            self.dismiss(True)

    @property
    def _may_start(self) -> bool:
        return self._review is not None and self._review.problem is None and not self._readonly


def sheet(review: Review, hardware: "Hardware | None", width: int) -> Content:
    """The review as lines of at most `width` cells."""
    facts: list[Fact] = [("stages", ", ".join(review.stages), "")]
    if review.profile.description:
        facts.append(("", review.profile.description, ""))
    if review.problem is not None:
        problem = review.problem
        facts += [
            ("✗", problem.what, "bold"),
            ("where", problem.where, ""),
            ("to do", problem.fix, ""),
        ]
    else:
        facts += _data(review)
        if review.need is not None:
            facts += _memory(review, review.need, hardware)
        if review.waits_for:
            facts.append(("queue", f"waits until {review.waits_for} gives its device back", ""))
        facts += _warnings(review.warnings)
    return Content("\n").join(line for fact in facts if fact[1] for line in _lines(fact, width))


def _data(review: Review) -> list[Fact]:
    size, tokens = human_bytes(review.bytes), human_count(review.tokens)
    facts: list[Fact] = [("data", f"{review.files} files, {size}, about {tokens} tokens", "")]
    if not review.steps:
        return facts
    passes = review.trained_tokens / review.tokens if review.tokens else 0.0
    seen = f"{human_count(review.trained_tokens)} tokens, {passes:.1f} passes over the data"
    took = "not known before the first steps of such a run"
    if review.seconds is not None:
        length = human_time(review.seconds) if review.seconds >= 60 else "a minute at most"
        took = f"about {length}, at the speed of {review.like}"
    return [*facts, ("steps", f"{review.steps:,}: {seen}", ""), ("time", took, "")]


def _memory(review: Review, need: "Estimate", hardware: "Hardware | None") -> list[Fact]:
    where = "of main memory" if review.device == "cpu" else "on each GPU"
    parts = sorted(need.parts().items(), key=lambda part: -part[1])
    told = ", ".join(f"{name} {human_bytes(size)}" for name, size in parts if size)
    facts: list[Fact] = [("memory", f"about {human_bytes(need.total)} {where}", ""), ("", told, "")]
    if hardware is None:
        return facts
    if review.device == "cpu":
        host = hardware.host
        return [*facts, _room("free", need.total, host.memory_used, host.memory_total)]
    for gpu in hardware.gpus:
        device = gpu.device
        label = f"GPU{device.index}"
        facts.append(_room(label, need.total, device.memory_used, device.memory_total))
        facts += [("", f"held by {words}", "") for words in _holders(gpu)]
    return facts


def _room(label: str, need: int, used: int | None, total: int | None) -> Fact:
    if used is None or total is None:
        return (label, "N/A", "")
    free = total - used
    room = f"{human_bytes(free)} of {human_bytes(total)} free"
    if need <= free:
        return (label, f"{room}: fits", "$text-success")
    return (label, f"{room}: does not fit now", "$text-warning")


def _holders(gpu: "Gpu") -> list[str]:
    return [
        f"{process.owner or 'somebody'}: {(process.run or process.command or process.pid)!s:.40}"
        f"  {'N/A' if process.bytes is None else human_bytes(process.bytes)}"
        for process in (gpu.processes or ())[:3]
    ]


def _warnings(warnings: Sequence[str]) -> list[Fact]:
    facts: list[Fact] = [("!", words, "$text-warning") for words in warnings[:_MOST_WARNINGS]]
    if len(warnings) > _MOST_WARNINGS:
        facts.append(("!", f"and {len(warnings) - _MOST_WARNINGS} more warnings", "$text-warning"))
    return facts


def _lines(fact: Fact, width: int) -> list[Content]:
    """A fact with its label, later lines under its first."""
    label, words, style = fact
    wrapped = textwrap.wrap(clean(words), max(8, width - _LABELS))
    return [
        Content.assemble(((label if number == 0 else "").ljust(_LABELS), "$muted"), (line, style))
        for number, line in enumerate(wrapped)
    ]
