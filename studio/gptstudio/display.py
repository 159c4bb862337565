"""How a followed run looks: plain lines, or on a terminal a few live lines below the news."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from gptcore.status import Status, is_hung
from gptcore.text import clean
from gptstudio.run_view import News, RunView, stage_title
from gptstudio.text import human_time

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Seconds between two lines about the loss where there is no terminal.
PLAIN_INTERVAL = 5.0


class Display(Protocol):
    """Where a watcher shows things. Everything it is given is harmless to print."""

    def __enter__(self) -> "Display": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def news(self, news: News) -> None:
        """Show something that happened."""

    def update(self, view: RunView, status: Status) -> None:
        """Show where the run stands; called a few times a second."""


class PlainDisplay:
    """Lines, for logs and pipes."""

    def __init__(self, interval: float = PLAIN_INTERVAL) -> None:
        self._interval = interval
        self._next = 0.0
        self._shown = ""

    def __enter__(self) -> "PlainDisplay":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def news(self, news: News) -> None:
        """Print it."""
        print(news.text, flush=True)

    def update(self, view: RunView, status: Status) -> None:
        """Print a line about the numbers, every few seconds, if they moved."""
        if time.monotonic() < self._next:
            return
        amount, _ = amount_done(view)
        facts = [fact for fact in (amount, *view.numbers(), view.left()) if fact]
        line = "  ".join(facts)
        if line and line != self._shown:
            print(line, flush=True)
            self._shown = line
            self._next = time.monotonic() + self._interval


class LiveDisplay:
    """Three lines that are drawn again in place, below the news."""

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> "LiveDisplay":
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def news(self, news: News) -> None:
        """Print it above the live lines."""
        from rich.text import Text

        style = {"good": "green", "warning": "yellow"}.get(news.kind, "")
        if news.kind != "minor":
            self._live.console.print(Text(news.text, style=style))

    def update(self, view: RunView, status: Status) -> None:
        """Draw the live lines again."""
        self._live.update(live_lines(view, status), refresh=True)


def live_lines(view: RunView, status: Status) -> "RenderableType":
    """Where the run stands, in three lines of the terminal's width."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    changing = status.stage != view.stage  # the next stage has yet to say its first word
    amount, share = ("", None) if changing else amount_done(view)
    middle = Table.grid(expand=True, padding=(0, 1))
    middle.add_column(ratio=1)
    middle.add_column(no_wrap=True, justify="right")
    left = "" if changing else view.left()
    done = "  ".join(part for part in (amount, left) if part)
    middle.add_row(
        ProgressBar(total=1.0, completed=share or 0.0, pulse=share is None),
        Text(done, no_wrap=True),
    )
    age = time.time() - status.heartbeat
    beat = f"NO SIGN OF LIFE FOR {human_time(age)}" if is_hung(status) else ""
    facts = [clean(status.message) or "starting"] if changing else view.numbers()
    numbers = "  ".join(part for part in (beat, *facts) if part) or clean(status.message)
    return Group(
        Text(headline(view, status), style="bold", no_wrap=True, overflow="ellipsis"),
        middle,
        Text(numbers, no_wrap=True, overflow="ellipsis", style="yellow" if beat else ""),
    )


def headline(view: RunView, status: Status) -> str:
    """Run, state, stage of stages, device."""
    parts = [clean(status.run), status.state]
    stage = status.stage or view.stage
    if stage in status.stages:
        number = status.stages.index(stage) + 1
        parts.append(f"stage {number} of {len(status.stages)}: {stage_title(stage)}")
    if status.device:
        parts.append(f"on {clean(status.device)}")
    return "  ".join(parts)


def amount_done(view: RunView) -> tuple[str, float | None]:
    """How much of the stage is done, in words and as a share; None: unknown."""
    if view.progress is not None:
        progress = view.progress
        share = progress.done / progress.total if progress.total > 0 else None
        counted = progress.done == int(progress.done) and progress.total == int(progress.total)
        digits = 0 if counted or progress.total >= 100 else 1 if progress.total >= 10 else 2
        shown = f"{progress.done:,.{digits}f}/{progress.total:,.{digits}f}"
        words = [clean(progress.what)]
        if share is not None:
            words.append(f"{shown} {clean(progress.unit)}".strip())
        return "  ".join(word for word in words if word), share
    if view.total_steps > 0:
        share = min(1.0, view.step / view.total_steps)
        return f"step {view.step}/{view.total_steps}  {share:.0%}", share
    return (f"step {view.step}" if view.step else ""), None


def make_display() -> Display:
    """What suits standard output."""
    import os

    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return LiveDisplay()
    return PlainDisplay()
