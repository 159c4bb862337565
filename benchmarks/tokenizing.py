"""How fast text becomes token ids: `tokenizers`, our bulk encoder, and files to shards on disk.

    python benchmarks/tokenizing.py [FILE_OR_FOLDER] [--megabytes 24] [--rounds 3]

All ways run side by side in each round, on the same text with the same vocabulary; the table holds
medians. Without a path the text is the standard library's source code and the language reference.
"""

import argparse
import os
import platform
import pydoc_data.topics
import resource
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
from tokenizers import Tokenizer

from gptcore.conversation import END_OF_TEXT
from gptcore.errors import UserError
from gptcore.formats import TextReader
from gptcore.formats.files import find_files
from gptengine.data.shards import Corpus, prepare_corpus
from gptengine.tokenizer import BPETokenizer


def real_text(path: Path | None, num_bytes: int) -> list[str]:
    """Documents of real text, `num_bytes` in all if there is so much."""
    if path is None:
        library = Path(sysconfig.get_paths()["stdlib"])
        sources = (
            file for file in sorted(library.rglob("*.py")) if "site-packages" not in str(file)
        )
        texts = [*pydoc_data.topics.topics.values()]
        texts += [file.read_text(encoding="utf-8", errors="replace") for file in sorted(sources)]
    else:
        files = find_files(path, "text") if path.is_dir() else [path]
        texts = []
        for file in files:
            pieces = TextReader(file, END_OF_TEXT, 64 << 10)
            texts += [piece.text.decode() for piece in pieces]
    taken: list[str] = []
    size = 0
    for text in texts:
        if text.strip() and size < num_bytes:
            taken.append(text)
            size += len(text.encode())
    return taken


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="?", type=Path, help="a text file, or a folder of them")
    parser.add_argument("--megabytes", type=float, default=24, help="how much text (24)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take the median of (3)")
    parser.add_argument("--vocab-size", type=int, default=8000, help="vocabulary (8000)")
    options = parser.parse_args(arguments)
    try:
        texts = real_text(options.path, int(options.megabytes * 1e6))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    raws = [text.encode() for text in texts]
    megabytes = sum(map(len, raws)) / 1e6
    tokenizer = BPETokenizer()
    tokenizer.train(texts[::4], vocab_size=options.vocab_size)
    print(
        f"{megabytes:.1f} MB in {len(texts):,} documents, vocabulary {tokenizer.vocab_size:,}\n"
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"tokenizers {version('tokenizers')}, gigatoken {version('gigatoken')}\n"
    )
    grown = [0]
    seconds: dict[str, list[float]] = {}

    def note(name: str, work: Callable[[], object]) -> None:
        seconds.setdefault(name, []).append(timed(work))

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "corpus.txt"
        file.write_bytes(END_OF_TEXT.encode().join(raws))
        tokenizer.save(folder)
        plain = Tokenizer.from_file(f"{folder}/tokenizer.json")
        plain.encode_special_tokens = True
        for round_number in range(options.rounds):
            note("tokenizers.encode_batch_fast", lambda: plain.encode_batch_fast(texts))
            encoder = tokenizer.fast_encoder()
            note("bulk encoder, first pass", lambda encoder=encoder: encoder.encode(raws))
            note("bulk encoder, words known", lambda encoder=encoder: encoder.encode(raws))
            cache = Path(folder) / f"cache-{round_number}"
            make = partial(prepare, tokenizer, file, cache, grown)
            note("file to shards on disk", make)
            note("shards found again", make)
        corpus = prepare(tokenizer, file, cache, grown)
        shard_ids = corpus.train.read(0, len(corpus.train))
    reference = np.concatenate([[*ids, tokenizer.eos_id] for ids in tokenizer.encode_batch(texts)])
    bulk_ids, _ = encoder.encode(raws)

    medians = {name: statistics.median(each) for name, each in seconds.items()}
    slowest = medians["tokenizers.encode_batch_fast"]
    print(f"{'':30}{'MB/s':>9}{'ratio':>8}")
    for name, median in medians.items():
        print(f"{name:30}{megabytes / median:9.1f}{slowest / median:7.1f}x")
    identical = np.array_equal(shard_ids, reference) and np.array_equal(
        bulk_ids, reference[reference != tokenizer.eos_id]
    )
    print(f"\nids identical: {'yes' if identical else 'NO'} ({len(reference):,})")
    for reason in [*corpus.warnings, encoder.fallback_reason]:
        if reason:
            print(f"note: {reason}")
    print(f"memory the shards took while they were made: {grown[0] / 1e6:,.0f} MB")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak of this process, with the corpus and all ids: {peak:,.0f} MB")
    return 0 if identical else 1


def prepare(tokenizer: BPETokenizer, file: Path, cache: Path, grown: list[int]) -> Corpus:
    """Make the shard of `file`; the first of `grown` becomes the most bytes the process grew by."""
    process = psutil.Process()
    start = process.memory_info().rss

    def watch(done: int, total: int) -> None:
        grown[0] = max(grown[0], process.memory_info().rss - start)

    return prepare_corpus(
        [file], tokenizer, cache, separator=END_OF_TEXT, held_out=0, on_progress=watch
    )


if __name__ == "__main__":
    sys.exit(main())
