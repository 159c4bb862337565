"""A sampler without state, and the loader that cuts a token stream into samples.

The n-th sample of a run is a pure function of (seed, n), so that resuming needs one integer,
whatever the batch size or the number of processes became.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch

from gptcore.conversation import END_OF_TEXT
from gptcore.errors import UserError
from gptcore.formats import TextReader
from gptengine.data.streams import TokenFiles, TokenStream, split_documents
from gptengine.tokenizer import BPETokenizer

_MASK = (1 << 64) - 1

# Few rounds give few permutations where there are few blocks; these make them even there too.
_ROUNDS = 10


def block_of(n: int, num_blocks: int, seed: int) -> int:
    """Which block the `n`-th sample of a run is.

    Each epoch, that is each `num_blocks` samples, is a permutation of its own: a Feistel network
    over the next power of four, walked until it ends within range (Black and Rogaway 2002).

    Args:
        n: Number of the sample, from 0, over all epochs.
        num_blocks: Number of blocks, at least 1.
        seed: Any integer.
    """
    if n < 0 or num_blocks < 1:
        raise ValueError(f"sample {n} of {num_blocks} blocks")
    epoch, place = divmod(n, num_blocks)
    half_bits = max(1, ((num_blocks - 1).bit_length() + 1) // 2)
    half_mask = (1 << half_bits) - 1
    key = _mix(_mix(seed & _MASK) ^ epoch)
    keys = [_mix(key + number) for number in range(1, _ROUNDS + 1)]
    while True:
        left, right = place >> half_bits, place & half_mask
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) >> 32 & half_mask)
        place = left << half_bits | right
        if place < num_blocks:
            return place


def _mix(value: int) -> int:
    """SplitMix64's step and finaliser (Steele, Lea and Flood 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31


class TokenLoader:
    """Samples of a token stream, by number or as epochs of batches.

    Iterating gives one epoch of whole batches, and iterating again the next epoch.

    Args:
        stream: The tokens.
        context_length: Tokens in a sample.
        batch_size: Samples in a batch.
        seed: Decides the order.

    Raises:
        UserError: The stream is too short for one sample.
    """

    def __init__(
        self, stream: TokenStream, context_length: int, batch_size: int, seed: int = 0
    ) -> None:
        if context_length < 1 or batch_size < 1:
            raise ValueError("context_length and batch_size must be at least 1")
        self.stream = stream
        self.context_length = context_length
        self.batch_size = batch_size
        self.seed = seed
        #: How many samples one epoch has.
        self.num_blocks = (len(stream) - 1) // context_length
        #: Which epoch iterating gives next.
        self.epoch = 0
        if self.num_blocks < 1:
            raise UserError(
                f"the corpus is too small for one block: it has {len(stream):,} tokens, "
                f"{context_length + 1:,} are needed",
                where=f"model.context_length = {context_length}",
                fix="a smaller model.context_length, or more text in datasets/",
            )

    def samples(self, numbers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The samples with these numbers, counted from 0 over all epochs.

        Returns:
            Input ids and targets, the ids one further on; each int64,
            (len(numbers), context_length).
        """
        rows = np.empty((len(numbers), self.context_length + 1), np.int64)
        for row, number in zip(rows, numbers, strict=True):
            block = block_of(number, self.num_blocks, self.seed)
            row[:] = self.stream.read(block * self.context_length, self.context_length + 1)
        ids = torch.from_numpy(rows)
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def __len__(self) -> int:
        """Batches in an epoch: the whole ones, and at least one."""
        return max(1, self.num_blocks // self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        first = self.epoch * self.num_blocks
        self.epoch += 1
        for batch in range(len(self)):
            start = first + batch * self.batch_size
            yield self.samples(range(start, start + self.batch_size))


def text_loaders(
    texts_or_paths: str | Path | Iterable[str | Path],
    tokenizer: BPETokenizer,
    context_length: int,
    batch_size: int,
    held_out: float = 0.1,
    seed: int = 0,
) -> tuple[TokenLoader, TokenLoader]:
    """Loaders for training and validation over text that fits in memory.

    Args:
        texts_or_paths: Documents: strings, and files as `Path`, where ``<|endoftext|>`` separates
            documents.
        tokenizer: Encodes them.
        context_length: Tokens in a sample.
        batch_size: Samples in a batch.
        held_out: Share of the documents for validation. With few documents it is the end of the
            text instead, and one block where that would be less.
        seed: Decides the order.

    Raises:
        UserError: There is less text than two blocks, or a file cannot be read.
    """
    given = [texts_or_paths] if isinstance(texts_or_paths, str | Path) else texts_or_paths
    documents = list(_documents(given))
    ids, counts = tokenizer.fast_encoder().encode(documents)
    ends = np.cumsum(counts)
    tokens = np.insert(ids, ends, tokenizer.eos_id)
    hashes = b"".join(blake2b(document, digest_size=8).digest() for document in documents)
    table = (
        (ends + np.arange(1, len(ends) + 1)).astype(np.uint64),
        np.frombuffer(hashes, "<u8"),
    )
    train, val, _ = split_documents(TokenFiles([tokens]), [table], held_out)
    if len(val) <= context_length < len(tokens):
        whole, _, _ = split_documents(TokenFiles([tokens]), [table], 0.0)
        boundary = len(whole) - context_length - 1
        train, val = whole.part(0, boundary), whole.part(boundary, len(whole))
    return (
        TokenLoader(train, context_length, batch_size, seed),
        TokenLoader(val, context_length, batch_size, seed),
    )


def _documents(given: Iterable[str | Path]) -> Iterator[bytes]:
    for each in given:
        if isinstance(each, str):
            if each.strip():
                yield each.encode("utf-8", "replace")
            continue
        pieces: list[bytes] = []
        for piece in TextReader(each, END_OF_TEXT):
            pieces.append(piece.text)
            if piece.ends_document:
                yield b"".join(pieces)
                pieces = []
