"""Finding text files, and reading them as documents in pieces."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.errors import UserError
from gptcore.formats import Problem, TextReader, find_files

SEPARATOR = "<|endoftext|>"


def put(root: Path, *names: str, text: str = "some text") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(root: Path, **options) -> list[str]:
    return [str(path.relative_to(root)) for path in find_files(root, "text", **options)]


def documents(path: Path, separator: str = SEPARATOR, piece_bytes: int = 1 << 20) -> list[bytes]:
    found, parts = [], []
    for piece in TextReader(path, separator, piece_bytes):
        assert piece.text
        parts.append(piece.text)
        if piece.ends_document:
            found.append(b"".join(parts))
            parts = []
    assert not parts, "the last piece of a file ends its document"
    return found


# --- finding -------------------------------------------------------------------------------------


def test_finds_text_at_any_depth_sorted_and_skips_the_rest(tmp_path: Path) -> None:
    put(tmp_path, "b.txt", "a/z.md", "a/deep/er/x.TXT", ".hidden.txt", ".git/y.txt", "c.json")
    put(tmp_path, "empty.txt", text="")
    assert names(tmp_path) == ["a/deep/er/x.TXT", "a/z.md", "b.txt"]


def test_the_remedy_is_a_command_that_works_where_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for step in ("missing", "empty"):
        with pytest.raises(UserError) as caught:
            find_files(tmp_path / "datasets", "text")
        assert "gptstudio init ." in caught.value.fix
        if step == "missing":
            (tmp_path / "datasets").mkdir()
    with pytest.raises(UserError) as caught:
        find_files(tmp_path / "else where" / "datasets", "text")
    assert caught.value.fix == f"gptstudio init '{tmp_path}/else where'"


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["**"], ["README*"], ["a/b/c.txt", "a/d.md", "e.txt"]),
        (["*.md"], [], ["README.md", "a/README.md", "a/d.md"]),
        (["a/*"], [], ["a/README.md", "a/b/c.txt", "a/d.md"]),
        (["a/*.md"], [], ["a/README.md", "a/d.md"]),
        (["a/**/*.txt", "/e.txt"], [], ["a/b/c.txt", "e.txt"]),
        (["**/c.txt"], [], ["a/b/c.txt"]),
        (["**"], ["a/"], ["README.md", "e.txt"]),
        (["[ae].txt", "?.md"], [], ["a/d.md", "e.txt"]),
        (["[!e].txt"], [], ["a/b/c.txt"]),
    ],
)
def test_globs(tmp_path: Path, include, exclude, expected) -> None:
    put(tmp_path, "README.md", "e.txt", "a/README.md", "a/d.md", "a/b/c.txt")
    assert names(tmp_path, include=include, exclude=exclude) == expected


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside, "far.txt")
    root = tmp_path / "datasets"
    put(root, "z/own.txt")
    (root / "loop").symlink_to(root)
    (root / "z" / "up").symlink_to(root)
    (root / "a-link-to-z").symlink_to(root / "z")
    (root / "a.txt").symlink_to(root / "z" / "own.txt")
    (root / "other").symlink_to(outside)
    (root / "self.txt").symlink_to(root / "self.txt")
    (root / "broken.txt").symlink_to(root / "nowhere.txt")
    problems: list[Problem] = []
    assert names(root, problems=problems) == ["other/far.txt", "z/own.txt"]
    assert {problem.file.name for problem in problems} == {"self.txt", "broken.txt"}


@pytest.mark.timeout(20)
def test_pipes_and_folders_named_like_text_do_no_harm(tmp_path: Path) -> None:
    put(tmp_path, "good.txt", "folder.txt/inside.md")
    os.mkfifo(tmp_path / "pipe.txt")
    problems: list[Problem] = []
    assert names(tmp_path, problems=problems) == ["folder.txt/inside.md", "good.txt"]
    assert [(problem.file.name, problem.line) for problem in problems] == [("pipe.txt", None)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_reported(tmp_path: Path) -> None:
    put(tmp_path, "good.txt", "secret.txt", "closed/x.txt")
    (tmp_path / "secret.txt").chmod(0)
    (tmp_path / "closed").chmod(0)
    problems: list[Problem] = []
    try:
        assert names(tmp_path, problems=problems) == ["good.txt"]
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert {problem.file.name for problem in problems} == {"secret.txt", "closed"}


def test_nothing_to_find_says_where_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError) as missing:
        find_files(tmp_path / "nowhere", "text")
    assert "gptstudio init" in missing.value.fix
    put(tmp_path, "a.json")
    with pytest.raises(UserError) as empty:
        find_files(tmp_path, "text")
    assert str(tmp_path) in empty.value.where
    assert ".txt" in empty.value.where
    assert ".md" in empty.value.where
    assert "gptstudio init" in empty.value.fix


# --- reading -------------------------------------------------------------------------------------

# Pieces of text that make every kind of boundary likely: separators whole and in parts, white
# space of all kinds, characters of one to four bytes.
FRAGMENTS = st.sampled_from(
    [
        *(
            SEPARATOR,
            "<|end",
            "oftext|>",
            "\n",
            "\r\n",
            " ",
            "\t",
            "\u3000",
            "\u00a0",
            "\x85",
            "\x1c",
        ),
        *(
            "a",
            "word",
            "é",
            "世",
            "🎉",
            ".",
            "7",
            "'s",
            "line\nnext",
            " the end.\n\n",
            "\ufeff",
            "aa",
        ),
    ]
)
TEXTS = st.lists(FRAGMENTS, max_size=60).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    text=TEXTS, piece_bytes=st.integers(1, 40), separator=st.sampled_from([SEPARATOR, "\n", "aa"])
)
def test_pieces_are_the_documents_of_the_text(
    tmp_path_factory, text: str, piece_bytes: int, separator: str
) -> None:
    path = tmp_path_factory.mktemp("reader", numbered=True) / "x.txt"
    path.write_bytes(text.encode())
    for piece in (reader := TextReader(path, separator, piece_bytes)):
        piece.text.decode()
    assert reader.invalid_bytes == 0
    assert reader.bytes_read == len(text.encode())
    expected = text.removeprefix("\ufeff").split(separator)
    got = [document.decode() for document in documents(path, separator, piece_bytes)]
    assert [each for each in got if each.strip()] == [each for each in expected if each.strip()]


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=80), piece_bytes=st.integers(1, 30))
def test_any_bytes_become_what_python_makes_of_them(
    tmp_path_factory, raw: bytes, piece_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("reader", numbered=True) / "x.txt"
    path.write_bytes(raw)
    reader = TextReader(path, "", piece_bytes)
    got = b"".join(piece.text for piece in reader).decode()
    expected = raw.decode("utf-8", "replace").removeprefix("\ufeff")
    assert got == expected or not expected.strip()
    assert reader.invalid_bytes == len(raw) - len(raw.decode("utf-8", "ignore").encode())


def test_blank_documents_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(f"{SEPARATOR}\n{SEPARATOR} one {SEPARATOR}\u3000\n{SEPARATOR}two{SEPARATOR}")
    assert documents(path) == [b" one ", b"two"]


def test_an_empty_separator_makes_each_file_a_document(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(f"a{SEPARATOR}b")
    assert documents(path, separator="") == [f"a{SEPARATOR}b".encode()]


def test_long_documents_are_cut_at_lines_then_at_words_then_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"

    def cuts(text: str, size: int) -> list[str]:
        path.write_text(text)
        return [piece.text.decode() for piece in TextReader(path, "", size)]

    assert cuts("one line\nand two\nand  three", 20) == ["one line\nand two\n", "and  three"]
    assert cuts("so many words on a line", 10)[:2] == ["so many", " words on"]
    assert cuts("é" * 100, 10) == ["é" * 20] * 5


def test_memory_is_bounded_on_one_endless_line(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"x" * 3_000_000)
    sizes = [len(piece.text) for piece in TextReader(path, SEPARATOR, 10_000)]
    assert sum(sizes) == 3_000_000
    assert max(sizes) <= 40_000


@pytest.mark.timeout(20)
def test_a_file_that_grows_while_it_is_read_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("line\n" * 10)
    found = []
    for piece in TextReader(path, SEPARATOR, 10):
        found.append(piece.text)
        with path.open("a") as more:
            more.write("and more\n" * 10)
    assert b"".join(found) == b"line\n" * 10


def test_a_file_that_went_away_is_the_persons_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        list(TextReader(tmp_path / "gone.txt", SEPARATOR))
    assert "gone.txt" in error.value.where


def test_a_name_that_is_not_text_is_a_problem_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("text")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.txt")).write_text("text")
    problems: list[Problem] = []
    found = find_files(tmp_path, "text", problems=problems)
    assert [path.name for path in found] == ["good.txt"]
    [problem] = problems
    assert "not UTF-8" in problem.reason
