"""Rows to learn from: read, checked, encoded, divided, and put into batches."""

from array import array
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gptcore.encoding import EncodedConversation, TextEncoder, encode_conversation
from gptcore.errors import UserError
from gptcore.formats.checks import Duplicates
from gptcore.formats.problems import Problem, RowError
from gptcore.formats.reading import RecordReader
from gptcore.formats.records import Conversation, Record
from gptcore.settings import RowsDataSettings
from gptcore.stages import Mix
from gptengine.data.sampler import block_of

#: Label of a token that carries no loss, as torch and transformers have it.
IGNORED = -100
#: Batches whose conversations are sorted by length together.
SORTED_BATCHES = 16
#: How many problems are told by name; the rest is counted.
MOST_TOLD = 5


class Examples:
    """Encoded conversations, in flat arrays: five bytes a token, whatever their number."""

    def __init__(self) -> None:
        self._ids = array("i")
        self._learned = bytearray()
        self._ends = array("q", [0])

    def append(self, encoded: EncodedConversation) -> None:
        """Add one."""
        self._ids.extend(encoded.ids)
        self._learned.extend(encoded.learned)
        self._ends.append(len(self._ids))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """Ids, and which of them carry loss; each (time,)."""
        start, end = self._ends[index], self._ends[index + 1]
        ids = np.frombuffer(self._ids, np.int32)[start:end]
        return ids, np.frombuffer(self._learned, np.bool_)[start:end]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each."""
        ends = np.frombuffer(self._ends, np.int64)
        return ends[1:] - ends[:-1]

    def length_of(self, index: int) -> int:
        """Tokens of one."""
        return self._ends[index + 1] - self._ends[index]

    @property
    def num_tokens(self) -> int:
        """Of all of them."""
        return len(self._ids)

    @property
    def num_learned(self) -> int:
        """Tokens that carry loss."""
        return sum(self._learned)


class EncodedRow(NamedTuple):
    """What a row is to a training.

    Args:
        sequences: A conversation, or both sides of a pair.
        key: Ids whose hash says whether it is held out.
    """

    sequences: tuple[EncodedConversation, ...]
    key: Sequence[int]


#: Encodes a record; None: its form is not taken. It raises `RowError` where it cannot be used.
Encode = Callable[[Record], EncodedRow | None]


@dataclass
class RowsData:
    """What was read.

    Attributes:
        noun: What a row is, for people.
        train: To learn from; a file that counts twice stands here twice.
        val: Held out.
        held_out: Rows that are held out.
        rows: Rows of the files, but for those of forms that the stage does not take.
        bad: Rows that cannot be used.
        shortened: Conversations that lost turns at their end to fit the context.
        problems: The first of what was wrong.
        formless: Rows of other forms, passed over.
    """

    noun: str = "conversation"
    train: Examples = field(default_factory=Examples)
    val: Examples = field(default_factory=Examples)
    held_out: int = 0
    rows: int = 0
    bad: int = 0
    shortened: int = 0
    problems: list[Problem] = field(default_factory=list)
    formless: int = 0

    def add_problem(self, problem: Problem) -> None:
        """Count a row that cannot be used."""
        self.bad += 1
        if len(self.problems) < MOST_TOLD:
            self.problems.append(problem)

    def add(self, row: EncodedRow, times: int, *, held_out: bool) -> None:
        """Keep a row, to learn from `times` an epoch or held out."""
        self.shortened += any(each.left_out for each in row.sequences)
        self.held_out += held_out
        for _ in range(1 if held_out else times):
            for each in row.sequences:
                (self.val if held_out else self.train).append(each)


def read_rows(
    files: Sequence[Path],
    weights: Sequence[int],
    encode: Encode,
    *,
    noun: str,
    held_out: float = 0.0,
    on_bytes: Callable[[int], None] = lambda done: None,
) -> RowsData:
    """Read rows and encode them.

    Args:
        files: Data files of any dialect.
        weights: How often each counts.
        encode: Makes what is kept of a record.
        noun: What a row is, for people.
        held_out: Share of the rows to hold out, by a hash of their content.
        on_bytes: Told how much of the files has been read.
    """
    data, seen, before = RowsData(noun), Duplicates(), 0
    threshold = int(held_out * 2**64)
    for path, times in zip(files, weights, strict=True):
        reader = RecordReader(path, path.name, seen)
        for item in reader:
            on_bytes(before + reader.bytes_read)
            if isinstance(item, Problem):
                data.rows += 1
                data.add_problem(item)
                continue
            try:
                row = encode(item.record)
            except RowError as error:
                data.rows += 1
                data.add_problem(Problem(path, item.line, error.reason, item.row, error.field))
                continue
            if row is None:
                data.formless += 1
                continue
            data.rows += 1
            data.add(row, times, held_out=_hash(row.key) < threshold)
        before += path.stat().st_size
    return data


def read_chat_data(
    files: Sequence[Path],
    weights: Sequence[int],
    tokenizer: TextEncoder,
    *,
    longest: int,
    held_out: float = 0.0,
    on_bytes: Callable[[int], None] = lambda done: None,
) -> RowsData:
    """Read conversations and encode them; those longer than `longest` lose turns at their end.

    Args:
        files: Data files of any dialect.
        weights: How often each counts.
        tokenizer: Of the model.
        longest: Tokens at the most.
        held_out: Share of the conversations to hold out, by a hash of their content.
        on_bytes: Told how much of the files has been read.
    """

    def encode(record: Record) -> EncodedRow | None:
        if not isinstance(record, Conversation):
            return None
        encoded = encode_conversation(record.messages, record.tools, tokenizer, longest)
        return EncodedRow((encoded,), encoded.ids)

    noun = "conversation"
    return read_rows(files, weights, encode, noun=noun, held_out=held_out, on_bytes=on_bytes)


def _hash(ids: Sequence[int]) -> int:
    digest = blake2b(np.asarray(ids, np.int32).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def check_share(data: RowsData, settings: RowsDataSettings, where: Path, mix: Mix) -> list[str]:
    """What there is to say of rows that are left out, a line each.

    Args:
        data: What was read.
        settings: Of the mix.
        where: The folder of the files.
        mix: Its name.

    Raises:
        UserError: They are too many, or nothing is left.
    """
    named = [
        f"{problem.file.name} row {problem.row or '?'}: {problem.reason}"
        for problem in data.problems
    ]
    if data.bad > settings.max_bad * data.rows or not len(data.train):
        nothing = f"there is no {data.noun} to learn from"
        share = f"{data.bad:,} of {data.rows:,} rows cannot be used"
        fix = "gptstudio data check lists them all; mend or exclude them"
        if len(data.train):
            fix += (
                ", or allow more with"
                f" --set data.{mix}.max_bad={min(1.0, data.bad / data.rows + 0.01):.2f}"
            )
        elif data.held_out:
            share = f"{nothing}: all {data.held_out:,} are held out"
            fix = f"lower data.{mix}.held_out"
        raise UserError(
            "\n  ".join([share if data.rows else nothing, *named]), where=str(where), fix=fix
        )
    said = []
    if data.bad:
        said.append(
            f"{data.bad:,} of {data.rows:,} rows are left out, such as {named[0]};"
            " gptstudio data check lists them all"
        )
    if data.shortened:
        said.append(
            f"{data.shortened:,} of {data.rows:,} conversations lost turns at their end:"
            " they are longer than the context"
        )
    return said


# --- batches -------------------------------------------------------------------------------------


class ChatBatches:
    """Which examples each optimiser step sees: a pure function of the seed and the step's number.

    Every epoch is a permutation, of which what is left of whole batches is not seen. Some batches
    at a time (`SORTED_BATCHES`) are sorted by length before they are cut apart, so that a batch
    wastes little on padding, and shuffled again.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples a step.
        seed: Of the order.
    """

    def __init__(self, lengths: npt.NDArray[np.int64], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._group: tuple[tuple[int, int], list[list[int]]] = ((-1, -1), [])

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch, at least one."""
        return max(1, len(self._lengths) // self._batch_size)

    def step(self, number: int) -> list[int]:
        """The examples of a step, counted from 0 over all epochs, the longest first."""
        epoch, batch = divmod(number, self.steps_per_epoch)
        group, place = divmod(batch, SORTED_BATCHES)
        if self._group[0] != (epoch, group):
            self._group = (epoch, group), self._batches(epoch, group * SORTED_BATCHES)
        return self._group[1][place]

    def _batches(self, epoch: int, first: int) -> list[list[int]]:
        count, size = min(SORTED_BATCHES, self.steps_per_epoch - first), self._batch_size
        total = len(self._lengths)
        # Fewer examples than a batch has stand in it more than once.
        places = [place % total for place in range(first * size, (first + count) * size)]
        chosen = [block_of(epoch * total + place, total, self._seed) for place in places]
        chosen.sort(key=lambda index: -self._lengths[index])
        cut = [chosen[at : at + size] for at in range(0, count * size, size)]
        order = self._seed + epoch * self.steps_per_epoch + first
        return [cut[block_of(n, count, order)] for n in range(count)]


def evenly_chosen(total: int, batches: int, size: int) -> list[list[int]]:
    """Numbers of examples for an evaluation, spread over all, so that no file is judged by alone.

    Args:
        total: Examples there are.
        batches: Of the evaluation, at the most.
        size: Examples of a batch, at the most.
    """
    count = min(total, batches * size)
    chosen = [place * total // count for place in range(count)]
    return [chosen[at : at + size] for at in range(0, count, size)]


def collate(examples: Examples, indices: Sequence[int], pad: int) -> dict[str, Tensor]:
    """A padded batch.

    Args:
        examples: Where they are from.
        indices: Which.
        pad: Id that fills up.

    Returns:
        `input_ids`, `attention_mask` and `labels`, each int64 (batch, time).
    """
    rows = [examples[index] for index in indices]
    width = max(len(ids) for ids, _ in rows)
    input_ids = np.full((len(rows), width), pad, np.int64)
    labels = np.full((len(rows), width), IGNORED, np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    for at, (ids, learned) in enumerate(rows):
        input_ids[at, : len(ids)] = ids
        labels[at, : len(ids)] = np.where(learned, ids, IGNORED)
        mask[at, : len(ids)] = 1
    arrays = {"input_ids": input_ids, "attention_mask": mask, "labels": labels}
    return {name: torch.from_numpy(each) for name, each in arrays.items()}


# --- packing -------------------------------------------------------------------------------------


def pack(lengths: Iterable[int], capacity: int) -> list[list[int]]:
    """Put examples together so that each group fits a sequence: best fit, the longest first.

    Args:
        lengths: Tokens of each example, none above `capacity`.
        capacity: Tokens of a sequence.

    Returns:
        Groups of indices.
    """
    order = sorted(enumerate(lengths), key=lambda item: (-item[1], item[0]))
    groups: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # the room that each group has left, and which it is; sorted
    for index, length in order:
        at = bisect_left(rooms, (length, 0))
        room, group = rooms.pop(at) if at < len(rooms) else (capacity, len(groups))
        if group == len(groups):
            groups.append([])
        groups[group].append(index)
        insort(rooms, (room - length, group))
    return groups


def collate_packed(
    examples: Examples, groups: Sequence[Sequence[int]], pad: int
) -> dict[str, Tensor]:
    """A batch of sequences that hold several examples each, blind to one another.

    There is no attention mask: the positions, which begin again with every example, tell
    transformers where attention must not pass (`masking_utils.find_packed_sequence_indices`).

    Returns:
        `input_ids`, `position_ids` and `labels`, each int64 (batch, time).
    """
    parts = [[examples[index] for index in group] for group in groups]
    width = max(sum(len(ids) for ids, _ in part) for part in parts)
    input_ids = np.full((len(groups), width), pad, np.int64)
    labels = np.full((len(groups), width), IGNORED, np.int64)
    positions = np.zeros((len(groups), width), np.int64)
    for row, part in enumerate(parts):
        at = 0
        for ids, learned in part:
            end = at + len(ids)
            input_ids[row, at:end] = ids
            labels[row, at:end] = np.where(learned, ids, IGNORED)
            labels[row, at] = IGNORED  # nothing stands before it that could tell it
            positions[row, at:end] = np.arange(len(ids))
            at = end
        positions[row, at:] = np.arange(width - at)
    arrays = {"input_ids": input_ids, "position_ids": positions, "labels": labels}
    return {name: torch.from_numpy(each) for name, each in arrays.items()}
