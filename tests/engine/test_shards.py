"""Token shards: made once, found again, never half-made; and the held-out split."""

import os
import pydoc_data.topics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.errors import UserError
from gptengine import BPETokenizer
from gptengine.data import shards
from gptengine.data.shards import Corpus, prepare_corpus
from gptengine.data.streams import TokenFiles, TokenStream

SEPARATOR = "<|endoftext|>"
TOPICS = list(pydoc_data.topics.topics.values())


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    made = BPETokenizer()
    made.train(TOPICS[:30], vocab_size=800)
    return made


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(10**18, 10**18))
    return path


def prepare(files: list[Path], tokenizer: BPETokenizer, cache: Path, **options) -> Corpus:
    options = {"separator": SEPARATOR, "held_out": 0.1, **options}
    return prepare_corpus(files, tokenizer, cache, **options)


def ids_of(stream: TokenStream) -> list[int]:
    return stream.read(0, len(stream)).tolist()


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "tokens").iterdir())


# --- what is in a shard --------------------------------------------------------------------------


def test_documents_follow_each_other_with_an_end_of_text_behind_each(
    tokenizer: BPETokenizer, tmp_path: Path
) -> None:
    a = write(tmp_path / "a.txt", f"First.{SEPARATOR}\n{SEPARATOR}Second <|user|> text.")
    b = write(tmp_path / "b.md", "Third.")
    corpus = prepare([a, b], tokenizer, tmp_path / "cache", held_out=0)
    expected = []
    for text in ("First.", "Second <|user|> text.", "Third."):
        expected += [*tokenizer.encode(text), tokenizer.eos_id]
    assert ids_of(corpus.train) == expected
    assert len(corpus.val) == 0
    assert corpus.num_documents == 3
    assert corpus.warnings == []


def test_many_pieces_and_batches_give_the_ids_of_the_whole(
    tokenizer: BPETokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_PIECE_BYTES", 1000)
    monkeypatch.setattr(shards, "_MAX_PIECES", 7)
    file = write(tmp_path / "a.txt", SEPARATOR.join(TOPICS))
    corpus = prepare([file], tokenizer, tmp_path / "cache", held_out=0)
    expected = [[*ids, 0] for ids in tokenizer.encode_batch(TOPICS)]
    assert ids_of(corpus.train) == [index for ids in expected for index in ids]


def test_a_large_vocabulary_takes_four_bytes(
    tokenizer: BPETokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.txt", "some text")
    small = ids_of(prepare([file], tokenizer, tmp_path / "small", held_out=0).train)
    monkeypatch.setattr(BPETokenizer, "vocab_size", 65537)
    large = ids_of(prepare([file], tokenizer, tmp_path / "large", held_out=0).train)
    assert small == large
    sizes = [
        (kept(tmp_path / name)[0] / "tokens.bin").stat().st_size for name in ("small", "large")
    ]
    assert sizes == [2 * len(small), 4 * len(small)]


# --- made once, and whole ------------------------------------------------------------------------


def test_a_shard_is_found_again_by_content(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    file = write(tmp_path / "a.txt", "some text")
    first = ids_of(prepare([file], tokenizer, cache, held_out=0).train)
    (folder,) = kept(cache)
    inode = folder.stat().st_ino
    renamed = file.rename(tmp_path / "other.txt")
    assert ids_of(prepare([renamed], tokenizer, cache, held_out=0).train) == first
    assert [each.stat().st_ino for each in kept(cache)] == [inode]
    write(renamed, "some more text")
    assert ids_of(prepare([renamed], tokenizer, cache, held_out=0).train) != first
    prepare([renamed], tokenizer, cache, held_out=0, separator="more")
    assert len(kept(cache)) == 3


@pytest.mark.parametrize("name", ["tokens.bin", "documents.bin", "meta.json"])
@pytest.mark.parametrize("damage", ["missing", "short", "flipped"])
def test_a_damaged_shard_is_made_again(
    tokenizer: BPETokenizer, tmp_path: Path, name: str, damage: str
) -> None:
    cache = tmp_path / "cache"
    file = write(tmp_path / "a.txt", SEPARATOR.join(TOPICS[:30]))
    first = prepare([file], tokenizer, cache)
    expected = ids_of(first.train), ids_of(first.val)
    (folder,) = kept(cache)
    broken = folder / name
    raw = bytearray(broken.read_bytes())
    if damage == "missing":
        broken.unlink()
    elif damage == "short":
        broken.write_bytes(raw[:-2])
    else:
        raw[-9] ^= 1
        broken.write_bytes(raw)
    again = prepare([file], tokenizer, cache)
    assert (ids_of(again.train), ids_of(again.val)) == expected
    assert [each.name for each in kept(cache)] == [folder.name]


def test_progress_counts_up_and_can_abort_without_leaving_anything(
    tokenizer: BPETokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_MAX_PIECES", 5)
    monkeypatch.setattr(shards, "_PIECE_BYTES", 10_000)
    files = [write(tmp_path / f"{n}.txt", f"{n}" + SEPARATOR.join(TOPICS)) for n in range(2)]
    total = sum(file.stat().st_size for file in files)
    calls: list[int] = []

    def stop(done: int, of: int) -> None:
        assert of == total
        calls.append(done)
        if done > total * 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(files, tokenizer, tmp_path / "cache", on_progress=stop)
    assert calls == sorted(calls)
    assert len(set(calls)) > 5
    assert [each.name.startswith(".") for each in kept(tmp_path / "cache")] == [False]
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        prepare(files, tokenizer, tmp_path / "cache", on_progress=stop)
    assert min(filter(None, calls)) == total // 2, "the first file is not encoded again"


def test_a_full_disk_leaves_nothing_half_written(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", SEPARATOR.join(TOPICS))
    tokenizer.save(tmp_path / "tok")
    # A limit on the size of files fails a write as a full disk does.
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from gptengine import BPETokenizer\n"
        "from gptengine.data.shards import prepare_corpus\n"
        "tokenizer = BPETokenizer.load(sys.argv[2])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    prepare_corpus([Path(sys.argv[1])], tokenizer, Path(sys.argv[3]),\n"
        "                   separator='', held_out=0)\n"
        "except OSError as error:\n"
        "    print('OSError', error.errno)\n"
    )
    command = [sys.executable, "-c", code, file, tmp_path / "tok", tmp_path / "cache"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("OSError")
    assert kept(tmp_path / "cache") == []


def test_a_file_that_grows_meanwhile_is_refused(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", "some text")

    def grow(done: int, total: int) -> None:
        with file.open("a") as more:
            more.write(" and more")

    with pytest.raises(UserError, match="changed while it was read"):
        prepare([file], tokenizer, tmp_path / "cache", on_progress=grow)
    assert kept(tmp_path / "cache") == []


# --- warnings ------------------------------------------------------------------------------------


def test_bytes_that_are_not_text_are_counted_each_time(
    tokenizer: BPETokenizer, tmp_path: Path
) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes("caf\xe9 na\xefve".encode("latin-1"))
    for _ in range(2):
        corpus = prepare([file], tokenizer, tmp_path / "cache", held_out=0)
        (warning,) = corpus.warnings
        assert str(file) in warning
        assert "2 bytes" in warning
        assert tokenizer.decode(ids_of(corpus.train)[:-1]) == "caf\ufffd na\ufffdve"


def test_the_slow_way_gives_the_same_and_says_why(
    tokenizer: BPETokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.txt", TOPICS[0])
    fast = prepare([file], tokenizer, tmp_path / "fast", held_out=0)
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    slow = prepare([file], tokenizer, tmp_path / "slow", held_out=0)
    assert ids_of(fast.train) == ids_of(slow.train)
    assert fast.warnings == []
    assert "gigatoken" in slow.warnings[0]


def test_files_with_no_text_are_the_persons_to_mend(
    tokenizer: BPETokenizer, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no text"):
        prepare([write(tmp_path / "a.txt", " \n ")], tokenizer, tmp_path / "cache")
    with pytest.raises(UserError, match="held out"):
        prepare([], tokenizer, tmp_path / "cache", held_out=1.0)


# --- the split -----------------------------------------------------------------------------------


def texts_of(stream: TokenStream, tokenizer: BPETokenizer) -> list[str]:
    return tokenizer.decode(ids_of(stream)).split(SEPARATOR)[:-1]


def test_documents_are_held_out_by_their_content(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    texts = [f"Document number {number}, once." for number in range(400)]
    one = [write(tmp_path / "one.txt", SEPARATOR.join(texts))]
    corpus = prepare(one, tokenizer, tmp_path / "cache", held_out=0.25)
    train, val = texts_of(corpus.train, tokenizer), texts_of(corpus.val, tokenizer)
    assert corpus.held_out_by == "documents"
    assert sorted([*train, *val]) == sorted(texts)
    assert 60 < len(val) < 140
    assert train == [text for text in texts if text in set(train)], "the order is kept"
    # Cut into files otherwise, with copies: each document stays on its side.
    two = [
        write(tmp_path / "two.txt", SEPARATOR.join(texts[:150])),
        write(tmp_path / "three.txt", SEPARATOR.join(texts[100:])),
    ]
    again = prepare(two, tokenizer, tmp_path / "cache", held_out=0.25)
    assert set(texts_of(again.val, tokenizer)) == set(val)
    assert set(texts_of(again.train, tokenizer)) == set(train)


@pytest.mark.parametrize("copies", [1, 30])
def test_few_or_equal_documents_hold_out_the_tail(
    tokenizer: BPETokenizer, tmp_path: Path, copies: int
) -> None:
    text = TOPICS[0] if copies == 1 else SEPARATOR.join([TOPICS[3][:300]] * copies)
    file = write(tmp_path / "a.txt", text)
    whole = ids_of(prepare([file], tokenizer, tmp_path / "cache", held_out=0).train)
    corpus = prepare([file], tokenizer, tmp_path / "cache", held_out=0.2)
    assert corpus.held_out_by == "tail"
    assert ids_of(corpus.train) + ids_of(corpus.val) == whole
    assert len(corpus.val) == int(len(whole) * 0.2)
    assert any("held out" in warning for warning in corpus.warnings)


# --- streams -------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_stream_reads_as_its_spans_joined(data: st.DataObject) -> None:
    arrays = [np.arange(file * 100, file * 100 + 50, dtype=np.uint16) for file in range(3)]
    spans = data.draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(1, 10)), max_size=20)
    )
    table = np.array(spans, np.int64).reshape(-1, 3)
    stream = TokenStream(TokenFiles(arrays), table[:, 0], table[:, 1], table[:, 2])
    joined = [
        int(arrays[file][start + at]) for file, start, length in spans for at in range(length)
    ]
    assert len(stream) == len(joined)
    start = data.draw(st.integers(0, len(joined)))
    stop = data.draw(st.integers(start, len(joined)))
    got = stream.read(start, stop - start)
    assert got.dtype == np.int64
    assert got.tolist() == joined[start:stop]
    assert ids_of(stream.part(start, stop)) == joined[start:stop]
    with pytest.raises(IndexError):
        stream.read(0, len(joined) + 1)


def test_a_corpus_may_have_more_files_than_a_process_may_open(
    tokenizer: BPETokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptengine.data.streams._MAX_OPEN", 3)
    files = [write(tmp_path / f"{number:02}.txt", f"Text {number}.") for number in range(25)]
    corpus = prepare(files, tokenizer, tmp_path / "cache", held_out=0)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert texts_of(corpus.train, tokenizer) == [f"Text {number}." for number in range(25)]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3


MEASURE = """
import sys
from pathlib import Path
import psutil
from gptengine import BPETokenizer
from gptengine.data.shards import prepare_corpus
tokenizer = BPETokenizer.load(sys.argv[2])
start = psutil.Process().memory_info().rss
most = 0
def progress(done, total):
    global most
    most = max(most, psutil.Process().memory_info().rss - start)
prepare_corpus([Path(sys.argv[1])], tokenizer, Path(sys.argv[3]), separator="<|endoftext|>",
               held_out=0.1, on_progress=progress)
print(most)
"""


@pytest.mark.slow
def test_memory_is_bounded(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    # Words that never come again are the worst case for an encoder that remembers words.
    letters = np.random.default_rng(0).integers(97, 123, 30 << 20, dtype=np.uint8)
    letters[::9] = ord(" ")
    file = tmp_path / "a.txt"
    real = SEPARATOR.join(TOPICS).encode()
    file.write_bytes(
        letters.tobytes() + SEPARATOR.encode() + (real + b"\n") * ((120 << 20) // len(real))
    )
    tokenizer.save(tmp_path / "tok")
    command = [sys.executable, "-c", MEASURE, file, tmp_path / "tok", tmp_path / "cache"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0 < int(result.stdout) < 1 << 30


def test_a_weighted_file_is_gone_through_that_often(
    tokenizer: BPETokenizer, tmp_path: Path
) -> None:
    files = [write(tmp_path / f"{name}.txt", f"only {name} {name}.\n") for name in ("a", "b")]
    files.insert(1, write(tmp_path / "blank.txt", " \n"))
    stream = prepare(files, tokenizer, tmp_path / "cache", held_out=0).train
    weighted = stream.repeated([1, 9, 3])
    text = tokenizer.decode(ids_of(weighted))
    assert (text.count("only a"), text.count("only b")) == (1, 3)
    assert tokenizer.decode(ids_of(stream)).count("only b") == 1
