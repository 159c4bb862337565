"""The sheet before a run starts: what it takes beside what there is; nothing starts without it."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.widget import Widget
from textual.widgets import Static

from gptcore.text import steady
from gptstudio.app.dialogs.base import WIDTH, Dialog
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
#: Main memory that Python and PyTorch take before any tensor, in bytes.
_TORCH_ITSELF = 400 << 20


class ReviewSheet(Dialog[bool]):
    """Shows a `Review` once it is there; answers whether to start.

    Args:
        profile: Name of the profile.
        hardware: What is free, as last seen.
        readonly: Whether starting is refused.
    """

    BINDINGS = bindings("review")

    def __init__(self, profile: str, hardware: "Hardware | None", *, readonly: bool) -> None:
        hints = "read-only   esc close" if readonly else "esc cancel"
        super().__init__(f"Start a run of {steady(profile)}?", hints)
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
            self._fill()

    def on_resize(self, event: Resize) -> None:
        """Lay the lines out for the new width; a dialog is told its first size too."""
        super().on_resize(event)
        self._fill()

    def _fill(self) -> None:
        if self._review is None:
            return
        width = max(20, min(WIDTH, self.app.size.width * 96 // 100) - 4)
        self.query_one("#sheet", Static).update(sheet(self._review, self._hardware, width))
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
    facts: list[Fact] = [("stages", ", ".join(_stages(review)), "")]
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


def _stages(review: Review) -> list[str]:
    return [
        f"{stage} (up to date: skipped)" if stage in review.up_to_date else stage
        for stage in review.stages
    ]


def _data(review: Review) -> list[Fact]:
    size, tokens = human_bytes(review.bytes), human_count(review.tokens)
    facts: list[Fact] = []
    if review.files:
        facts.append(("data", f"{review.files} files, {size}, about {tokens} tokens", ""))
    several = len(review.rows) > 1
    for rows in review.rows:
        files = f"{rows.files} file{'s' if rows.files > 1 else ''} of {rows.noun}"
        readers = f" for {', '.join(rows.stages)}" if several else ""
        facts.append(("" if facts else "data", f"{files}, {human_bytes(rows.bytes)}{readers}", ""))
    facts += _pretraining(review) if review.steps else []
    for number, (stage, words) in enumerate(review.tuning.items()):
        told = f"{stage}: {words}" if len(review.tuning) > 1 else words
        facts.append(("" if number else "tuning", told, ""))
    return facts


def _pretraining(review: Review) -> list[Fact]:
    passes = review.trained_tokens / review.tokens if review.tokens else 0.0
    seen = f"{human_count(review.trained_tokens)} tokens, {passes:.1f} passes over the data"
    took = "not known before the first steps of such a run"
    if review.seconds is not None:
        length = human_time(review.seconds) if review.seconds >= 60 else "a minute at most"
        took = f"about {length}, at the speed of {review.like}"
    return [("steps", f"{review.steps:,}: {seen}", ""), ("time", took, "")]


def _memory(review: Review, need: "Estimate", hardware: "Hardware | None") -> list[Fact]:
    on_cpu = review.device == "cpu"
    where = "of main memory" if on_cpu else "on each GPU"
    where += f" in {review.need_of}" if len(review.stages) > 2 else ""
    parts = sorted(need.parts().items(), key=lambda part: -part[1])
    told = ", ".join(f"{name} {human_bytes(size)}" for name, size in parts if size)
    facts: list[Fact] = [("memory", f"about {human_bytes(need.total)} {where}", ""), ("", told, "")]
    if on_cpu:
        facts.append(("", f"besides some {human_bytes(_TORCH_ITSELF)} for Python and torch", ""))
    if hardware is None:
        return [*facts, ("free", "not looked at yet", "$muted")]
    if on_cpu:
        host, taken = hardware.host, need.total + _TORCH_ITSELF
        return [*facts, _room("free", taken, host.memory_used, host.memory_total)]
    for gpu in hardware.gpus:
        device = gpu.device
        if device.index not in review.devices:
            continue
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
    wrapped = textwrap.wrap(steady(words), max(8, width - _LABELS))
    return [
        Content.assemble(((label if number == 0 else "").ljust(_LABELS), "$muted"), (line, style))
        for number, line in enumerate(wrapped)
    ]
