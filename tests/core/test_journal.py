"""Lines that several processes append and others read while they grow."""

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gptcore.journal import JournalReader, JournalWriter, last_lines

LINE = st.binary(min_size=1, max_size=60).filter(lambda line: b"\n" not in line)


def test_reader_sees_what_was_appended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer, reader = JournalWriter(path), JournalReader(path)
    writer.append(b"one")
    assert list(reader.read()) == [b"one"]
    assert list(reader.read()) == []
    writer.append(b"two")
    assert list(reader.read()) == [b"two"]


def test_missing_file_is_not_an_error(tmp_path: Path) -> None:
    assert list(JournalReader(tmp_path / "none").read()) == []
    assert last_lines(tmp_path / "none", 3) == []


def test_partial_last_line_is_not_yet(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b"whole\npar")
    reader = JournalReader(path)
    assert list(reader.read()) == [b"whole"]
    with path.open("ab") as file:
        file.write(b"tial\n")
    assert list(reader.read()) == [b"partial"]


def test_torn_line_is_closed_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b'{"a": 1}\n{"b": ')
    JournalWriter(path).append(b'{"c": 3}')
    assert path.read_bytes() == b'{"a": 1}\n{"b": \n{"c": 3}\n'


def test_file_is_private(tmp_path: Path) -> None:
    JournalWriter(tmp_path / "j").append(b"x")
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600


@given(lines=st.lists(LINE, max_size=30), cuts=st.lists(st.integers(0, 600), max_size=8))
def test_any_way_of_growing_reads_the_same(lines: list[bytes], cuts: list[int]) -> None:
    import tempfile

    raw = b"".join(line + b"\n" for line in lines)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        path.touch()
        reader, seen, done = JournalReader(path), [], 0
        for cut in [*sorted(cuts), len(raw)]:
            with path.open("ab") as file:
                file.write(raw[done:cut])
            done = max(done, min(cut, len(raw)))
            seen += reader.read()
        assert seen == lines
        assert last_lines(path, 5) == lines[-5:]


def test_processes_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "j"
    code = (
        "import sys; from pathlib import Path; from gptcore.journal import JournalWriter\n"
        "w = JournalWriter(Path(sys.argv[1]))\n"
        "for i in range(300): w.append((sys.argv[2] * 500 + str(i)).encode())"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), letter], env=os.environ)
        for letter in "ab"
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    lines = list(JournalReader(path).read())
    assert len(lines) == 600
    assert all(line[:500] in (b"a" * 500, b"b" * 500) for line in lines)
