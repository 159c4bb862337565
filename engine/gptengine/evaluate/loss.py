"""Loss, perplexity and bits per byte on conversations: of the assistant's words alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gptengine.chat_tokenizer import ChatTokenizer, pad_id
from gptengine.finetune.data import IGNORED, Examples, collate
from gptengine.train.device import Placement

#: What the logits of a batch may take, with their copy in float32.
LOGITS_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class LossOnText:
    """How well a model tells a text.

    Args:
        nats: Cross entropy of all tokens that count.
        tokens: How many those are.
        bytes: Of the text that they stand for; control tokens have none.
        each: The same nats and tokens, conversation by conversation.
    """

    nats: float
    tokens: int
    bytes: int
    each: tuple[tuple[float, int], ...] = ()

    @property
    def loss(self) -> float | None:
        """Nats a token."""
        return self.nats / self.tokens if self.tokens else None

    @property
    def perplexity(self) -> float | None:
        """The exponential of the loss."""
        return None if self.loss is None else math.exp(min(self.loss, 700.0))

    @property
    def bits_per_byte(self) -> float | None:
        """Bits that a byte of the text takes, the control tokens' bits among them."""
        return self.nats / math.log(2) / self.bytes if self.bytes else None


def loss_on(
    model: Any,
    tokenizer: ChatTokenizer,
    examples: Examples,
    placement: Placement,
    *,
    batch_size: int,
    control: frozenset[int],
    on_done: Callable[[int], None] = lambda done: None,
) -> LossOnText:
    """Measure a causal LM on encoded conversations.

    Args:
        model: Takes `input_ids` and `attention_mask`, and gives `logits`.
        tokenizer: Its own.
        examples: Which tokens count is marked in them.
        placement: Where it is.
        batch_size: Conversations computed at once.
        control: Ids of the control tokens.
        on_done: Told how many conversations are done.
    """
    order = sorted(range(len(examples)), key=lambda index: -examples.length_of(index))
    each = [(0.0, 0)] * len(examples)
    size = 0
    vocab = model.config.get_text_config().vocab_size
    at = 0
    while at < len(order):
        fits = LOGITS_BYTES // (8 * vocab * examples.length_of(order[at]))
        numbers = order[at : at + max(1, min(batch_size, fits))]
        at += len(numbers)
        batch = collate(examples, numbers, pad_id(tokenizer))
        targets = batch.pop("labels")[:, 1:].to(placement.device)  # (batch, time - 1)
        with torch.inference_mode(), placement.autocast():
            inputs = {name: value.to(placement.device) for name, value in batch.items()}
            logits = model(**inputs).logits[:, :-1]  # (batch, time - 1, vocab)
            counted = targets != IGNORED
            losses = torch.nn.functional.cross_entropy(
                logits[counted].float(), targets[counted], reduction="none"
            )
            counts = counted.sum(1).tolist()
            sums = torch.stack([part.sum() for part in losses.split(counts)]).tolist()
        for number, nats, tokens in zip(numbers, sums, counts, strict=True):
            each[number] = (nats, tokens)
        words = [index for index in targets[counted].tolist() if index not in control]
        size += len(tokenizer.decode(words).encode())
        on_done(at)
    all_nats, all_tokens = (sum(column) for column in zip(*each, strict=True)) if each else (0.0, 0)
    return LossOnText(all_nats, all_tokens, size, tuple(each))
