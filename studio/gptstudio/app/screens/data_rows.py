"""The rows of the data file under the cursor: which is shown, how, and what was asked about it."""

from typing import TYPE_CHECKING

import msgspec

from gptcore.text import steady
from gptstudio.app.widgets.pane import Pane
from gptstudio.app.widgets.row_view import RowView
from gptstudio.services.data_answers import (
    Answer,
    Looking,
    RowSeen,
    RowWish,
    StatsSeen,
    StatsWish,
    Unseen,
)
from gptstudio.services.row_lines import View

if TYPE_CHECKING:
    from gptstudio.app.dialogs.statistics import Statistics
    from gptstudio.app.studio import Studio
    from gptstudio.services.counting import Counts
    from gptstudio.services.datasets import DatasetFile

#: In the order in which `t` goes through them, with what they are called.
VIEWS: dict[View, str] = {
    "text": "text",
    "tokens": "tokens",
    "supervised": "supervised only",
    "raw": "raw",
}


class RowsOfFile:
    """Asks the data worker for rows and hands them to the view; lives on the interface's thread.

    Args:
        studio: The app.
        view: What shows the row.
        pane: Its frame, which says where one is.
    """

    def __init__(self, studio: "Studio", view: RowView, pane: Pane) -> None:
        self._studio = studio
        self._view = view
        self._pane = pane
        self._file: DatasetFile | None = None
        self._counts: Counts | None = None
        self._mode: View = "text"
        self._wish: RowWish | None = None
        self._waits = False
        self._seen: RowWish | None = None
        self._answer: RowSeen | None = None
        self._falls_back = False
        self._share = ""
        self._sheet: Statistics | None = None

    # What is shown

    def open(self, file: "DatasetFile | None", counts: "Counts | None") -> None:
        """Show the rows of a file from its first on; None: of none.

        Args:
            file: The file.
            counts: What is in it, where that is known.
        """
        before = self._file
        self._file, self._counts = file, counts
        if file is None:
            self._wish = self._seen = None
            if before is not None:
                self._studio.sources.data.forget_row()
        elif before is None or before.path != file.path:
            self._seen = self._answer = None
            self._view.say("reading ...")
            self.go_to(1)

    def know(self, counts: "Counts") -> None:
        """The file has been counted."""
        if counts == self._counts:
            return
        self._counts = counts
        self._say_where()
        answer = self._answer
        if answer is not None and self._view.shown is answer.row:
            searching = self._view.searching
            self._view.show(answer.row, self._problem_of(answer), stay=True)
            self._view.searching = searching

    def refresh_file(self, file: "DatasetFile | None") -> None:
        """Read the row again where the file has changed."""
        shown = self._file
        if shown is None or file is None or file.path != shown.path:
            return
        self._file = file
        if (file.size, file.mtime_ns) != (shown.size, shown.mtime_ns):
            self._again()
            self._falls_back = True  # it may have fewer rows now

    def refresh_profile(self) -> None:
        """Read the row again where another tokenizer or context counts."""
        if self._wish is not None:
            pipeline, context = self._profile()
            if (pipeline, context) != (self._wish.pipeline, self._wish.context):
                self._again()

    def resume(self) -> None:
        """Ask again for what was answered while nobody listened."""
        if self._waits:
            self._again()

    def go_to(self, row: int) -> None:
        """Show a row; 0: the last."""
        self._ask(row)

    def next_view(self) -> None:
        """Show the row otherwise."""
        if not self.has_rows:
            return
        views = list(VIEWS)
        self._mode = views[(views.index(self._mode) + 1) % len(views)]
        self._again()

    @property
    def has_rows(self) -> bool:
        """Whether there is a file of rows; otherwise it says so."""
        if self._file is None:
            self._studio.say("there are no rows here: put the cursor on a data file")
        return self._file is not None

    def step(self, by: int) -> None:
        """Show a row beside the one that is shown, or that was asked for last."""
        shown = self._view.shown.row if self._view.shown else 0
        aim = self._wish.row if self._waits and self._wish and not self._wish.words else 0
        last = self._counts.rows if self._counts is not None else None
        row = max(1, (aim or shown) + by)
        if last is not None and row > last:
            row = max(1, last)
            if shown == row:
                self._studio.say(f"row {row:,} is the last")
                return
        self.go_to(row)

    def search(self, words: str, *, forwards: bool) -> None:
        """Show the next row that holds some words."""
        row = self._view.shown.row if self._view.shown else 0
        self._ask(row, words=words, forwards=forwards)

    def leave(self) -> None:
        """What is being read is no longer wanted."""
        self._studio.sources.data.forget_row()
        self._wish, self._waits, self._share = self._seen, False, ""
        self._say_where()
        self._studio.say("cancelled")

    def _again(self) -> None:
        row = self._view.shown.row if self._view.shown else 1
        self._ask(row)

    def _ask(self, row: int, *, words: str = "", forwards: bool = True) -> None:
        if self._file is None:
            return
        pipeline, context = self._profile()
        wish = RowWish(self._file.path, row, self._mode, pipeline, context, words, forwards)
        self._wish, self._waits, self._share = wish, True, ""
        self._falls_back = False
        self._view.searching = True
        self._studio.sources.data.row(wish)
        self._say_where()

    def _profile(self) -> tuple[str, int | None]:
        """Whose tokenizer counts, and how many tokens fit."""
        from gptstudio.services.token_choice import context_of

        card = self._studio.state.profile
        if card is None or card.profile is None:
            return "", None
        return card.profile.name, context_of(card.profile)

    # What the worker says

    def take(self, answer: Answer) -> None:
        """Show an answer, if it is still waited for."""
        match answer:
            case RowSeen(wish=wish) if wish == self._wish and self._waits:
                self._show(answer)
            case Looking(wish=RowWish() as wish) if wish == self._wish:
                self._share = f"{answer.done / max(1, answer.total):.0%}"
                self._say_where()
            case Unseen(wish=RowWish() as wish) if wish == self._wish and self._waits:
                self._refuse(answer)
            case StatsSeen() | Unseen() | Looking():
                self._tell_sheet(answer)

    def _show(self, answer: RowSeen) -> None:
        before, shown = self._seen, self._view.shown
        stay = (
            before is not None
            and shown is not None
            and (before.path, shown.row, before.view)
            == (answer.wish.path, answer.row.row, answer.wish.view)
        )
        self._waits, self._share = False, ""
        self._answer = answer
        self._seen = self._wish = msgspec.structs.replace(
            answer.wish, row=answer.row.row, words="", forwards=True
        )
        self._view.show(answer.row, self._problem_of(answer), stay=stay)
        self._say_where()

    def _problem_of(self, answer: RowSeen) -> str:
        """What only counting has found out: that the row stands twice."""
        problems = self._counts.problems if self._counts is not None else ()
        said = next((each.reason for each in problems if each.row == answer.row.row), "")
        return said if answer.row.what else ""

    def _refuse(self, answer: Unseen) -> None:
        if self._falls_back:
            self.go_to(1)
            return
        self._waits, self._share = False, ""
        self._view.searching = False
        if self._view.shown is None:
            self._view.say(answer.reason)
        else:
            self._wish = self._seen
            self._studio.say(answer.reason, "warning")
        self._say_where()

    def _say_where(self) -> None:
        if self._file is None:
            return
        words = []
        if self._view.shown is not None:
            count = f" of {self._counts.rows:,}" if self._counts is not None else ""
            words.append(f"row {self._view.shown.row:,}{count}")
        words.append(VIEWS[self._mode])
        if self._waits and self._share:
            words.append(f"reading {self._share}, esc leaves it")
        self._pane.say("  ".join([*words, self._file.path]))

    # Statistics

    def show_statistics(self) -> None:
        """Count what there is to be known about the file, in a dialog."""
        from gptstudio.app.dialogs.statistics import Statistics

        file = self._file if self.has_rows else None
        if file is None:
            return
        wish = StatsWish(file.path, *self._profile())
        self._sheet = Statistics(wish)

        def left(_: object) -> None:
            self._sheet = None
            self._studio.sources.data.forget_stats()

        self._studio.push_screen(self._sheet, left)
        self._studio.sources.data.stats(wish)

    def _tell_sheet(self, answer: Answer) -> None:
        sheet = self._sheet
        if sheet is None or not sheet.is_mounted:
            return
        match answer:
            case StatsSeen(wish=sheet.wish):
                sheet.show(answer.lines)
            case Unseen(wish=sheet.wish):
                sheet.show([steady(answer.reason)])
            case Looking(wish=sheet.wish):
                sheet.progress(answer.done, answer.total)
