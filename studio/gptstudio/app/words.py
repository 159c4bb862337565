"""How runs are put into words and marks on the screen; never by colour alone."""

import time
from collections.abc import Sequence
from typing import Literal

from textual.content import Content

from gptcore.status import LIVE, Status, is_hung
from gptcore.text import steady
from gptstudio.run_view import stage_title
from gptstudio.text import human_bytes, human_count, human_time

#: The state of a run as one character and a colour.
MARKS: dict[str, tuple[str, str]] = {
    "queued": ("○", "$muted"),
    "starting": ("◌", "$text-accent"),
    "running": ("●", "$text-success"),
    "paused": ("‖", "$text-warning"),
    "stopping": ("◌", "$text-warning"),
    "stopped": ("■", "$muted"),
    "done": ("✓", "$text-success"),
    "failed": ("✗", "$text-error"),
    "lost": ("?", "$text-error"),
    "stale": ("~", "$text-warning"),
}
UNKNOWN = ("·", "$muted")

#: What the status line gives up first when it is narrow, by importance.
Part = tuple[int, Content]


def mark(state: str) -> Content:
    """The state of a run or stage as one character."""
    character, style = MARKS.get(state, UNKNOWN)
    return Content.styled(character, style)


def state_of(status: Status) -> str:
    """The state in a word, a hung run told from a running one."""
    return "hung?" if is_hung(status) else status.state


def status_line(
    status: Status | None, width: int, *, readonly: bool = False, stale: float = 0.0
) -> Content:
    """Run, stage, step of steps, loss or reward, speed, ETA, memory, heartbeat, in `width` cells.

    Args:
        status: Of the run; None: there is none.
        width: Cells.
        readonly: Whether a run could be started from here.
        stale: Seconds for which the runs could not be looked at: nothing is known of heartbeats.
    """
    if status is None:
        said = "no run yet" if readonly else "no run yet; s on Train starts one"
        return Content.styled(said, "$muted").truncate(width, ellipsis=True)
    return fitted(_status_parts(status, stale), width)


def _status_parts(status: Status, stale: float) -> list[Part]:
    live, running = status.state in LIVE, status.state == "running"
    head = Content.assemble(mark(status.state), " ", (steady(status.run), "bold"))
    parts: list[Part] = [(0, head), (1, Content(status.state if stale else state_of(status)))]
    if status.stage:
        parts.append((2, Content(steady(status.stage))))
    if status.total_steps:
        share = min(1.0, status.step / status.total_steps)
        parts.append((3, Content(f"{status.step:,}/{status.total_steps:,}")))
        parts.append((8, Content(f"{share:.0%}")))
    if status.reward is not None:  # the loss of what it answers says little
        parts.append((4, Content(f"reward {status.reward:.2f}")))
    elif status.loss is not None:
        parts.append((4, Content(f"loss {status.loss:.4f}")))
    if status.accuracy is not None:
        parts.append((4, Content(f"accuracy {status.accuracy:.0%}")))
    if running and status.tokens_per_s:
        parts.append((6, Content(f"{human_count(status.tokens_per_s)} tok/s")))
    if running and status.eta_s is not None:
        parts.append((5, Content(f"{human_time(status.eta_s)} left")))
    if live and status.memory:
        parts.append((7, Content(human_bytes(status.memory))))
    if stale:
        parts.append((1, Content.styled(f"stale since {human_time(stale)}", "$text-warning")))
    elif live:
        age = max(0.0, time.time() - status.heartbeat)
        style = "$text-error" if is_hung(status) else "$muted"
        parts.append((5, Content.styled(f"♥ {human_time(age)}", style)))
    return parts


def fitted(parts: Sequence[Part], width: int, gap: str = "  ") -> Content:
    """The parts in their order, those of the highest number left out until the rest fits."""
    kept = list(parts)
    while len(kept) > 1 and _length(kept, gap) > width:
        kept.remove(max(kept, key=lambda part: part[0]))
    line = Content(gap).join([content for _, content in kept])
    return line.truncate(max(1, width), ellipsis=True)


def _length(parts: Sequence[Part], gap: str) -> int:
    return sum(part.cell_length for _, part in parts) + len(gap) * (len(parts) - 1)


def failure_lines(status: Status) -> list[tuple[Literal["what", "where", "fix"], str]]:
    """What failed, where, and the remedy, each harmless; empty where nothing did."""
    if status.state == "lost":
        return [
            ("what", f"{steady(status.run)} is lost: its processes ended without a word"),
            ("fix", "killed, or the machine went down? R goes on from the last checkpoint"),
        ]
    if status.state != "failed":
        return []
    at = f" in {steady(stage_title(status.stage))}" if status.stage else ""
    step = f", step {status.step}" if status.step else ""
    error = status.error
    what = error.what if error else status.message or "nobody said why"
    lines: list[tuple[Literal["what", "where", "fix"], str]] = [
        ("what", f"{steady(status.run)} failed{at}{step}: {steady(what)}")
    ]
    if error and error.where:
        lines.append(("where", steady(error.where)))
    if error and error.fix:
        lines.append(("fix", steady(error.fix)))
    return lines
