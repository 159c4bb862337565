"""File digests and the store that remembers them."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gptcore.digests import file_digest, file_digests


def settled(path: Path, content: bytes) -> Path:
    """A file whose last change is long enough ago to be remembered."""
    path.write_bytes(content)
    os.utime(path, ns=(10**18, 10**18))
    return path


def test_it_is_sha256_and_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path = settled(tmp_path / "x", b"content" * 100_000)
    reads: list[int] = []
    first = file_digest(path, tmp_path / "cache", reads.append)
    assert first == hashlib.sha256(path.read_bytes()).hexdigest()
    assert reads[-1] == 700_000
    reads.clear()
    assert file_digest(path, tmp_path / "cache", reads.append) == first
    assert reads == [0]


@pytest.mark.parametrize("change", ["size", "time", "inode"])
def test_a_changed_file_is_read_again(tmp_path: Path, change: str) -> None:
    path = settled(tmp_path / "x", b"old")
    file_digest(path, tmp_path)
    if change == "size":
        settled(path, b"newer")
    elif change == "time":
        path.write_bytes(b"new")
    else:
        settled(tmp_path / "y", b"new").replace(path)
    assert file_digest(path, tmp_path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_changed_just_now_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    stamp = path.stat().st_mtime_ns
    file_digest(path, tmp_path)
    path.write_bytes(b"new")
    os.utime(path, ns=(stamp, stamp))
    assert file_digest(path, tmp_path) == hashlib.sha256(b"new").hexdigest()


@pytest.mark.parametrize("store", [b"", b"[]", b'{"cut', b"\xff", b'{"x": 3}'])
def test_a_damaged_store_is_made_anew(tmp_path: Path, store: bytes) -> None:
    path = settled(tmp_path / "x", b"content")
    (tmp_path / "digests.json").write_bytes(store)
    assert file_digest(path, tmp_path) == hashlib.sha256(b"content").hexdigest()
    assert str(path) in json.loads((tmp_path / "digests.json").read_bytes())


def test_processes_that_write_together_lose_nothing(tmp_path: Path) -> None:
    paths = [settled(tmp_path / f"{number}.txt", b"%d" % number) for number in range(40)]
    code = (
        "import sys; from pathlib import Path; from gptcore.digests import file_digest\n"
        "for path in sys.argv[2:]: file_digest(Path(path), Path(sys.argv[1]))"
    )
    cache = tmp_path / "cache"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, cache, *paths[start::4]])
        for start in range(4)
    ]
    assert [process.wait() for process in processes] == [0] * 4
    assert set(json.loads((cache / "digests.json").read_bytes())) == set(map(str, paths))


def test_what_the_callback_raises_ends_it_and_keeps_what_was_done(tmp_path: Path) -> None:
    paths = [settled(tmp_path / name, b"x" * 10) for name in "ab"]

    def stop(done: int) -> None:
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        file_digests(paths, tmp_path, stop)
    assert list(json.loads((tmp_path / "digests.json").read_bytes())) == [str(paths[0])]
