"""A token stream: spans of memory-mapped token files, read as one long row of ids."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: Each memory map holds a file descriptor; a corpus can have more files than a process may open.
_MAX_OPEN = 128


class TokenFiles:
    """Flat token files, or arrays in memory, opened when they are needed.

    Args:
        sources: A file and the type of its items, or the ids themselves.
    """

    def __init__(self, sources: Sequence[tuple[Path, np.dtype] | npt.NDArray]) -> None:
        self._sources = list(sources)
        self._open: OrderedDict[int, npt.NDArray] = OrderedDict()

    def __getitem__(self, index: int) -> npt.NDArray:
        source = self._sources[index]
        if isinstance(source, np.ndarray):
            return source
        tokens = self._open.pop(index, None)
        if tokens is None:
            path, dtype = source
            tokens = np.memmap(path, dtype=dtype, mode="r")
            if len(self._open) >= _MAX_OPEN:
                self._open.popitem(last=False)
        self._open[index] = tokens
        return tokens


class TokenStream:
    """Spans of token files, one after the other; holds the spans, never the tokens.

    Args:
        files: What the spans are in.
        file_of: Which file each span is in.  # (spans,)
        start_of: Where in its file each span starts, in tokens.  # (spans,)
        length_of: How many tokens each span has, at least 1.  # (spans,)
    """

    def __init__(
        self,
        files: TokenFiles,
        file_of: npt.NDArray[np.int64],
        start_of: npt.NDArray[np.int64],
        length_of: npt.NDArray[np.int64],
    ) -> None:
        self._files = files
        self._file_of = file_of
        self._start_of = start_of
        # Where in the stream each span starts, and where the stream ends.
        self._bounds = np.concatenate([[0], np.cumsum(length_of, dtype=np.int64)])

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def read(self, start: int, count: int) -> npt.NDArray[np.int64]:
        """Ids `start` to `start + count` of the stream.

        Raises:
            IndexError: They are not all in the stream.
        """
        if start < 0 or count < 0 or start + count > len(self):
            raise IndexError(f"tokens {start} to {start + count} of {len(self)}")
        if not count:
            return np.empty(0, np.int64)
        first = int(np.searchsorted(self._bounds, start, side="right")) - 1
        if start + count <= self._bounds[first + 1]:
            at = int(self._start_of[first] + start - self._bounds[first])
            return self._files[int(self._file_of[first])][at : at + count].astype(np.int64)
        places = np.arange(start, start + count)
        spans = np.searchsorted(self._bounds, places, side="right") - 1
        places += self._start_of[spans] - self._bounds[spans]
        file_of = self._file_of[spans]
        tokens = np.empty(count, np.int64)
        for file in np.unique(file_of):
            here = file_of == file
            tokens[here] = self._files[int(file)][places[here]]
        return tokens

    def part(self, start: int, stop: int) -> "TokenStream":
        """The stream from `start` to `stop`, as a stream of its own."""
        starts = np.maximum(self._bounds[:-1], start)
        stops = np.minimum(self._bounds[1:], stop)
        kept = stops > starts
        offsets = self._start_of + starts - self._bounds[:-1]
        return TokenStream(self._files, self._file_of[kept], offsets[kept], (stops - starts)[kept])

    def repeated(self, times_of: Sequence[int]) -> "TokenStream":
        """The stream with each file's spans as often as `times_of`, one number a file, says."""
        lengths = np.diff(self._bounds)
        again = np.repeat(np.arange(len(lengths)), np.asarray(times_of, np.int64)[self._file_of])
        return TokenStream(self._files, self._file_of[again], self._start_of[again], lengths[again])


#: With fewer documents than this the end of the text is held out instead of whole documents.
MIN_DOCUMENTS = 20


def split_documents(
    files: TokenFiles,
    documents: Sequence[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]],
    held_out: float,
) -> tuple[TokenStream, TokenStream, str]:
    """Divide documents into what is trained on and what is held out.

    A document is held out when its hash, as a share of all hashes, is below `held_out`: a document
    stays on its side whatever is added to the corpus, and copies of it are on the same side.

    Args:
        files: The tokens.
        documents: For each file the end of each document, in tokens, and its content hash.
        held_out: Share of the documents to hold out, from 0 to below 1.

    Returns:
        The stream to train on, the one held out, and whether that was made by "documents", or is
        the "tail" of all text, because there are few documents or all fell on one side.
    """
    if held_out > 0 and sum(len(ends) for ends, _ in documents) >= MIN_DOCUMENTS:
        threshold = np.uint64(min(int(held_out * 2**64), 2**64 - 1))
        sides = [hashes < threshold for _, hashes in documents]
        train = _spans(files, documents, [~side for side in sides])
        val = _spans(files, documents, sides)
        if len(train) and len(val):
            return train, val, "documents"
    whole = _spans(files, documents, [np.ones(len(ends), bool) for ends, _ in documents])
    boundary = len(whole) - int(len(whole) * held_out)
    by = "tail" if held_out > 0 else "documents"
    return whole.part(0, boundary), whole.part(boundary, len(whole)), by


def _spans(
    files: TokenFiles,
    documents: Sequence[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]],
    chosen: Sequence[npt.NDArray[np.bool_]],
) -> TokenStream:
    """A stream of the chosen documents; neighbours in a file make one span."""
    file_of: list[npt.NDArray[np.int64]] = []
    start_of: list[npt.NDArray[np.int64]] = []
    length_of: list[npt.NDArray[np.int64]] = []
    for index, ((ends, _), mask) in enumerate(zip(documents, chosen, strict=True)):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
        bounds = np.concatenate([[0], ends.astype(np.int64)])
        starts, stops = bounds[edges[::2]], bounds[edges[1::2]]
        start_of.append(starts)
        length_of.append(stops - starts)
        file_of.append(np.full(len(starts), index, np.int64))
    if not file_of:
        none = np.empty(0, np.int64)
        return TokenStream(files, none, none, none)
    return TokenStream(
        files, np.concatenate(file_of), np.concatenate(start_of), np.concatenate(length_of)
    )
