"""How likely a model finds what was written: log-probabilities and entropy, a token each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class WrittenBatch:
    """Sequences of which a model wrote parts, padded at the right.

    Args:
        input_ids: (batch, time).
        attention_mask: (batch, time), 0 at the padding.
        written: (batch, time), whether the model wrote the token; never the first one.
    """

    input_ids: Tensor
    attention_mask: Tensor
    written: Tensor


def likelihood(net: Any, batch: WrittenBatch, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probability of each written token, and the entropy of the draw it came from.

    Args:
        net: A causal LM of transformers, adapters inside or not.
        batch: On its device.
        temperature: That the tokens were drawn with: it divides the logits.

    Returns:
        Both (batch, time), float32, nats; 0 where the model wrote nothing. Only the first carries a
        gradient.
    """
    first = int(batch.written.int().argmax(1).min())  # no row wrote before
    kept = batch.input_ids.shape[1] - first + 1
    output = net(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, logits_to_keep=kept
    )
    log_probs, entropy = chosen_of(
        output.logits[:, :-1], batch.input_ids[:, first:], batch.written[:, first:], temperature
    )
    return F.pad(log_probs, (first, 0)), F.pad(entropy, (first, 0))


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """Sequences that go on from prompts which several of them share.

    Args:
        prompt_ids: (prompts, width), padded at the left.
        prompt_mask: (prompts, width), 0 at the padding.
        rows: (batch,) Which prompt each sequence goes on from.
        ids: (batch, time) What came after the prompts, padded at the right.
        mask: (batch, time), 0 at the padding.
        written: (batch, time), whether the model wrote the token.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    rows: Tensor
    ids: Tensor
    mask: Tensor
    written: Tensor


def shared_batch(
    prompts: Sequence[Sequence[int]],
    after: Sequence[Sequence[int]],
    written: Sequence[Sequence[bool]],
    pad: int,
    device: torch.device,
) -> SharedBatch:
    """Put sequences of any lengths into a batch.

    Args:
        prompts: The ids of each sequence's prompt; equal ones are read once.
        after: The ids of all that came after it.
        written: Whether the model wrote each of these.
        pad: Id that fills up.
        device: Where to.
    """
    distinct = list(dict.fromkeys(map(tuple, prompts)))
    place = {prompt: number for number, prompt in enumerate(distinct)}
    width, time = max(map(len, distinct)), max(map(len, after))
    prompt_ids = torch.full((len(distinct), width), pad)
    prompt_mask = torch.zeros_like(prompt_ids)
    for row, prompt in enumerate(distinct):
        prompt_ids[row, width - len(prompt) :] = torch.tensor(prompt)
        prompt_mask[row, width - len(prompt) :] = 1
    ids = torch.full((len(after), time), pad)
    mask = torch.zeros_like(ids)
    wrote = torch.zeros_like(ids, dtype=torch.bool)
    for row, (tokens, marks) in enumerate(zip(after, written, strict=True)):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
        wrote[row, : len(tokens)] = torch.tensor(marks)
    rows = torch.tensor([place[tuple(prompt)] for prompt in prompts])
    tensors = (prompt_ids, prompt_mask, rows, ids, mask, wrote)
    return SharedBatch(*(tensor.to(device) for tensor in tensors))


def shared_likelihood(
    net: Any, batch: SharedBatch, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """As `likelihood`, with each prompt read once.

    Sequences go on from its keys and values, through which the gradient flows back as it would from
    copies of the prompt. Not under gradient checkpointing, where transformers keeps no cache.

    Returns:
        Both (batch, time), of what came after the prompts.
    """
    positions = (batch.prompt_mask.cumsum(1) - 1).clamp(min=0)
    read = net(
        input_ids=batch.prompt_ids,
        attention_mask=batch.prompt_mask,
        position_ids=positions,
        use_cache=True,
        logits_to_keep=1,
    )
    logits = read.logits[:, -1:][batch.rows]  # (batch, 1, vocab)
    if batch.ids.shape[1] > 1:
        cache = read.past_key_values
        cache.batch_select_indices(batch.rows)
        length = batch.prompt_mask.sum(1)[batch.rows]
        steps = torch.arange(batch.ids.shape[1] - 1, device=length.device)
        went_on = net(
            input_ids=batch.ids[:, :-1],
            attention_mask=torch.cat([batch.prompt_mask[batch.rows], batch.mask[:, :-1]], 1),
            position_ids=(length[:, None] + steps) * batch.mask[:, :-1],
            past_key_values=cache,
            use_cache=True,
        )
        logits = torch.cat([logits, went_on.logits], 1)
    return chosen_of(logits, batch.ids, batch.written, temperature)


def chosen_of(
    logits: Tensor, ids: Tensor, written: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probability of the written tokens, and entropy, from the logits of their draws.

    Args:
        logits: (batch, time, vocab).
        ids: (batch, time).
        written: (batch, time), which of them count.
        temperature: Divides the logits.
    """
    log_probs = torch.log_softmax(logits[written].float() / temperature, -1)  # (tokens, vocab)
    chosen = log_probs.gather(-1, ids[written][:, None])[:, 0]
    with torch.no_grad():
        entropy = -(log_probs.exp() * log_probs).sum(-1)
    return _laid_out(chosen, written), _laid_out(entropy, written)


def _laid_out(values: Tensor, written: Tensor) -> Tensor:
    """Values of the written tokens in their places."""
    laid = torch.zeros(written.shape, dtype=values.dtype, device=values.device)
    return laid.masked_scatter(written, values)
