"""What a model answers to many prompts, at its likeliest token."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from gptcore.answers import Answer, parse_answer
from gptengine.chat_tokenizer import ChatTokenizer, control_ids, end_ids, pad_id
from gptengine.train.device import Placement


class Answerer:
    """Answers prompts in batches, padded at the left.

    Args:
        model: A causal LM of transformers.
        tokenizer: Its own.
        placement: Where it is.
        context: Tokens that it can see.
        batch_size: Prompts answered at once.
        max_tokens: Longest answer.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: ChatTokenizer,
        placement: Placement,
        *,
        context: int,
        batch_size: int,
        max_tokens: int,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._placement = placement
        self._context = context
        self._batch_size = batch_size
        self._max_tokens = max_tokens
        self._control = control_ids(tokenizer)

    def answer(
        self, prompts: Sequence[Sequence[int]], on_done: Callable[[int], None] = lambda done: None
    ) -> list[Answer]:
        """The answer to each prompt; a prompt that fills the context gets none.

        Args:
            prompts: Ids of each, opened for the assistant's turn.
            on_done: Told how many are answered.
        """
        answers = [Answer("", (), ("the prompt fills the context",), False)] * len(prompts)
        order = [at for at in range(len(prompts)) if len(prompts[at]) < self._context]
        order.sort(key=lambda at: -len(prompts[at]))
        # A prompt after which a whole answer does not fit would cut the others of its batch short.
        full = [at for at in order if len(prompts[at]) + self._max_tokens > self._context]
        rest = order[len(full) :]
        batches = [[at] for at in full]
        batches += [
            rest[at : at + self._batch_size] for at in range(0, len(rest), self._batch_size)
        ]
        done = 0
        for places in batches:
            written = write(
                self._model,
                self._tokenizer,
                self._placement,
                [prompts[at] for at in places],
                context=self._context,
                max_tokens=self._max_tokens,
            )
            for at, ids in zip(places, written, strict=True):
                answers[at] = parse_answer(ids, self._control, self._tokenizer.decode)
            done += len(places)
            on_done(done)
        return answers


def write(
    model: Any,
    tokenizer: ChatTokenizer,
    placement: Placement,
    prompts: Sequence[Sequence[int]],
    *,
    context: int,
    max_tokens: int,
) -> list[list[int]]:
    """What the model goes on with, at its likeliest token, until it ends or the context is full.

    Args:
        model: A causal LM of transformers.
        tokenizer: Its own.
        placement: Where it is.
        prompts: Ids of each; padded at the left to one length.
        context: Tokens that the model can see.
        max_tokens: Most that are written.

    Returns:
        Ids for each prompt; after a turn's end they may be padding. None where a prompt leaves no
        room.
    """
    width = max(map(len, prompts))
    room = min(max_tokens, context - width)
    if room < 1:
        return [[] for _ in prompts]
    pad, device = pad_id(tokenizer), placement.device
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    # Not inference mode: a training that goes on may not meet tensors made under it.
    with torch.no_grad(), placement.autocast():
        written = model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=room,
            do_sample=False,
            eos_token_id=end_ids(tokenizer),
            pad_token_id=pad,
        )
    return [row.tolist() for row in written[:, width:]]
