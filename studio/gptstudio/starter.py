"""Makes a workspace ready: starter data and the shipped profiles, never over a person's files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gptcore.conversation import END_OF_TEXT
from gptcore.errors import UserError
from gptcore.workspace import write_atomic
from gptstudio.demo_data import FILE_NAMES, demo_files
from gptstudio.resources import shipped

TOPICS = "pydoc_topics.txt"
#: The folder of the demo's conversations.
DEMO = "demo"
#: The lines that reStructuredText draws under its headings.
_UNDERLINE = re.compile(r"^([*=~^\"'#-])\1{2,}\n", re.MULTILINE)


@dataclass
class Made:
    """What `make_workspace` did.

    Attributes:
        folders: Folders made, relative to the workspace.
        files: Files made, likewise.
        kept: How many files were there already.
        notes: What could not be made, and why.
    """

    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    kept: int = 0
    notes: list[str] = field(default_factory=list)


def make_workspace(root: Path) -> Made:
    """Fill `root` with what is missing: `datasets/`, `profiles/` and their starter files.

    Raises:
        UserError: Something that is no folder is in the way.
        OSError: It cannot be written.
    """
    made = Made()
    for folder in (root, root / "datasets", root / "profiles"):
        if folder.is_dir():
            continue
        if folder.exists() or folder.is_symlink():
            raise UserError(
                "something that is no folder is in the way",
                where=str(folder),
                fix="name another folder, or move it away",
            )
        folder.mkdir(parents=True)
        if folder != root:
            made.folders.append(folder.name)
    for source, name in _shipped_files():
        _write(root, name, source.read_bytes(), made)
    for name, data in _demo_files(root):
        _write(root, name, data, made)
    topics = _python_topics()
    if topics:
        _write(root, f"datasets/{TOPICS}", topics.encode(), made)
    else:
        made.notes.append(f"this Python comes without pydoc_data: no datasets/{TOPICS}")
    return made


def _shipped_files() -> Iterator[tuple[Path, str]]:
    for path in sorted(shipped("profiles").glob("*.toml")):
        yield path, f"profiles/{path.name}"
    datasets = shipped("datasets")
    for path in sorted(datasets.rglob("*")):
        inner = path.relative_to(datasets)
        if path.is_file() and not any(part.startswith((".", "__")) for part in inner.parts):
            yield path, f"datasets/{inner}"


def _demo_files(root: Path) -> Iterator[tuple[str, bytes]]:
    """The demo's conversations; made only where one of them is missing."""
    names = [f"datasets/{DEMO}/{name}" for name in FILE_NAMES]
    if all((root / name).exists() for name in names):
        yield from ((name, b"") for name in names)
        return
    for name, text in demo_files().items():
        yield f"datasets/{DEMO}/{name}", text.encode()


def _write(root: Path, name: str, data: bytes, made: Made) -> None:
    path = root / name
    if path.exists() or path.is_symlink():
        made.kept += 1
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data, mode=0o644, durable=False)
    made.files.append(name)


def _python_topics() -> str:
    """The help texts that every CPython carries, a document each; empty where it has none."""
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions split it off
        return ""
    documents = [_UNDERLINE.sub("", text).strip() for text in topics.values()]
    return "".join(f"{text}\n{END_OF_TEXT}\n" for text in documents if text)
