"""What is wrong with data as rows of a list: file, row, reason."""

from collections.abc import Mapping

from textual.content import Content

from gptcore.text import steady
from gptstudio.app.widgets.rows import Row
from gptstudio.services.counting import CountProblem

#: How many are listed; files tell no more than some of theirs each.
MOST_ROWS = 500

NO_PROBLEMS = "no problems in what has been counted"


def problem_rows(troubled: Mapping[str, tuple[CountProblem, ...]]) -> list[Row]:
    """A row a problem, by file.

    Args:
        troubled: Problems by path of the file, under `datasets/`.
    """
    rows: list[Row] = []
    for path in sorted(troubled):
        for number, problem in enumerate(troubled[path]):
            if len(rows) == MOST_ROWS:
                said = "there are more; those of one file: gptstudio data check FILE"
                return [*rows, Row("more", Content.styled(said, "$muted"), "", disabled=True)]
            rows.append(_row(path, number, problem))
    return rows


def place_of(row_id: str) -> tuple[str, int]:
    """The file of a row of the list, and which of its problems it is."""
    path, _, number = row_id.rpartition(":")
    return path, int(number)


def _row(path: str, number: int, problem: CountProblem) -> Row:
    if problem.row:
        where = f" row {problem.row:,}"
    else:
        where = f" line {problem.line:,}" if problem.line else ""
    reason = steady(problem.reason)
    name = steady(path.rpartition("/")[2])
    content = Content.assemble((name, "bold"), where, "  ", (reason, "$text-error"))
    return Row(f"{path}:{number}", content, f"{steady(path)}{where}: {reason}")
