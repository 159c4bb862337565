"""Token shards: each corpus file as one flat file of token ids under the cache, made once.

A shard is a folder ``tokens/<key>`` of ``tokens.bin`` (uint16, or uint32 for vocabularies beyond
65,536), ``documents.bin`` (end offset in tokens and 64-bit content hash of each document) and
``meta.json``. The key comes from the file's content, the tokenizer and the separator, so a shard
is found again whatever the file is called. Memory stays bounded whatever the corpus.
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gptcore.digests import file_digests
from gptcore.errors import UserError
from gptcore.formats import TextReader
from gptcore.workspace import make_private_dir, new_dir
from gptengine.data.bulk import BulkEncoder
from gptengine.data.streams import MIN_DOCUMENTS, TokenFiles, TokenStream, split_documents
from gptengine.tokenizer import BPETokenizer

FORMAT_VERSION = 1

#: Called with the bytes done and the bytes in all; what it raises ends the work.
Progress = Callable[[int, int], None]

_DOCUMENT = np.dtype([("end", "<u8"), ("hash", "<u8")])

# Small enough that one piece without any white space is encoded in a tenth of a second.
_PIECE_BYTES = 256 << 10
_MAX_PIECES = 1 << 16


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus as tokens, divided into what is trained on and what is held out."""

    #: What to train on.
    train: TokenStream
    #: What is held out; empty if nothing is.
    val: TokenStream
    #: Documents in both.
    num_documents: int
    #: "documents" if whole ones are held out, "tail" if the end of all text is.
    held_out_by: str
    #: What the person should hear about.
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Meta:
    """What ``meta.json`` says."""

    num_tokens: int
    num_documents: int
    invalid_bytes: int
    tokens_sha256: str
    documents_sha256: str


def prepare_corpus(
    files: Sequence[Path],
    tokenizer: BPETokenizer,
    cache_dir: Path,
    *,
    separator: str,
    held_out: float,
    on_progress: Progress | None = None,
) -> Corpus:
    """Make, or find, the token shards of `files`.

    Args:
        files: The corpus, in its order.
        tokenizer: Encodes; control tokens spelled in the text stay text.
        cache_dir: The workspace's cache.
        separator: What stands between documents in a file; empty if each file is one.
        held_out: Share to hold out, from 0 to below 1; see `split_documents`.
        on_progress: Called several times a second; what it raises ends the work, and nothing
            half-written remains.

    Raises:
        UserError: The files hold no text, or one changed while it was read.
        OSError: The disk is full, or a file cannot be read.
    """
    if not 0 <= held_out < 1:
        raise UserError(
            f"a share of {held_out} cannot be held out",
            where="data.held_out",
            fix="data.held_out from 0 to below 1",
        )
    stamps = [_stamp(path) for path in files]
    total = sum(size for size, _ in stamps)
    report = on_progress or (lambda done, total: None)
    report(0, total)
    digests = file_digests(files, cache_dir, lambda _: report(0, total))
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")
    shards = make_private_dir(cache_dir / "tokens")
    folders = [shards / _key(digest, tokenizer, separator) for digest in digests]
    metas = _sound_shards(folders, dtype, cache_dir, lambda _: report(0, total))
    encoder = tokenizer.fast_encoder() if any(folder not in metas for folder in folders) else None
    done = 0
    warnings: list[str] = []
    for path, stamp, folder in zip(files, stamps, folders, strict=True):
        if folder not in metas and encoder is not None:

            def on_bytes(here: int, before: int = done) -> None:
                report(before + here, total)

            builder = _Builder(path, stamp, encoder, tokenizer.eos_id, dtype, separator)
            metas[folder] = builder.build(folder, on_bytes)
        done += stamp[0]
        report(done, total)
        if invalid := metas[folder].invalid_bytes:
            warnings.append(
                f"{path}: {invalid:,} bytes are not UTF-8 and were read as U+FFFD; "
                "convert the file to UTF-8 to keep them"
            )
    if encoder is not None and encoder.fallback_reason:
        warnings.append(f"encoded with tokenizers, which is slower: {encoder.fallback_reason}")
    return _corpus(folders, [metas[folder] for folder in folders], dtype, held_out, warnings)


def _corpus(
    folders: Sequence[Path],
    metas: Sequence[_Meta],
    dtype: np.dtype,
    held_out: float,
    warnings: list[str],
) -> Corpus:
    if not any(meta.num_tokens for meta in metas):
        raise UserError(
            "there is no text to train on",
            where=f"{len(folders)} files, with nothing but white space in them",
            fix="put text into datasets/, or run gptstudio init . for a small example",
        )
    tokens = TokenFiles([(folder / "tokens.bin", dtype) for folder in folders])
    tables = [np.fromfile(folder / "documents.bin", _DOCUMENT) for folder in folders]
    documents = [(table["end"], table["hash"]) for table in tables]
    train, val, by = split_documents(tokens, documents, held_out)
    num_documents = sum(len(table) for table in tables)
    if by == "tail":
        few = num_documents < MIN_DOCUMENTS
        why = f"fewer than {MIN_DOCUMENTS}" if few else "all on one side of the split"
        documents_word = "document" if num_documents == 1 else "documents"
        warnings.append(
            f"{num_documents} {documents_word}, {why}: the last {len(val):,} tokens of the text"
            " are held out instead of whole documents"
        )
    return Corpus(train, val, num_documents, by, warnings)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _key(digest: str, tokenizer: BPETokenizer, separator: str) -> str:
    parts = [FORMAT_VERSION, digest, tokenizer.fingerprint, separator]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _sound_shards(
    folders: Sequence[Path], dtype: np.dtype, cache_dir: Path, on_bytes: Callable[[int], None]
) -> dict[Path, _Meta]:
    """The shards that are there and whole; damaged ones are removed."""
    metas: dict[Path, _Meta] = {}
    for folder in folders:
        try:
            meta = _Meta(**json.loads((folder / "meta.json").read_bytes()))
            sizes = [(folder / name).stat().st_size for name in ("tokens.bin", "documents.bin")]
        except (OSError, ValueError, TypeError):
            continue
        if sizes == [meta.num_tokens * dtype.itemsize, meta.num_documents * _DOCUMENT.itemsize]:
            metas[folder] = meta
    there = list(metas)
    paths = [folder / name for folder in there for name in ("tokens.bin", "documents.bin")]
    found = file_digests(paths, cache_dir, on_bytes)
    for folder, tokens_sha256, documents_sha256 in zip(there, found[::2], found[1::2], strict=True):
        meta = metas[folder]
        if (tokens_sha256, documents_sha256) != (meta.tokens_sha256, meta.documents_sha256):
            del metas[folder]
    for folder in folders:
        if folder not in metas and folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
    return metas


class _HashedFile:
    """A file that is written once, and the digest of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, values: np.ndarray) -> None:
        data = values.tobytes()
        self._digest.update(data)
        self._file.write(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


@dataclass(slots=True)
class _Builder:
    """Makes the shard of one file."""

    path: Path
    stamp: tuple[int, int]
    encoder: BulkEncoder
    eos_id: int
    dtype: np.dtype
    separator: str
    num_tokens: int = 0
    num_documents: int = 0

    def build(self, folder: Path, on_bytes: Callable[[int], None]) -> _Meta:
        """Make `folder`, unless another run, which would make the same, comes first.

        Args:
            folder: The shard.
            on_bytes: Called with the bytes of the file that are done.
        """
        try:
            with new_dir(folder) as making:
                meta = self._fill(making, on_bytes)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        return meta

    def _fill(self, making: Path, on_bytes: Callable[[int], None]) -> _Meta:
        with (
            (making / "tokens.bin").open("wb") as tokens_file,
            (making / "documents.bin").open("wb") as documents_file,
        ):
            tokens, documents = _HashedFile(tokens_file), _HashedFile(documents_file)
            invalid_bytes = self._encode(tokens, documents, on_bytes)
        if _stamp(self.path) != self.stamp:
            raise UserError(
                "a text file changed while it was read",
                where=str(self.path),
                fix="start again when it is complete",
            )
        meta = _Meta(
            self.num_tokens, self.num_documents, invalid_bytes, tokens.sha256, documents.sha256
        )
        (making / "meta.json").write_text(json.dumps(asdict(meta)))
        return meta

    def _encode(
        self, tokens: _HashedFile, documents: _HashedFile, on_bytes: Callable[[int], None]
    ) -> int:
        """Write all of the file; returns how many bytes were not UTF-8."""
        reader = TextReader(self.path, self.separator, _PIECE_BYTES)
        texts: list[bytes] = []
        ends: list[bool] = []
        hashes: list[bytes] = []
        size = 0
        content = hashlib.blake2b(digest_size=8)
        for piece in reader:
            texts.append(piece.text)
            ends.append(piece.ends_document)
            size += len(piece.text)
            content.update(piece.text)
            if piece.ends_document:
                hashes.append(content.digest())
                content = hashlib.blake2b(digest_size=8)
            if size >= self.encoder.batch_bytes or len(texts) >= _MAX_PIECES:
                self._write(texts, ends, hashes, tokens, documents)
                texts, ends, hashes, size = [], [], [], 0
                on_bytes(reader.bytes_read)
        self._write(texts, ends, hashes, tokens, documents)
        return reader.invalid_bytes

    def _write(
        self,
        texts: list[bytes],
        ends: list[bool],
        hashes: list[bytes],
        tokens: _HashedFile,
        documents: _HashedFile,
    ) -> None:
        """Encode a batch of pieces and append it, each document with an end-of-text behind it."""
        ids, counts = self.encoder.encode(texts)
        ended = np.cumsum(counts)[np.array(ends, bool)]
        tokens.write(np.insert(ids.astype(self.dtype), ended, self.eos_id))
        table = np.empty(len(hashes), _DOCUMENT)
        table["end"] = self.num_tokens + ended + np.arange(1, len(ended) + 1)
        table["hash"] = np.frombuffer(b"".join(hashes), "<u8")
        documents.write(table)
        self.num_tokens += len(ids) + len(ended)
        self.num_documents += len(hashes)
