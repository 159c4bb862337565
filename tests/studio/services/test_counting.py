"""What is in a text file, counted in chunks, against what reading it whole gives."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.errors import UserError
from gptcore.formats import TextReader
from gptstudio.services import counting
from gptstudio.services.counting import Counts, TextCounter

SEPARATOR = "<|endoftext|>"


def count(path: Path, separator: str = SEPARATOR) -> Counts:
    with TextCounter(path, separator) as counter:
        while counter.step():
            pass
        return counter.result()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def reasons(counts: Counts) -> list[str]:
    return [problem.reason for problem in counts.problems]


def test_lines_documents_and_characters(tmp_path: Path) -> None:
    text = f"one\ntwo{SEPARATOR}  \n{SEPARATOR}drei ä\n{SEPARATOR}"
    counts = count(written(tmp_path / "x.txt", text.encode()))
    assert counts == Counts(len(text.encode()), 4, 2, len(text))
    assert count(tmp_path / "x.txt", "").documents == 1


@pytest.mark.parametrize(
    ("content", "reason", "line"),
    [
        (b"", "empty", None),
        (b" \n\t\n", "nothing but white space", None),
        ("\u3000".encode() * 200_000, "nothing but white space", None),
        (b"good\ngood\nb\xff\xfed", "2 bytes are not UTF-8, the first at byte 11", 3),
        (b"cut off \xe6\x97", "2 bytes are not UTF-8, the first at byte 8", 1),
        (b"good\nba\0d\0", "2 NUL bytes", 2),
        ("text".encode("utf-16"), "UTF-16", None),
        (b"\0\1\2\3" * 100, "binary", None),
    ],
)
def test_what_is_wrong_and_where(
    content: bytes, reason: str, line: int | None, tmp_path: Path
) -> None:
    problem = count(written(tmp_path / "x.txt", content)).problems[0]
    assert reason in problem.reason
    assert problem.line == line


fragments = st.lists(
    st.sampled_from(
        [b"a", b" ", b"\n", b"\r\n", SEPARATOR.encode(), b"<|", b"\xff", b"\xe6\x97\xa5", b"\xe6",
         "\u3000".encode(), b"\xef\xbb\xbf", b"\0", b"<|endoftext", b"\xf0\x9f\x98\x80"]
    ),
    max_size=40,
).map(b"".join)  # fmt: skip


def exact(counts: Counts) -> list[str]:
    """Without the guess at the kind of file, which goes by the first chunk, and blankness."""
    return [each for each in reasons(counts) if not each.startswith(("looks", "holds"))]


@settings(max_examples=400, deadline=None)
@given(content=fragments, chunk=st.integers(1, 20), block=st.integers(1, 20))
def test_chunks_make_no_difference(
    content: bytes, chunk: int, block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = written(tmp_path_factory.mktemp("count") / "x.txt", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "CHUNK_BYTES", max(3, chunk))  # a mark is looked for in the first
        patch.setattr(counting, "BLOCK_BYTES", block)
        counts = count(path)
    whole = count(path)
    text = content.removeprefix(b"\xef\xbb\xbf")
    assert counts.lines == content.count(b"\n") + (not content.endswith(b"\n") and content != b"")
    assert counts.characters == len(text.decode(errors="replace"))
    assert counts.bytes == whole.bytes == len(content)
    assert sorted(exact(counts)) == sorted(exact(whole))
    assert counts.documents == whole.documents
    reader = TextReader(path, SEPARATOR)
    assert whole.documents == sum(piece.ends_document for piece in reader)
    assert any("not UTF-8" in reason for reason in reasons(counts)) == bool(reader.invalid_bytes)
    if reader.invalid_bytes:
        said = f"{reader.invalid_bytes:,} byte{'s are' if reader.invalid_bytes > 1 else ' is'}"
        assert any(reason.startswith(said) for reason in reasons(counts))
        try:
            text.decode()
        except UnicodeDecodeError as error:
            at = error.start + len(content) - len(text)
            assert any(f"the first at byte {at:,}" in reason for reason in reasons(counts))


@pytest.mark.timeout(20)
def test_a_pipe_is_refused_and_a_growing_file_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UserError):
        TextCounter(tmp_path / "pipe.txt", SEPARATOR)
    with pytest.raises(FileNotFoundError):
        TextCounter(tmp_path / "gone.txt", SEPARATOR)
    path = written(tmp_path / "x.txt", b"line\n" * 100)
    with TextCounter(path, SEPARATOR) as counter:
        with path.open("ab") as more:
            more.write(b"more\n" * 100)
        while counter.step():
            pass
        assert counter.result().lines == 100
