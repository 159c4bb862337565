"""The thread behind a file view: does every read, and says what came of it.

The view tells what it wants to see and how to move (`want`, `search`); the reader answers through
one callback. Of what is asked while it reads, only the sum counts: moves add up, a jump replaces
what came before it, and the newest wish replaces older ones. A search goes on while the view moves
about; the long read of a filter is begun anew when the wish changes, and loses nothing by that.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from gptstudio.app.widgets.file_rows import column_of
from gptstudio.app.widgets.file_viewport import (
    CancelledError,
    Jump,
    Move,
    Screenful,
    Step,
    Viewport,
    Wish,
)

#: Seconds after which a long read says how far it is, and between two such words.
PATIENCE = 0.2


@dataclass(frozen=True, slots=True)
class Reading:
    """A long read goes on.

    Attributes:
        number: Of the file.
        what: What is looked for.
        share: How far it is, 0 to 1.
    """

    number: int
    what: str
    share: float


@dataclass(frozen=True, slots=True)
class Searched:
    """A search has ended by itself.

    Attributes:
        number: Of the search.
        offset: Of the line that has the words; None: there is none.
        column: Cells before the match in its line.
        wrapped: Whether the search went on from the file's other end.
        problem: Why it could not be done.
    """

    number: int
    offset: int | None = None
    column: int = 0
    wrapped: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something went wrong that should not; the reader goes on."""

    error: Exception


Report = Screenful | Reading | Searched | Failure


@dataclass(frozen=True, slots=True)
class _Search:
    number: int
    forwards: bool
    afresh: bool
    times: int = 1


class FileReader:
    """Reads for one view.

    Args:
        report: Takes what came of it, on the reader's thread.
        interval: Seconds between two looks at the file.
    """

    def __init__(self, report: Callable[[Report], object], interval: float) -> None:
        self._report = report
        self._interval = interval
        # A daemon, not one of asyncio's few workers: it lives as long as the view, and must not
        # hold up the end of the studio when it hangs on a dead disk.
        self._thread = threading.Thread(target=self._run, name="file-view", daemon=True)
        self._changed = threading.Condition()  # guards what follows
        self._wish: Wish | None = None
        self._moves: list[Move] = []
        self._asked = False
        self._asks = 0  # how often: a long read notices that there was another
        self._search: _Search | None = None
        self._searching: _Search | None = None  # the one under way
        self._resting = False
        self._ended = False
        # From here on the reader's own.
        self._viewport: Viewport | None = None

    # For the view

    def want(self, wish: Wish | None, move: Move | None = None) -> None:
        """Show this from now on, after a move; None: nothing."""
        with self._changed:
            if wish is None or self._wish is None or wish.number != self._wish.number:
                self._moves, self._search, self._searching = [], None, None
            self._wish = wish
            if move is not None:
                self._moves = _merged([*self._moves, move])
            self._ask()
            if wish is not None and not self._thread.is_alive() and not self._ended:
                self._thread.start()

    def search(self, wish: Wish, number: int, *, forwards: bool, afresh: bool) -> None:
        """Look for the wished words from the last match on, or afresh from the top of the view.

        Args:
            wish: What is to be seen from now on.
            number: Comes back with what came of it.
            forwards: Direction.
            afresh: See above.
        """
        self.want(wish)
        with self._changed:
            before = self._search or self._searching
            self._search = _Search(number, forwards, afresh)
            if before is not None and not afresh and before.forwards == forwards:  # once more
                self._search = replace(before, number=number, times=before.times + 1)
            self._searching = None
            self._changed.notify()

    def cancel_search(self) -> None:
        """Give the search up."""
        with self._changed:
            self._search = self._searching = None

    def rest(self, resting: bool) -> None:
        """Look no more at the file of one's own accord, or do so again, at once."""
        with self._changed:
            self._resting = resting
            if not resting:
                self._ask()

    def end(self) -> None:
        """Read no more; a read under way is left to itself."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _ask(self) -> None:
        self._asked = self._wish is not None
        self._asks += 1
        self._changed.notify()

    # On the reader's thread

    def _run(self) -> None:
        while not self._ended:
            with self._changed:
                if not (self._asked or self._search or self._ended):
                    looks = self._wish is not None and not self._resting
                    self._changed.wait(self._interval if looks else None)
                asked, search, resting = self._asked, self._search, self._resting
                if search is not None and not asked:
                    self._search, self._searching = None, search
            try:
                if self._ended:
                    return
                if not asked and search is not None:
                    self._find(search)
                elif asked or (not resting and self._looks_different()):
                    self._show()
            except Exception as error:  # whatever it is, the view says so and the thread lives on
                self._searching = None
                self._report(Failure(error))

    def _looks_different(self) -> bool:
        return self._viewport is not None and self._viewport.looks_different()

    def _show(self, then: Sequence[Move] = ()) -> None:
        """Make the moves that were asked for, and others; tell what is to be seen."""
        with self._changed:
            wish, asks = self._wish, self._asks
            moves = _merged([*self._moves, *then])
            self._moves, self._asked = [], False
        if wish is None:
            self._viewport = None
            return
        if self._viewport is None or self._viewport.number != wish.number:
            self._viewport = Viewport(wish)
        try:
            screen = self._viewport.show(
                wish,
                moves,
                cancelled=lambda: self._ended or self._asks != asks,
                on_progress=self._speaker(wish, wish.level),
            )
        except CancelledError:
            with self._changed:
                if self._wish is not None and self._wish.number == wish.number:
                    self._moves = _merged([*moves, *self._moves])
            return
        self._report(screen)

    def _find(self, search: _Search) -> None:
        wish, viewport = self._wish, self._viewport
        if wish is None or viewport is None or viewport.number != wish.number:
            return
        wrapped = False
        while True:
            found = viewport.search(
                wish,
                forwards=search.forwards,
                afresh=search.afresh,
                cancelled=partial(self._is_over, search),
                on_progress=self._speaker(wish, wish.words),
            )
            if found.cancelled or self._searching is not search:
                return
            self._show(viewport.mark(found.offset, wish.height))
            wrapped |= found.wrapped
            with self._changed:
                if self._searching is not search:
                    return
                if found.offset is None or search.times == 1:
                    self._searching = None
                    break
                search = replace(search, afresh=False, times=search.times - 1)
                self._searching = search
        row = None if found.offset is None else viewport.row_of(found.offset)
        column = column_of(row.line, wish.words) if row else 0
        self._report(Searched(search.number, found.offset, column, wrapped, found.problem))

    def _is_over(self, search: _Search) -> bool:
        """Asked between the slices of a search: what the view wants in the meantime is done."""
        if self._asked and self._searching is search:
            self._show()
        return self._ended or self._searching is not search

    def _speaker(self, wish: Wish, what: str) -> Callable[[float], None]:
        """What tells how far a long read is, now and then."""
        spoken = time.monotonic()

        def speak(share: float) -> None:
            nonlocal spoken
            if time.monotonic() - spoken > PATIENCE:
                spoken = time.monotonic()
                self._report(Reading(wish.number, what, share))

        return speak


def _merged(moves: Sequence[Move]) -> list[Move]:
    """The same moves in fewer: a jump undoes what came before it, steps add up."""
    merged: list[Move] = []
    for move in moves:
        if isinstance(move, Jump):
            merged = [move]
        elif merged and isinstance(last := merged[-1], Step):
            merged[-1] = replace(last, rows=last.rows + move.rows)
        else:
            merged.append(move)
    return merged
