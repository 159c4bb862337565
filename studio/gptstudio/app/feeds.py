"""Threads that ask a source again and again, and do nothing but post what it says.

They are daemons: one that hangs on a dead disk or driver must not hold up the end of the studio.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from textual.message import Message

from gptcore.errors import UserError

Source = Literal["runs", "metrics", "hardware", "datasets", "profile", "worker"]

#: A source counts as stale when it has been silent for so many of its intervals, ...
STALE_INTERVALS = 3.0
#: ... but not before so many seconds: a machine under load answers late.
STALE_SECONDS = 4.0


class Heard(Message):
    """A source answered.

    Args:
        source: Which.
        value: What it said; None: nothing new.
    """

    def __init__(self, source: Source, value: Any) -> None:
        super().__init__()
        self.source = source
        self.value = value


class Unheard(Message):
    """A source failed; it will be asked again.

    Args:
        source: Which.
        reason: Why, for people, not yet cleaned.
    """

    def __init__(self, source: Source, reason: str) -> None:
        super().__init__()
        self.source = source
        self.reason = reason


class Feed:
    """One source and the thread that asks it.

    Args:
        source: Its name.
        ask: Blocking; returns what is new, None where nothing is.
        interval: Seconds between two questions.
        post: Takes a message from any thread.
    """

    def __init__(
        self,
        source: Source,
        ask: Callable[[], Any],
        interval: float,
        post: Callable[[Message], Any],
    ) -> None:
        self.source = source
        self.interval = interval
        self._ask = ask
        self._post = post
        self._wanted = threading.Event()
        self._wake = threading.Event()
        self._taken = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._loop, name=f"feed-{source}", daemon=True)

    @property
    def is_wanted(self) -> bool:
        """Whether it is being asked."""
        return self._wanted.is_set()

    def want(self, wanted: bool) -> None:
        """Go on asking, or rest while nobody looks."""
        if not wanted:
            self._wanted.clear()
        elif not self._wanted.is_set():
            self._wanted.set()
            self._wake.set()
            if not self._thread.is_alive() and not self._ended:
                self._thread.start()

    def taken(self) -> None:
        """Its last message has been taken: while none is, asking on would only fill memory."""
        self._taken.set()

    def wake(self) -> None:
        """Ask at once rather than when the interval is over."""
        self._wake.set()

    def end(self) -> None:
        """Ask no more; a question under way is left to itself."""
        self._ended = True
        for event in (self._wanted, self._wake, self._taken):
            event.set()

    def _loop(self) -> None:
        while not self._ended:
            self._wanted.wait()
            self._wake.clear()
            try:
                message: Message = Heard(self.source, self._ask())
            except Exception as error:  # whatever it is, the pane says so and the thread lives on
                message = Unheard(self.source, describe(error))
            if not self._ended:
                self._taken.clear()
                self._post(message)
                self._taken.wait()
                self._wake.wait(self.interval)


class Freshness:
    """When each source was last heard of; lives on the interface's thread."""

    def __init__(self) -> None:
        self._heard: dict[Source, float] = {}
        self._reasons: dict[Source, str] = {}

    def heard(self, source: Source) -> None:
        """It answered."""
        self._heard[source] = time.monotonic()
        self._reasons.pop(source, None)

    def unheard(self, source: Source, reason: str) -> None:
        """It failed."""
        self._heard.setdefault(source, time.monotonic())
        self._reasons[source] = reason

    def age(self, source: Source, interval: float) -> float:
        """Seconds that it has been stale for; 0: it is fresh, or was never asked."""
        if source not in self._heard:
            return 0.0
        silent = time.monotonic() - self._heard[source]
        return silent if silent > max(STALE_SECONDS, STALE_INTERVALS * interval) else 0.0

    def reason(self, source: Source) -> str:
        """Why it failed last; empty: it only takes long."""
        return self._reasons.get(source, "")

    def restart(self, source: Source) -> None:
        """It is asked from now on, for the first time or after a rest."""
        self._heard[source] = time.monotonic()


def describe(error: BaseException) -> str:
    """A failure for people."""
    if isinstance(error, UserError):
        return error.what
    if isinstance(error, OSError) and error.strerror:
        name = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{name}"
    return f"{type(error).__name__}: {error}"
