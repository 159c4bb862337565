"""The batched decoder: one sampling loop, for our own GPT and for any causal LM of transformers.

Prompts of different lengths are padded at the left, so that all rows write their next token in the
same column. What a row writes hangs on its prompt and its seed alone, not on the rows beside it.
"""

import math
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gptengine.chat_tokenizer import ChatTokenizer, end_ids, pad_id
from gptengine.decoding.own import OwnReader
from gptengine.generate import Sampling, check_ids, choose, diverged
from gptengine.model import GPT

#: Rows are taken out of the batch once no more than this share of them still write. A half lets
#: all the copying of a batch together cost no more than copying its cache once.
_COMPACT_AT = 0.5


class Reader(Protocol):
    """A model that has read the prompts of a batch, and goes on token by token.

    Attributes:
        logits: (batch, vocab), of the token after what was read.
    """

    logits: Tensor

    def read(self, ids: Tensor) -> None:
        """Read one more token of each row, (batch,)."""

    def select(self, rows: Tensor) -> bool:
        """Go on with these rows, which may be named several times; False where it cannot be."""


class Written(NamedTuple):
    """What a model wrote after a prompt.

    Args:
        ids: Without padding; with the id that ended it, so that ending can be learned.
        logprobs: Of each id, in nats, under the distribution that it was drawn from: after
            temperature, top-k and top-p. At temperature 0 under the model's own.
        is_complete: Whether it came to its end, rather than to a limit.
    """

    ids: list[int]
    logprobs: list[float]
    is_complete: bool


class Decoder:
    """Writes on from prompts, a batch at a time.

    Neither the global random state nor, afterwards, the model's training mode is touched, and
    what comes out is plain numbers: it can be used between the steps of a training. Precision is
    the caller's, by autocast.

    Args:
        model: A `GPT`, or a causal LM of transformers, perhaps wrapped by PEFT.
        context: Tokens that the model can see.
        stop_ids: Ids that end a text.
        pad_id: Id that fills up rows; any that the model knows, for it is never looked at.
    """

    def __init__(
        self, model: nn.Module, *, context: int, stop_ids: Sequence[int] = (), pad_id: int = 0
    ) -> None:
        self._model = model
        self._context = context
        self._stop_ids = frozenset(stop_ids)
        self._pad_id = pad_id

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seeds: Sequence[int] | None = None,
    ) -> list[Written]:
        """Write on from each prompt, until it ends, its context is full or there are enough tokens.

        Args:
            prompts: Ids of each, at least one; all are read in one batch, the same ones once.
            sampling: How to draw. Its `stop_ids`, if given, are taken instead of the decoder's.
            seeds: Of each prompt's draws, of 64 bits. If nothing is given, they count up from the
                sampling's seed, or from a new one each time.

        Returns:
            One for each prompt; empty and incomplete where a prompt leaves no room.

        Raises:
            UserError: An id is not in the model's vocabulary, or the model's logits are not finite.
            ValueError: A prompt is empty, or there are not as many seeds as prompts.
        """
        if not all(prompts):
            raise ValueError("a prompt is empty")
        if seeds is not None and len(seeds) != len(prompts):
            raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts")
        if seeds is None:
            first = secrets.randbits(64) if sampling.seed is None else sampling.seed
            seeds = range(first, first + len(prompts))
        stops = self._stop_ids if sampling.stop_ids is None else frozenset(sampling.stop_ids)
        rooms = [min(sampling.max_tokens, self._context - len(prompt)) for prompt in prompts]
        rows = [row for row, room in enumerate(rooms) if room > 0]
        written = [Written([], [], False) for _ in prompts]
        if not rows:
            return written
        with _evaluating(self._model):
            batch = _Batch(
                self._open([prompts[row] for row in rows], max(rooms[row] for row in rows)),
                [rooms[row] for row in rows],
                [seeds[row] for row in rows],
                sampling,
                stops,
            )
            for row, ids, logprobs in zip(rows, *batch.write(), strict=True):
                written[row] = Written(ids, logprobs, ids[-1] in stops)
        if any(math.isnan(sum(each.logprobs)) for each in written):
            raise diverged()
        return written

    def _open(self, prompts: Sequence[Sequence[int]], room: int) -> Reader:
        """A reader that has read the prompts."""
        distinct = {tuple(prompt): None for prompt in prompts}
        places = {prompt: place for place, prompt in enumerate(distinct)}
        reader = self._reader(list(distinct), room)
        if len(distinct) < len(prompts):
            rows = [places[tuple(prompt)] for prompt in prompts]
            if not reader.select(torch.tensor(rows, device=reader.logits.device)):
                return self._reader(prompts, room)
        return reader

    def _reader(self, prompts: Sequence[Sequence[int]], room: int) -> Reader:
        model: Any = self._model
        own = isinstance(model, GPT)
        embedding = model.wte if own else model.get_input_embeddings()
        vocab, device = len(embedding.weight), embedding.weight.device
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), self._pad_id)
        for row, prompt in enumerate(prompts):
            check_ids(prompt, vocab)
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
        padding = None
        if any(len(prompt) < width for prompt in prompts):
            padding = torch.tensor([width - len(prompt) for prompt in prompts], device=device)
        if own:
            return OwnReader(model, ids.to(device), padding, width + room)
        from gptengine.decoding.foreign import ForeignReader

        return ForeignReader(model, ids.to(device), padding, width + room, self._context)


def chat_decoder(model: nn.Module, tokenizer: ChatTokenizer, *, context: int) -> Decoder:
    """A decoder of an assistant's turns.

    Args:
        model: As for `Decoder`.
        tokenizer: Its own; says where a turn ends.
        context: Tokens that the model can see.
    """
    return Decoder(model, context=context, stop_ids=end_ids(tokenizer), pad_id=pad_id(tokenizer))


class _Batch:
    """Rows that write side by side.

    Args:
        reader: Has read the prompts.
        rooms: Most tokens of each row.
        seeds: Of each row's draws.
        sampling: How to draw.
        stops: Ids that end a row.
    """

    def __init__(
        self,
        reader: Reader,
        rooms: Sequence[int],
        seeds: Sequence[int],
        sampling: Sampling,
        stops: frozenset[int],
    ) -> None:
        device = reader.logits.device
        self._reader = reader
        self._sampling = sampling
        self._stops = stops
        self._rooms = rooms
        self._stop_ids = torch.tensor(sorted(stops), dtype=torch.long, device=device)
        self._room = torch.tensor(rooms, device=device)  # (batch,)
        self._uniforms: Tensor | None = None  # (steps, batch)
        if sampling.temperature:
            self._uniforms = uniforms(seeds, max(rooms)).to(device)
        self._ids: list[list[int]] = [[] for _ in rooms]
        self._logprobs: list[list[float]] = [[] for _ in rooms]

    def write(self) -> tuple[list[list[int]], list[list[float]]]:
        """The ids of all rows, and their log-probabilities."""
        rows = torch.arange(len(self._rooms), device=self._room.device)
        ended = torch.zeros_like(rows, dtype=torch.bool)
        ids: list[Tensor] = []
        logprobs: list[Tensor] = []
        fills = frozenset(self._rooms)  # steps at which a row is full, known without a look at it
        for step in range(max(self._rooms)):
            numbers = None if self._uniforms is None else self._uniforms[step]
            drawn = choose(self._reader.logits, self._sampling, numbers)
            ids.append(drawn.ids)
            logprobs.append(drawn.logprobs)
            if step + 1 in fills:
                ended |= self._room <= step + 1
            if self._stops:
                ended |= (drawn.ids[:, None] == self._stop_ids).any(1)
            num_ended = int(ended.sum()) if self._stops or step + 1 in fills else 0
            if num_ended == len(ended):
                break
            new = drawn.ids
            if len(ended) - num_ended <= _COMPACT_AT * len(ended):
                left = (~ended).nonzero()[:, 0]
                if self._reader.select(left):
                    self._keep(rows, ids, logprobs)
                    rows, ended, new, ids, logprobs = rows[left], ended[left], new[left], [], []
                    self._room = self._room[left]
                    if self._uniforms is not None:
                        self._uniforms = self._uniforms[:, left]
            self._reader.read(new)
        self._keep(rows, ids, logprobs)
        return self._ids, self._logprobs

    def _keep(self, rows: Tensor, ids: list[Tensor], logprobs: list[Tensor]) -> None:
        """Add what was written since rows last left, up to where each row ended."""
        columns = (torch.stack(ids, 1).tolist(), torch.stack(logprobs, 1).tolist())
        for row, new, told in zip(rows.tolist(), *columns, strict=True):
            end = self._rooms[row] - len(self._ids[row])
            if self._stops:
                end = min(end, next((n for n, i in enumerate(new, 1) if i in self._stops), end))
            self._ids[row] += new[:end]
            self._logprobs[row] += told[:end]


def uniforms(seeds: Sequence[int], steps: int) -> Tensor:
    """Numbers for draws: a row's hang on its seed alone, and a longer row begins as a shorter one.

    By Philox (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011) with the seed as
    the key, so that neighbouring seeds are as good as any.

    Args:
        seeds: Of each row; their lowest 64 bits count.
        steps: How many numbers each row needs.

    Returns:
        (steps, rows), float64 in [0, 1), on the CPU.
    """
    bits = np.empty((steps, len(seeds)), np.uint64)
    for row, seed in enumerate(seeds):
        bits[:, row] = np.random.Philox(key=seed % 2**64).random_raw(steps)
    return torch.from_numpy((bits >> np.uint64(11)) * 2.0**-53)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each module is in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    # Inference mode is the faster, but a training may not meet tensors made under it, and modules
    # of others may keep some.
    mode = torch.inference_mode() if isinstance(model, GPT) else torch.no_grad()
    try:
        with mode:
            yield
    finally:
        for module in training:
            module.training = True
