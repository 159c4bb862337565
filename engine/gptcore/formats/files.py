"""Find the files of `datasets/`: by their names, each once, whatever links lead to them."""

import os
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from gptcore.errors import UserError
from gptcore.formats.problems import Problem

TEXT_SUFFIXES = (".txt", ".md")
DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet")
#: Data may have one of these behind its own; text may not.
PACKED_SUFFIXES = (".gz", ".zst")

#: What a file holds: documents, or rows.
Kind = Literal["text", "data"]
#: What is lacking where there is no file of a kind.
_LACKING = {"text": "there is no text to train on", "data": "there are no conversations to use"}


def kind_of_name(name: str) -> Kind | None:
    """What a file's name says that it holds; None: neither rows nor documents."""
    lower = name.lower()
    if lower.endswith(TEXT_SUFFIXES):
        return "text"
    for suffix in PACKED_SUFFIXES:
        lower = lower.removesuffix(suffix)
    return "data" if lower.endswith(DATA_SUFFIXES) else None


def find_files(
    datasets: Path,
    kind: Kind,
    include: Sequence[str] = ("**",),
    exclude: Sequence[str] = (),
    problems: list[Problem] | None = None,
) -> list[Path]:
    """All files of a kind under `datasets` that hold something, sorted by their path there.

    Symbolic links are followed, but what is reached a second time through one is left out. Hidden
    files and folders and empty files are passed over.

    Args:
        datasets: The folder to look in.
        kind: Documents of text, or rows of data, by the files' names.
        include: Globs relative to `datasets`, read as in .gitignore: a pattern without a slash
            fits names at any depth, ``**`` fits any number of folders, and a pattern that fits a
            folder takes in all that is in it.
        exclude: Globs of what to leave out again.
        problems: Files and folders that look like data and could not be read are added here.

    Raises:
        UserError: `datasets` is no folder, or holds no usable file of the kind.
    """
    if not datasets.is_dir():
        raise UserError(
            "the datasets folder does not exist",
            where=str(datasets),
            fix=_init_command(datasets.parent),
        )
    wanted = any_glob(include)
    unwanted = any_glob(exclude)
    noted: list[Problem] = [] if problems is None else problems
    found: list[tuple[str, Path]] = []
    seen: set[tuple[int, int]] = set()
    for name, path, is_link in _walk(datasets, kind, noted):
        if not wanted.fullmatch(name) or unwanted.fullmatch(name):
            continue
        try:
            status = path.stat()
        except OSError as error:
            noted.append(Problem(path, None, f"cannot be read: {error.strerror}"))
            continue
        if not stat.S_ISREG(status.st_mode):
            noted.append(Problem(path, None, "is not a file"))
        elif not os.access(path, os.R_OK):
            noted.append(Problem(path, None, "cannot be read: permission denied"))
        elif not is_text_name(name):
            noted.append(Problem(path, None, UNTEXTUAL_NAME))
        elif status.st_size and not (is_link and (status.st_dev, status.st_ino) in seen):
            seen.add((status.st_dev, status.st_ino))
            found.append((name, path))
    if not found:
        suffixes = TEXT_SUFFIXES if kind == "text" else DATA_SUFFIXES
        searched = f"files ending in {' or '.join(suffixes)}, that are not empty"
        if tuple(include) != ("**",) or exclude:
            searched += f", included by {list(include)} and not excluded by {list(exclude)}"
        if noted:
            searched += f"; not readable: {', '.join(str(each.file) for each in noted[:3])}"
        raise UserError(
            _LACKING[kind],
            where=f"{datasets} (looked for {searched})",
            fix=f"put such files there, or: {_init_command(datasets.parent)}, for a small example",
        )
    return [path for _, path in sorted(found)]


#: Why a file is left out whose name could not be written into a run's record.
UNTEXTUAL_NAME = "has a name that is not UTF-8: rename it"


def is_text_name(name: str) -> bool:
    """Whether a file's name, as the system gives it, is text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _init_command(root: Path) -> str:
    """What makes the workspace complete, typed from the current folder."""
    return f"gptstudio init {'.' if root == Path.cwd() else shlex.quote(str(root))}"


def _walk(root: Path, kind: Kind, problems: list[Problem]) -> Iterator[tuple[str, Path, bool]]:
    """Name relative to `root`, path, and whether it is a link, of each file of a kind.

    Links come after all that is reached without them, so that data counts under its own name.
    """
    folders: list[tuple[str, Path]] = [("", root)]
    links: list[tuple[str, Path]] = []
    seen: set[tuple[int, int]] = set()
    while folders or links:
        name, folder = folders.pop() if folders else links.pop(0)
        if not _is_dir(folder):
            yield name, folder, True
            continue
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            problems.append(Problem(folder, None, f"cannot be listed: {error.strerror}"))
            continue
        for entry in entries:
            path = folder / entry.name
            inner = f"{name}/{entry.name}" if name else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append((inner, path))
            elif entry.is_symlink() and _is_dir(path):
                links.append((inner, path))
            elif kind_of_name(entry.name) != kind:
                continue
            elif entry.is_symlink():
                links.append((inner, path))
            else:
                yield inner, path, False


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def any_glob(patterns: Sequence[str]) -> re.Pattern[str]:
    """One expression that fits what any of the globs fits; none fits nothing."""
    if not patterns:
        return re.compile(r"(?!)")
    return re.compile("|".join(_glob_expression(pattern) for pattern in patterns), re.DOTALL)


def _glob_expression(pattern: str) -> str:
    core = pattern.removeprefix("./").strip("/")
    parts = ["" if "/" in pattern.removeprefix("./").rstrip("/") else r"(?:.*/)?"]
    at = 0
    while at < len(core):
        if core.startswith("**/", at):
            parts.append(r"(?:.*/)?")
            at += 3
        elif core.startswith("**", at):
            parts.append(r".*")
            at += 2
        elif core[at] == "*":
            parts.append(r"[^/]*")
            at += 1
        elif core[at] == "?":
            parts.append(r"[^/]")
            at += 1
        elif core[at] == "[" and (end := core.find("]", at + 2)) > 0:
            inside = core[at + 1 : end].replace("\\", r"\\").replace("[", r"\[")
            negated = inside.startswith(("!", "^"))
            parts.append(f"(?!/)[{'^' if negated else ''}{inside[1:] if negated else inside}]")
            at = end + 1
        else:
            parts.append(re.escape(core[at]))
            at += 1
    return f"{''.join(parts)}(?:/.*)?"
