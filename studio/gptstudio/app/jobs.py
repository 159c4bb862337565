"""What a person asked for and what may block: in a thread of its own, answered by a message."""

import threading
from collections.abc import Callable
from typing import Any

from textual.message import Message

from gptcore.errors import UserError
from gptstudio.app.feeds import describe


class Done(Message):
    """Something that was asked for is done, or failed.

    Args:
        said: What became of it, not yet cleaned.
        failed: Whether it failed.
    """

    def __init__(self, said: str, *, failed: bool = False) -> None:
        super().__init__()
        self.said = said
        self.failed = failed


class Started(Done):
    """A run has been started.

    Args:
        run: Its name.
        said: What became of it, not yet cleaned.
    """

    def __init__(self, run: str, said: str) -> None:
        super().__init__(said)
        self.run = run


class Job:
    """One thing to do.

    Args:
        name: For people.
        work: Blocking; its message is posted.
        post: Takes a message from any thread.
    """

    def __init__(
        self, name: str, work: Callable[[], Message], post: Callable[[Message], Any]
    ) -> None:
        self.name = name
        self._work = work
        self._post = post
        # A daemon: a run that does not answer must not hold up the end of the studio.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it is still at it."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            message = self._work()
        except Exception as error:  # whatever it is, the person is told that nothing came of it
            message = Done(f"{self.name} failed: {_words(error)}", failed=True)
        self._post(message)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else describe(error)
