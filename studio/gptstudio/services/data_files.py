"""Data files found by their names: what they hold, their content alone tells."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from gptcore.errors import UserError
from gptcore.formats.files import DATA_SUFFIXES, Kind, kind_of_name
from gptcore.workspace import Workspace


class DataFile(msgspec.Struct, frozen=True):
    """A file that was found.

    Attributes:
        path: Where it is.
        name: For people; text from outside, as the file system gives it.
        kind: Of documents or of rows, by its name.
        size: Bytes; 0 where it cannot be told.
    """

    path: Path
    name: str
    kind: Kind
    size: int


class Found(msgspec.Struct):
    """What a search came upon.

    Attributes:
        files: Sorted as the paths were given, then by name; each once.
        num_others: Files whose names are neither of text nor of data.
        unlisted: Folders that could not be looked into, and why.
    """

    files: list[DataFile]
    num_others: int = 0
    unlisted: list[str] = []


def find_files(paths: Sequence[Path], workspace: Workspace | None = None) -> Found:
    """The text and data files among and under `paths`.

    Hidden files and folders are passed over, links are followed. A file that was named itself is
    taken for data whatever it is called, unless its name says that it is text.

    Args:
        paths: Files and folders; none: the `datasets/` of the workspace.
        workspace: Needed where there are no paths.

    Raises:
        UserError: A path does not exist.
    """
    found = Found([])
    seen: set[tuple[int, int]] = set()
    if not paths and workspace is not None:
        _add(found, seen, workspace.datasets, workspace.relative(workspace.datasets))
    for path in paths:
        _add(found, seen, path, str(path))
    return found


def data_files(paths: Sequence[Path], workspace: Workspace | None = None) -> Found:
    """`find_files`, of those that hold rows.

    Raises:
        UserError: A path does not exist, names a text file, or there is no data file at all.
    """
    for path in paths:
        refuse_text(path)
    found = find_files(paths, workspace)
    found.files = [file for file in found.files if file.kind == "data"]
    if not found.files and not found.unlisted:
        places = [str(path) for path in paths] or [str(workspace.datasets if workspace else "")]
        raise UserError(
            "there is no data file",
            where=", ".join(places[:3]),
            fix=f"put files ending in {', '.join(DATA_SUFFIXES)} there",
        )
    return found


def refuse_text(path: Path) -> None:
    """Refuse a file of documents, which has no rows.

    Raises:
        UserError: It is one, by its name.
    """
    if kind_of_name(path.name) == "text" and path.is_file():
        raise UserError(
            "it is text for pretraining, and has no rows",
            where=str(path),
            fix=f"name a file ending in {', '.join(DATA_SUFFIXES)}",
        )


def _add(found: Found, seen: set[tuple[int, int]], path: Path, name: str) -> None:
    if path.is_dir():
        paths: Iterable[Path] = _walk(path, found)
    elif path.exists() or path.is_symlink():
        paths = [path]
    else:
        raise UserError(
            "there is no such file or folder", where=str(path), fix="see gptstudio data list"
        )
    # Links last: a file counts under its own name.
    for each in sorted(paths, key=lambda one: (one.is_symlink(), str(one))):
        kind = kind_of_name(each.name) or ("data" if each == path else None)
        if kind is None:
            found.num_others += 1
            continue
        size = 0
        try:
            status = each.stat()
        except OSError:
            pass  # reading it will say why
        else:
            size = status.st_size
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
        full = name if each == path else str(Path(name) / each.relative_to(path))
        found.files.append(DataFile(each, full, kind, size))


def _walk(root: Path, found: Found) -> Iterator[Path]:
    def unlisted(error: OSError) -> None:
        found.unlisted.append(f"{error.filename}: {error.strerror}")

    seen: set[tuple[int, int]] = set()
    for at, folders, names in os.walk(root, followlinks=True, onerror=unlisted):
        status = Path(at).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()  # a link leads round in a circle, or here again
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith("."):
                yield Path(at) / name
