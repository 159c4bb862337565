"""Content digests of files, remembered so that an unchanged file is not read again."""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gptcore.workspace import make_private_dir, write_atomic

_CHUNK_BYTES = 1 << 20

#: A file changed this short a time ago may change again without its time stamp showing it.
_SETTLED_NS = 2_000_000_000

#: What was read is remembered at least this often, so that little is lost when a run is killed.
_SAVE_SECONDS = 5.0


def file_digest(path: Path, cache_dir: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """SHA-256 of the content of `path`, in hexadecimal; see `file_digests`."""
    return file_digests([path], cache_dir, on_bytes)[0]


def file_digests(
    paths: Sequence[Path], cache_dir: Path, on_bytes: Callable[[int], None] | None = None
) -> list[str]:
    """SHA-256 of the content of each file, in hexadecimal.

    Args:
        paths: The files.
        cache_dir: Digests are remembered in ``digests.json`` there, by path, size, time of
            modification and inode; the folder is made when missing.
        on_bytes: Called with the number of bytes read so far, at every file and several times a
            second within one; what it raises ends the reading.

    Raises:
        OSError: A file cannot be read.
    """
    store = cache_dir / "digests.json"
    known = _load(store)
    fresh: dict[str, object] = {}
    saved_at = time.monotonic()
    digests: list[str] = []
    done = 0
    try:
        for path in paths:
            if on_bytes:
                on_bytes(done)
            key = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
            stamp = _stamp(path.stat())
            entry = known.get(key)
            if isinstance(entry, list) and entry[:-1] == stamp and isinstance(entry[-1], str):
                digests.append(entry[-1])
                continue
            digest = hashlib.sha256()
            with path.open("rb", buffering=0) as file:
                # Not beyond its size: a file that is being appended to might never end.
                left = stamp[0]
                while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
                    digest.update(chunk)
                    left -= len(chunk)
                    done += len(chunk)
                    if on_bytes:
                        on_bytes(done)
                after = os.fstat(file.fileno())
            digests.append(digest.hexdigest())
            if _stamp(after) == stamp and time.time_ns() - after.st_mtime_ns > _SETTLED_NS:
                fresh[key] = [*stamp, digests[-1]]
            if fresh and time.monotonic() - saved_at > _SAVE_SECONDS:
                _remember(store, fresh)
                fresh, saved_at = {}, time.monotonic()
    finally:
        if fresh:
            _remember(store, fresh)
    return digests


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _load(store: Path) -> dict[str, object]:
    """What is remembered; nothing, when the store is missing or damaged."""
    try:
        content = json.loads(store.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(store: Path, entries: dict[str, object]) -> None:
    """Add entries; others that write at the same time keep theirs.

    Where nothing can be written, as in a workspace of others, they are not remembered.
    """
    with contextlib.suppress(OSError):
        make_private_dir(store.parent)
        _add(store, entries)


def _add(store: Path, entries: dict[str, object]) -> None:
    with store.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_atomic(store, json.dumps({**_load(store), **entries}, indent=0), durable=False)
