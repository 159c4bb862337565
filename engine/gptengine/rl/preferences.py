"""Pairs to learn from: read, encoded, put into batches; and how a model judges them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from torch import Tensor

from gptcore import events
from gptcore.encoding import EncodedConversation, TextEncoder, encode_conversation
from gptcore.formats.problems import RowError
from gptcore.formats.records import Message, Preference, Record
from gptengine.finetune.data import EncodedRow, Examples, RowsData, collate, read_rows


class Pairs:
    """The pairs among encoded sequences, of which chosen and rejected ones take turns.

    Args:
        sides: As `read_pairs` keeps them.
    """

    def __init__(self, sides: Examples) -> None:
        self._sides = sides

    def __len__(self) -> int:
        return len(self._sides) // 2

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each, both sides together."""
        sums: npt.NDArray[np.int64] = self._sides.lengths.reshape(-1, 2).sum(1)
        return sums

    @property
    def num_tokens(self) -> int:
        """Of all of them."""
        return self._sides.num_tokens

    @property
    def num_learned(self) -> int:
        """Tokens of the answers."""
        return self._sides.num_learned

    def chosen(self, number: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """Ids of a pair's better side, and which of them are its answer's; each (time,)."""
        return self._sides[2 * number]

    def collate(self, numbers: Sequence[int], pad: int) -> dict[str, Tensor]:
        """A padded batch: the chosen sides first, then the rejected ones in the same order.

        Args:
            numbers: Which pairs.
            pad: Id that fills up.

        Returns:
            `input_ids`, `attention_mask` and `labels`, each int64 (2 x pairs, time).
        """
        places = [2 * number for number in numbers] + [2 * number + 1 for number in numbers]
        return collate(self._sides, places, pad)


def read_pairs(
    files: Sequence[Path],
    weights: Sequence[int],
    tokenizer: TextEncoder,
    *,
    longest: int,
    held_out: float = 0.0,
    on_bytes: Callable[[int], None] = lambda done: None,
) -> RowsData:
    """Read preferences and encode them; a pair with a side that does not fit is left out.

    Pairs about one prompt are held out together, so that none is judged by what was learned.

    Args:
        files: Data files of any dialect.
        weights: How often each counts.
        tokenizer: Of the model.
        longest: Tokens of a side, prompt included, at the most.
        held_out: Share of the prompts to hold out, by a hash of their content.
        on_bytes: Told how much of the files has been read.
    """

    def encode(record: Record) -> EncodedRow | None:
        return encode_pair(record, tokenizer, longest) if isinstance(record, Preference) else None

    return read_rows(files, weights, encode, noun="pair", held_out=held_out, on_bytes=on_bytes)


def encode_pair(pair: Preference, tokenizer: TextEncoder, longest: int) -> EncodedRow:
    """Both sides of a pair, the prompt before each; only what is the assistant's in them counts.

    Raises:
        RowError: The prompt says nothing, a side does not fit or holds nothing to learn, or the two
            become the same tokens.
    """
    if not any(message.content.strip() or message.calls for message in pair.prompt):
        raise RowError("is empty", "prompt")
    prompt = tuple(msgspec.structs.replace(message, is_learned=False) for message in pair.prompt)
    chosen = _encode_side(prompt, pair.chosen, "chosen", pair, tokenizer, longest)
    rejected = _encode_side(prompt, pair.rejected, "rejected", pair, tokenizer, longest)
    if chosen.ids == rejected.ids:
        raise RowError("is the same as chosen", "rejected")
    return EncodedRow((chosen, rejected), chosen.ids[: chosen.learned.index(True)])


def _encode_side(
    prompt: tuple[Message, ...],
    turns: tuple[Message, ...],
    field: str,
    pair: Preference,
    tokenizer: TextEncoder,
    longest: int,
) -> EncodedConversation:
    encoded = encode_conversation((*prompt, *turns), pair.tools, tokenizer)
    size = len(encoded.ids)
    if size > longest:
        raise RowError(f"is longer than the context: {size} tokens, and {longest} fit", field)
    if not any(encoded.learned):
        raise RowError("holds nothing to learn: no answer of the assistant's counts", field)
    return encoded


def fared(margins: Tensor, *, held_out: bool = False) -> events.Reward:
    """How pairs fared, for the record.

    Args:
        margins: (pairs,), by how much the model prefers the chosen side.
        held_out: Whether they are not learned from.
    """
    return events.Reward(
        accuracy=accuracy_of(margins),
        margin=float(margins.mean()),
        held_out=held_out,
        prompts=len(margins),
    )


def accuracy_of(margins: Tensor) -> float:
    """The share of the pairs whose chosen side is preferred."""
    return float((margins > 0).float().mean())
