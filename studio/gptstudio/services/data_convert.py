"""Data files of any dialect written anew in the normal form, as JSON Lines."""

import gzip
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

import msgspec

from gptcore.errors import UserError
from gptcore.formats.checks import Duplicates
from gptcore.formats.files import PACKED_SUFFIXES
from gptcore.formats.problems import Problem
from gptcore.formats.records import to_row
from gptcore.workspace import fsync_dir
from gptstudio.services.data_files import DataFile, refuse_text
from gptstudio.services.data_report import FileReport, OnBytes, read_records

#: What a file of JSON Lines is called.
LINES_SUFFIXES = (".jsonl", ".ndjson")


def convert(
    source: Path, target: Path, *, force: bool = False, on_bytes: OnBytes | None = None
) -> FileReport:
    """Write the good rows of a file in the normal form; `target` appears whole or not at all.

    Args:
        source: Data in any form and dialect.
        target: Its name ends in `.jsonl` or `.ndjson`, and `.gz` or `.zst` where it is packed.
        force: Replace what is there.
        on_bytes: Told now and then how far it is.

    Returns:
        What was written, and what could not be.

    Raises:
        UserError: There is no such file, `target` cannot be made, or no row can be used.
    """
    if not source.is_file():
        raise UserError("there is no such file", where=str(source), fix="see gptstudio data list")
    refuse_text(source)
    _check_target(source, target, force=force)
    encode = msgspec.json.Encoder(enc_hook=str).encode
    report = FileReport(str(source))
    file = DataFile(source, str(source), "data", source.stat().st_size)
    with _appearing(target) as written:
        for item in read_records(file, Duplicates(), on_bytes):
            report.add(item, most=1)
            if not isinstance(item, Problem):
                written.write(encode(to_row(item.record)))
                written.write(b"\n")
        if not report.good:
            why = f"; the first {report.problems[0].reason}" if report.problems else ": it is empty"
            raise UserError(
                f"no row of it can be used{why}",
                where=str(source),
                fix="gptstudio data check says more",
            )
        _check_target(source, target, force=force)  # it may have come into being meanwhile
    return report


def _check_target(source: Path, target: Path, *, force: bool) -> None:
    name = target.name.lower()
    for suffix in PACKED_SUFFIXES:
        name = name.removesuffix(suffix)
    if not name.endswith(LINES_SUFFIXES):
        raise UserError(
            "what is written is JSON Lines, and the name does not say so",
            where=str(target),
            fix=f"end it in {' or '.join(LINES_SUFFIXES)}, and {' or '.join(PACKED_SUFFIXES)} "
            "to pack it",
        )
    if not target.parent.is_dir():
        raise UserError("there is no such folder", where=str(target.parent), fix="make it first")
    if target.is_dir():
        raise UserError("it is a folder", where=str(target), fix="name a file")
    if target.exists() and target.samefile(source):
        raise UserError(
            "a file cannot be converted into itself: its bad rows would be lost",
            where=str(target),
            fix="choose another name",
        )
    if (target.exists() or target.is_symlink()) and not force:
        raise UserError(
            "the file is there already", where=str(target), fix="choose another name, or --force"
        )


@contextmanager
def _appearing(target: Path) -> Iterator[IO[bytes]]:
    """A file to write that gets its name when it is whole, packed as the name says."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            with _packing(file, target.suffix.lower()) as written:
                yield written
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_dir(target.parent)


@contextmanager
def _packing(file: IO[bytes], suffix: str) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        if suffix == ".gz":
            packed = gzip.GzipFile("", "wb", 6, file, 0)  # the same rows give the same bytes
            yield stack.enter_context(cast("IO[bytes]", packed))
        elif suffix == ".zst":
            from backports.zstd import ZstdFile

            yield stack.enter_context(cast("IO[bytes]", ZstdFile(file, "w")))
        else:
            yield file
