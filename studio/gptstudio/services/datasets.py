"""What lies under `datasets/`, as a tree; nothing is opened, so any amount comes at once.

The rules are those of `gptcore.formats.find_files` and `gptcore.inputs`: what a stage takes here is
what it would read in a run, as far as names tell. Reading the files is the data worker's.
"""

import itertools
import math
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from gptcore.formats import TEXT_SUFFIXES, UNTEXTUAL_NAME, is_text_name
from gptcore.formats.files import DATA_SUFFIXES, PACKED_SUFFIXES
from gptcore.lineage import results
from gptcore.workspace import Workspace
from gptstudio.services.mixes import Mixes, Taker, stages_of

if TYPE_CHECKING:
    from gptcore.profile import Profile

#: How many files and folders are listed at most; what lies beyond is said to be left out.
MAX_ENTRIES = 50_000

#: text: documents. data: rows, of conversations and the like. ignored: neither.
Form = Literal["text", "data", "ignored"]


class DatasetFile(msgspec.Struct, frozen=True, gc=False):
    """One file; the garbage collector need not look at tens of thousands of them.

    Attributes:
        path: Under `datasets/`, with slashes; text from outside, as the file system gives it.
        size: Bytes; 0 where it cannot be told.
        mtime_ns: Time of the last change.
        form: What its name says it is.
        takers: The stages that take it, each with the mix it takes it from; what its rows are may
            rule some out once they are known.
        reason: Why it is not in the mix, in words; empty where it is.
        is_problem: Whether it looks like data and cannot be used, so that somebody should look.
    """

    path: str
    size: int
    mtime_ns: int
    form: Form
    takers: tuple[Taker, ...] = ()
    reason: str = ""
    is_problem: bool = False

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def in_mix(self) -> bool:
        """Whether any stage takes it, by its name."""
        return bool(self.takers)

    def stages(self, forms: Iterable[str] = ()) -> tuple[str, ...]:
        """The stages that take it.

        Args:
            forms: What its rows are; none: not known.
        """
        return stages_of(self.takers, forms)


@dataclass(slots=True)
class DatasetFolder:
    """One folder.

    Args:
        path: Under `datasets/`; empty for that folder itself.
        folders: Paths of those in it, sorted.
        files: Those in it, sorted.
        reason: Why it is not looked into, in words; empty where it is.
        is_problem: Whether it should have been and could not.
        num_files: Files in it and below.
        num_in_mix: Of those, the ones that a stage takes.
        bytes: Size of all in it and below.
        bytes_in_mix: Size of what a stage takes.
    """

    path: str
    folders: list[str] = field(default_factory=list)
    files: list[DatasetFile] = field(default_factory=list)
    reason: str = ""
    is_problem: bool = False
    num_files: int = 0
    num_in_mix: int = 0
    bytes: int = 0
    bytes_in_mix: int = 0

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class DatasetTree:
    """All under `datasets/`.

    Args:
        place: The folder.
        folders: By path; each stands after the one it lies in, that of `place` itself is "".
        listed: Every file, sorted by path.
        problem: Why there is nothing to show, in words: no such folder, or it cannot be listed.
        left_out: What was not looked at because there is too much, in words; empty: nothing.
        mixes: What takes which files.
    """

    place: Path
    folders: dict[str, DatasetFolder]
    listed: tuple[DatasetFile, ...] = field(default=(), compare=False)  # in the folders, too
    problem: str = ""
    left_out: str = ""
    mixes: Mixes = field(default_factory=Mixes)

    @property
    def root(self) -> DatasetFolder:
        """The folder itself."""
        return self.folders[""]

    def files(self) -> tuple[DatasetFile, ...]:
        """Every file, sorted by path."""
        return self.listed


def scan(
    workspace: Workspace, profile: "Profile | None", max_entries: int = MAX_ENTRIES
) -> DatasetTree:
    """List `datasets/`.

    Args:
        workspace: Whose.
        profile: Whose stages take which files; None: every file is shown as outside.
        max_entries: How many files and folders to list at most.
    """
    place = workspace.datasets
    if not place.is_dir():
        return DatasetTree(place, {"": DatasetFolder("")}, problem="the folder does not exist")
    mixes = Mixes(profile)
    listing = _Listing(place, mixes, max_entries)
    folders = listing.run()
    found = [file for folder in folders.values() for file in folder.files]
    files = tuple(sorted(found, key=lambda file: file.path))
    return DatasetTree(place, folders, files, folders[""].reason, listing.left_out, mixes)


def bytes_per_token(workspace: Workspace, profile: "Profile") -> float:
    """How many bytes of text make a token, to guess tokens before there are any.

    As the newest model of this pipeline found, else what byte-level BPE makes of English text.
    """
    for _, made in results(workspace.models):
        counted = sum(made.training.get(key) or 0 for key in ("train_tokens", "held_out_tokens"))
        size = sum(item.bytes for item in made.data)
        if made.pipeline == profile.name and counted and size:
            return float(size / counted)
    return guess_bytes_per_token(profile.model.vocab_size)


def guess_bytes_per_token(vocab_size: int) -> float:
    """What byte-level BPE of that many tokens makes of English text, within some 20 %."""
    return max(1.0, 0.28 * math.log2(max(2, vocab_size)))


class _Listing:
    """Walks as `gptcore.formats` does: links come after all that is reached without them."""

    def __init__(self, place: Path, mixes: Mixes, max_entries: int) -> None:
        self._mixes = mixes
        self._room = max_entries
        self._place = str(place)
        self._seen_folders: set[tuple[int, int]] = set()
        self._seen_files: set[tuple[int, int, str]] = set()
        self._folders = {"": DatasetFolder("")}
        self._pending = [""]
        self._links: list[tuple[str, bool]] = []
        #: What was not looked at, in words.
        self.left_out = ""

    def run(self) -> dict[str, DatasetFolder]:
        at = 0
        while self._room > 0 and (self._pending or at < len(self._links)):
            if self._pending:
                self._list(self._pending.pop())
                continue
            path, is_folder = self._links[at]
            at += 1
            if is_folder:
                self._add_folder(path)
                self._list(path)
            else:
                self._add_file(path, None)
        rest = len(self._pending) + len(self._links) - at
        if rest or self.left_out:
            there = f"{rest:,} folders or links not looked at" if rest else ""
            self.left_out = ", ".join(part for part in (self.left_out, there) if part)
        self._sum_up()
        return self._folders

    def _list(self, path: str) -> None:
        folder = self._folders[path]
        full = self._full(path)
        try:
            status = os.stat(full)  # noqa: PTH116 - 20,000 of them are a second with pathlib
            if (status.st_dev, status.st_ino) in self._seen_folders:
                folder.reason = "listed already, at another place"
                return
            self._seen_folders.add((status.st_dev, status.st_ino))
            with os.scandir(full) as found:
                entries = list(itertools.islice(found, self._room + 1))
        except OSError as error:
            folder.reason, folder.is_problem = f"cannot be listed: {_words(error)}", True
            return
        if len(entries) > self._room:
            self.left_out = f"all but {self._room:,} entries of {path or 'datasets'}/"
            del entries[self._room :]
        self._room -= len(entries)
        for entry in sorted(entries, key=lambda entry: entry.name):
            self._take(entry, f"{path}/{entry.name}" if path else entry.name)

    def _take(self, entry: "os.DirEntry[str]", path: str) -> None:
        hidden = entry.name.startswith(".")
        if entry.is_dir(follow_symlinks=False):
            folder = self._add_folder(path)
            if hidden:
                folder.reason = "hidden: its name begins with a dot"
            else:
                self._pending.append(path)
        elif hidden:
            self._add(path, "ignored", "hidden: its name begins with a dot")
        elif entry.is_symlink():
            self._links.append((path, _is_dir(entry)))
        else:
            self._add_file(path, entry)

    def _add_folder(self, path: str) -> DatasetFolder:
        made = self._folders[path] = DatasetFolder(path)
        self._folders[path.rpartition("/")[0]].folders.append(path)
        return made

    def _add(
        self,
        path: str,
        form: Form,
        reason: str,
        status: os.stat_result | None = None,
        *,
        takers: tuple[Taker, ...] = (),
        is_problem: bool = False,
    ) -> None:
        self._folders[path.rpartition("/")[0]].files.append(
            DatasetFile(
                path=path,
                size=status.st_size if status else 0,
                mtime_ns=status.st_mtime_ns if status else 0,
                form=form,
                takers=takers,
                reason=reason,
                is_problem=is_problem,
            )
        )

    def _add_file(self, path: str, entry: "os.DirEntry[str] | None") -> None:
        """A file, or where there is no `entry` a link, whose target may be met already."""
        form, reason = form_of(path)
        takers: tuple[Taker, ...] = ()
        if form != "ignored":
            takers = self._mixes.takers(path, form)
            reason = "" if takers else "; ".join(self._mixes.refusals(path, form))
        try:
            status = os.stat(self._full(path)) if entry is None else entry.stat()  # noqa: PTH116
        except OSError as error:
            reason, wanted = reason or f"cannot be read: {_words(error)}", not reason
            self._add(path, form, reason, is_problem=wanted)
            return
        if not stat.S_ISREG(status.st_mode):
            self._add(path, form, reason or "is not a file", is_problem=bool(takers))
        elif not takers:
            self._add(path, form, reason, status)
        else:
            reason, is_problem = self._trouble(path, status)
            if not reason:
                takers = self._not_met(takers, status, is_link=entry is None)
                reason = "" if takers else "a link to a file that is in the mix already"
            taken = () if reason else takers
            self._add(path, form, reason, status, takers=taken, is_problem=is_problem)

    def _trouble(self, path: str, status: os.stat_result) -> tuple[str, bool]:
        """Why a file that is in a mix is not read, and whether it should be."""
        if not os.access(self._full(path), os.R_OK):
            return "cannot be read: permission denied", True
        if not is_text_name(path):
            return UNTEXTUAL_NAME, True
        return ("", False) if status.st_size else ("empty", False)

    def _not_met(
        self, takers: tuple[Taker, ...], status: os.stat_result, *, is_link: bool
    ) -> tuple[Taker, ...]:
        """The takers whose mix has not met the file, or the target of the link, before."""
        identity = (status.st_dev, status.st_ino)
        if is_link:
            seen = self._seen_files
            takers = tuple(each for each in takers if (*identity, each.mix) not in seen)
        self._seen_files.update((*identity, each.mix) for each in takers)
        return takers

    def _full(self, path: str) -> str:
        return f"{self._place}/{path}" if path else self._place

    def _sum_up(self) -> None:
        # A folder stands after the one it lies in.
        for path, folder in reversed(self._folders.items()):
            folder.files.sort(key=lambda each: each.path)
            folder.folders.sort()
            folder.num_files += len(folder.files)
            for file in folder.files:
                folder.bytes += file.size
                if file.in_mix:
                    folder.num_in_mix += 1
                    folder.bytes_in_mix += file.size
            if path:
                above = self._folders[path.rpartition("/")[0]]
                above.num_files += folder.num_files
                above.num_in_mix += folder.num_in_mix
                above.bytes += folder.bytes
                above.bytes_in_mix += folder.bytes_in_mix


def form_of(path: str) -> tuple[Form, str]:
    """What a file's name says it is, and why no stage could take it; empty where one may."""
    name = path.rpartition("/")[2].lower()
    plain = name
    for suffix in PACKED_SUFFIXES:
        plain = plain.removesuffix(suffix)
    if plain.endswith(DATA_SUFFIXES):
        return "data", ""
    if name.endswith(TEXT_SUFFIXES) and not name.startswith("."):
        return "text", ""
    if plain.endswith(TEXT_SUFFIXES):
        return "ignored", "compressed text is not read: unpack it"
    return "ignored", f"not a text file: {' and '.join(TEXT_SUFFIXES)} are"


def _is_dir(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _words(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
