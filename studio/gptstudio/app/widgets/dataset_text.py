"""Files and folders of datasets as rows of cells and as lines of detail; knows no widget."""

import time
from collections.abc import Sequence
from typing import Literal

from rich.cells import cell_len, set_cell_size

from gptcore.text import steady
from gptstudio.services.counting import CountProblem, Counts
from gptstudio.services.datasets import DatasetFile, DatasetFolder, DatasetTree
from gptstudio.text import human_bytes, human_count

#: How a part of a row is painted.
Paint = Literal["plain", "bold", "muted", "in", "problem"]
#: Text and its paint.
Part = tuple[str, Paint]

#: Cells of the name's column with its indentation, of the size's.
NAME_LEAST, NAME_MOST, SIZE = 12, 48, 9
GAP = "  "
#: Fewer cells than this are not worth another column.
REST_LEAST = 8
#: Problems of a file that its detail tells; all stand in a list of their own.
MOST_TROUBLES = 3


def file_row(
    file: DatasetFile,
    counts: Counts | None,
    failure: str,
    *,
    name: str,
    width: int,
    indent: int,
    bytes_per_token: float,
) -> list[Part]:
    """A file: whether it is learned from, its name, size, and what is in it.

    Args:
        file: The file.
        counts: What is in it; None: not known yet.
        failure: Why it cannot be counted; empty: it can.
        name: What it is called in the list.
        width: Cells there are; the row takes no more.
        indent: Cells at its left that are taken already, so that columns stand below each other.
        bytes_per_token: To guess tokens by.
    """
    troubles = _troubles(file, counts, failure)
    stages = file.stages(forms_of(counts))
    mark: Part = ("● ", "in") if stages else ("○ ", "muted")
    if troubles:
        mark = ("! ", "problem")
    elif file.form == "ignored":
        mark = ("· ", "muted")
    facts = [*troubles[:1]] or ([] if stages else [_why_not(file, counts)])
    if counts is not None and counts.rows:
        facts = [*_counted(counts, bytes_per_token), *facts]  # what it is comes first
    elif counts is not None:
        facts += _counted(counts, bytes_per_token)
    if stages and file.form == "data":
        facts.append(f"for {', '.join(stages)}")
    paint: Paint = "problem" if troubles else "plain" if stages else "muted"
    size = human_bytes(file.size)
    return _columns(mark, (name, paint), size, facts, paint, width=width, indent=indent)


def folder_row(
    folder: DatasetFolder,
    icon: str,
    *,
    name: str,
    width: int,
    indent: int,
    bytes_per_token: float,
) -> list[Part]:
    """A folder: its name, and what is in it and below.

    Args:
        folder: The folder.
        icon: What it begins with: open, closed, or nothing to open.
        name: What it is called in the list.
        width: Cells there are; the row takes no more.
        indent: Cells at its left that are taken already.
        bytes_per_token: To guess tokens by.
    """
    if folder.reason:
        mark: Part = ("! ", "problem") if folder.is_problem else (icon, "muted")
        facts = [steady(folder.reason)]
        return _columns(mark, (name, "bold"), "", facts, mark[1], width=width, indent=indent)
    facts = [_several(folder.num_files, "file"), f"{folder.num_in_mix:,} in the mix"]
    if folder.bytes_in_mix:
        facts.append(_tokens(folder.bytes_in_mix, bytes_per_token))
    size = human_bytes(folder.bytes)
    return _columns(
        (icon, "plain"), (name, "bold"), size, facts, "muted", width=width, indent=indent
    )


def note_row(text: str, *, width: int, indent: int) -> list[Part]:
    """A line that stands for no file."""
    return [(_fit(steady(text), width - indent), "muted")]


def empty_notes(tree: DatasetTree) -> list[str]:
    """What to say where there is nothing: what is missing, where, and what helps."""
    place = steady(str(tree.place))
    init = "gptstudio init . makes one with a small example"
    if tree.problem:
        return [f"{place}: {tree.problem}", init]
    what = "put .txt, .md, .jsonl, .json or .parquet files there, and they are learned from"
    return [f"nothing in {place} yet", what]


def detail(
    entry: DatasetFile | DatasetFolder,
    counts: Counts | None,
    failure: str,
    bytes_per_token: float,
    refusals: Sequence[str] = (),
) -> list[str]:
    """Everything that is known of a file or folder, a line each, harmless.

    Args:
        entry: What it is about.
        counts: What is in the file; None: not known yet.
        failure: Why it cannot be counted; empty: it can.
        bytes_per_token: To guess tokens by.
        refusals: Why mixes do not take the file by its name.
    """
    if isinstance(entry, DatasetFolder):
        lines = [
            steady(f"{entry.path or 'datasets'}/"),
            f"{_several(entry.num_files, 'file')}, {human_bytes(entry.bytes)}",
            f"{entry.num_in_mix:,} in the mix, {human_bytes(entry.bytes_in_mix)},"
            f" {_tokens(entry.bytes_in_mix, bytes_per_token)}",
        ]
        return [*lines, steady(entry.reason)] if entry.reason else lines
    changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.mtime_ns / 1e9))
    size = f", {human_bytes(entry.size)}, changed {changed}" if entry.mtime_ns else ""
    lines = [steady(entry.path), f"{entry.form}{size}"]
    stages = entry.stages(forms_of(counts))
    if stages:
        others = f" ({steady('; '.join(refusals))})" if refusals else ""
        lines.append(f"in the mix: {', '.join(stages)}{others}")
    else:
        lines.append(f"not in the mix: {_reason(entry, counts)}")
    if counts is not None:
        lines.append(", ".join(_counted(counts, bytes_per_token)))
    # Those of rows stand in a list of their own.
    told = counts.problems if counts is not None and not counts.rows else ()
    troubles = [f"! {_place(each)}{each.reason}" for each in told[:MOST_TROUBLES]]
    if len(told) > MOST_TROUBLES:
        troubles.append(f"! and {len(told) - MOST_TROUBLES:,} more among the problems")
    return [*lines, *troubles, *([f"! {steady(failure)}"] if failure else [])]


def _place(problem: CountProblem) -> str:
    if problem.line:
        return f"line {problem.line:,}: "
    return f"row {problem.row:,}: " if problem.row else ""


def forms_of(counts: Counts | None) -> tuple[str, ...]:
    """What the rows of a file are; none: not known, or it holds no rows."""
    return tuple(form for form, _ in counts.forms) if counts is not None else ()


def _troubles(file: DatasetFile, counts: Counts | None, failure: str) -> list[str]:
    troubles = [steady(file.reason)] if file.is_problem else []
    troubles += [steady(failure)] if failure else []
    # What is not learned from may be as empty or as odd as it likes, and bad rows are passed over.
    is_odd = counts is not None and file.in_mix and not counts.rows > counts.bad_rows
    return troubles + [each.reason for each in (counts.problems if counts and is_odd else ())]


def _why_not(file: DatasetFile, counts: Counts | None) -> str:
    reason = _reason(file, counts)
    return f"{file.form}: {reason}" if file.form == "data" and counts is None else reason


def _reason(file: DatasetFile, counts: Counts | None) -> str:
    """Why no stage takes a file: its name does not suit, or its rows do not."""
    if not file.takers:
        return steady(file.reason)
    forms = ", ".join(forms_of(counts))
    names = ", ".join(dict.fromkeys(taker.stage for taker in file.takers))
    return f"{names} take no {forms} rows" if "," in names else f"{names} takes no {forms} rows"


def _counted(counts: Counts, bytes_per_token: float) -> list[str]:
    if counts.rows:
        forms = [f"{human_count(number)} {form}" for form, number in counts.forms]
        return [*forms, *([f"{human_count(counts.bad_rows)} bad"] if counts.bad_rows else [])]
    return [
        _several(counts.lines, "line"),
        _several(counts.documents, "doc"),
        _tokens(counts.bytes, bytes_per_token),
    ]


def _several(number: int, what: str) -> str:
    return f"{human_count(number)} {what}{'' if number == 1 else 's'}"


def _tokens(size: int, bytes_per_token: float) -> str:
    return f"≈{human_count(size / bytes_per_token)} tokens"


def _columns(
    mark: Part, name: Part, size: str, facts: list[str], paint: Paint, *, width: int, indent: int
) -> list[Part]:
    """The parts below those of other rows; what does not fit is left out."""
    room = max(0, width - indent)
    column = min(NAME_MOST, max(NAME_LEAST, width * 2 // 5))
    beside = width - column - len(GAP) - SIZE
    marked = _fit(mark[0], room)
    if beside < 0:  # no room for anything but the name
        return [(marked, mark[1]), (_fit(steady(name[0]), room - cell_len(marked)), name[1])]
    own = max(0, min(room - cell_len(marked), column - indent - cell_len(marked)))
    parts: list[Part] = [
        (marked, mark[1]),
        (set_cell_size(_fit(steady(name[0]), own), own), name[1]),
    ]
    parts.append((GAP + size.rjust(SIZE), "muted"))
    rest = room - sum(cell_len(text) for text, _ in parts) - len(GAP)
    if rest >= REST_LEAST and facts:
        parts.append((GAP + _fit(GAP.join(facts), rest), paint))
    total = 0
    fitting: list[Part] = []
    for text, painted in parts:  # deep down the columns have no room left
        fitting.append((_fit(text, max(0, room - total)), painted))
        total += cell_len(fitting[-1][0])
    return fitting


def _fit(text: str, width: int) -> str:
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1) + "…" if width > 0 else ""
