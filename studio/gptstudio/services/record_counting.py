"""Counts the rows of a data file by what they are, and says which cannot be used and why."""

from collections import Counter
from itertools import islice
from pathlib import Path

from gptcore.formats.problems import Problem
from gptcore.formats.reading import RecordReader
from gptcore.formats.rows import Mark
from gptcore.text import clean
from gptstudio.services.counting import CountProblem, Counts

#: Rows that are read in one step.
STEP_ROWS = 200
#: Problems that are told one by one.
TOLD = 100


class RecordCounter:
    """Counts one file, some rows at a time; used as `TextCounter` is.

    Args:
        path: The file.

    Raises:
        UserError: It is no regular file, or cannot be opened.
        OSError: It cannot be looked at.
    """

    def __init__(self, path: Path) -> None:
        status = path.stat()
        #: Size, time of modification and inode when it was opened.
        self.stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
        self._reader = RecordReader(path)
        self._rows = iter(self._reader)
        self._forms: Counter[str] = Counter()
        self._characters = 0
        self._bad = 0
        self._told: list[CountProblem] = []

    @property
    def marks(self) -> list[Mark]:
        """Places from which its rows can be read."""
        return self._reader.marks

    @property
    def done(self) -> int:
        """Bytes read so far."""
        return self._reader.bytes_read

    @property
    def total(self) -> int:
        """Bytes to read in all."""
        return self.stamp[0]

    def step(self) -> bool:
        """Count some rows; False once there are no more.

        Raises:
            UserError: The file cannot be opened.
        """
        is_more = False
        for found in islice(self._rows, STEP_ROWS):
            is_more = True
            if isinstance(found, Problem):
                self._bad += 1
                if len(self._told) < TOLD:
                    self._told.append(_told(found))
            else:
                self._forms[found.record.form] += 1
                self._characters += found.size
        return is_more

    def close(self) -> None:
        """Let go of the file."""
        self._rows = iter(())

    def result(self) -> Counts:
        """What was counted, once `step` has said that there is no more."""
        good = sum(self._forms.values())
        problems = list(self._told)
        if self._bad > len(problems):
            problems.append(CountProblem(f"and {self._bad - len(problems):,} more rows"))
        if not good and not problems:
            problems.append(CountProblem("holds no rows"))
        return Counts(
            bytes=self.total,
            lines=0,
            documents=0,
            characters=self._characters,
            problems=tuple(problems),
            rows=good + self._bad,
            bad_rows=self._bad,
            forms=tuple(self._forms.most_common()),
        )


def _told(problem: Problem) -> CountProblem:
    at = f"{clean(problem.field)}: " if problem.field else ""
    return CountProblem(f"{at}{clean(problem.reason)}", problem.line, problem.row)
