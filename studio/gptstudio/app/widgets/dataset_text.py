"""Files and folders of datasets as rows of cells and as lines of detail; knows no widget."""

import time
from typing import Literal

from rich.cells import cell_len, set_cell_size

from gptcore.text import steady
from gptstudio.services.counting import Counts
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
    mark: Part = ("● ", "in") if file.in_mix else ("○ ", "muted")
    if troubles:
        mark = ("! ", "problem")
    elif file.form != "text":
        mark = ("· ", "muted")
    facts = [*troubles[:1]] or ([] if file.in_mix else [_why_not(file)])
    if counts is not None and counts.rows:
        facts = [*_counted(counts, bytes_per_token), *facts]  # what it is comes first
    elif counts is not None:
        facts += _counted(counts, bytes_per_token)
    paint: Paint = "problem" if troubles else "plain" if file.in_mix else "muted"
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
    return [f"nothing in {place} yet", "put .txt or .md files there, and they are learned from"]


def detail(
    entry: DatasetFile | DatasetFolder, counts: Counts | None, failure: str, bytes_per_token: float
) -> list[str]:
    """Everything that is known of a file or folder, a line each, harmless."""
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
    lines.append("in the mix" if entry.in_mix else f"not in the mix: {steady(entry.reason)}")
    if counts is not None:
        lines.append(", ".join(_counted(counts, bytes_per_token)))
    troubles = [] if counts is None else [
        f"! {f'line {each.line:,}: ' if each.line else ''}{each.reason}" for each in counts.problems
    ]  # fmt: skip
    return [*lines, *troubles, *([f"! {steady(failure)}"] if failure else [])]


def _troubles(file: DatasetFile, counts: Counts | None, failure: str) -> list[str]:
    troubles = [steady(file.reason)] if file.is_problem else []
    troubles += [steady(failure)] if failure else []
    # What is not learned from may be as empty or as odd as it likes.
    return troubles + [each.reason for each in (counts.problems if counts and file.in_mix else ())]


def _why_not(file: DatasetFile) -> str:
    return f"{file.form}: {steady(file.reason)}" if file.form == "data" else steady(file.reason)


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
