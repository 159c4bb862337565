"""Writing with a model: sampling with a key-value cache, as ids or as text, token by token."""

import codecs
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gptcore.errors import UserError
from gptengine.kv_cache import KVCache
from gptengine.model import GPT


class TextCodec(Protocol):
    """What decoding needs of a tokenizer."""

    @property
    def eos_id(self) -> int:
        """Id of the token that ends a text."""

    def encode(self, text: str) -> list[int]:
        """The ids of `text`."""

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes that `ids` stand for."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Args:
        max_tokens: The most tokens to write, from 0.
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_k: Draw among this many likeliest tokens; 0 for all.
        top_p: Draw among the likeliest tokens that together reach this probability, in (0, 1]
            (nucleus sampling: Holtzman et al., "The Curious Case of Neural Text Degeneration",
            2020); after `top_k`.
        seed: Of the draw; a new one each time if nothing is given.
        stop_ids: Ids that end the text, and are not part of it. If nothing is given, text ends at
            the tokenizer's end-of-text token, and ids do not end.

    Raises:
        UserError: A value out of bounds; names the field.
    """

    max_tokens: int = 128
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | None = None
    stop_ids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("max_tokens", "top_k"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise _bad_setting(name, value, "a whole number from 0")
        heat = self.temperature
        if not isinstance(heat, int | float) or not math.isfinite(heat) or heat < 0:
            raise _bad_setting("temperature", heat, "a number from 0")
        if not isinstance(self.top_p, int | float) or not 0 < self.top_p <= 1:
            raise _bad_setting("top_p", self.top_p, "above 0 and at most 1")
        if self.seed is not None and not (
            isinstance(self.seed, int) and -(2**63) <= self.seed < 2**64
        ):
            raise _bad_setting("seed", self.seed, "a whole number of 64 bits, or nothing")


def _bad_setting(name: str, value: object, wanted: str) -> UserError:
    return UserError(
        f"{name} is {value!r}, not {wanted}",
        where=f"sampling setting {name}",
        fix=f"{name} = {Sampling.__dataclass_fields__[name].default}",
    )


def stream_ids(model: GPT, prompt_ids: Sequence[int], sampling: Sampling) -> Iterator[int]:
    """Write on from `prompt_ids`: one pass over the prompt, then one token a step.

    When the context is full, the window slides: the last half of it is read again, from position
    0, and the text goes on from there. So half a context of steps is cheap for each dear one, and
    what lies further back is forgotten. Of a prompt longer than the context only the end is read.

    The draw has a generator of its own; neither the global random state nor, between tokens, the
    model's training mode or the grad mode is touched.

    Args:
        model: What writes.
        prompt_ids: At least one id.
        sampling: How to draw.

    Yields:
        The new ids, without the one that stopped.

    Raises:
        UserError: An id is not in the model's vocabulary, or the model's logits are not finite.
        ValueError: There is no prompt.
    """
    if not prompt_ids:
        raise ValueError("prompt_ids is empty")
    check_ids(prompt_ids, model.config.vocab_size)
    device = model.wte.weight.device
    generator = torch.Generator(device)
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)

    context = model.config.context_length
    cache = KVCache(model.config, capacity=len(prompt_ids) + sampling.max_tokens)
    window = list(prompt_ids[-context:])
    fresh = window
    for _ in range(sampling.max_tokens):
        with _inference(model):
            ids = torch.tensor([fresh], device=device)  # (1, new)
            logits = model(ids, cache, last_only=True)[0, -1]  # (vocab,)
            token = int(draw(logits, sampling, generator))
        if sampling.stop_ids is not None and token in sampling.stop_ids:
            return
        yield token
        window.append(token)
        fresh = [token]
        if cache.length == cache.capacity:
            fresh = window = window[-max(1, context // 2) :]
            cache.reset()


def check_ids(prompt_ids: Sequence[int], vocab: int) -> None:
    """Hold the ids of a prompt against a vocabulary: on a GPU a foreign one ends the process.

    Raises:
        UserError: One is outside.
    """
    if not all(0 <= token < vocab for token in prompt_ids):
        raise UserError(
            f"the prompt has ids outside the model's vocabulary of {vocab}",
            where=f"prompt id {next(t for t in prompt_ids if not 0 <= t < vocab)}",
            fix="use the tokenizer the model was trained with",
        )


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Draw one token.

    Args:
        logits: (vocab,), of any floating type.
        sampling: Temperature, top-k and top-p.
        generator: Asked for one number, unless the likeliest token is taken anyway.

    Returns:
        The id, a scalar tensor.

    Raises:
        UserError: The logits hold NaN or positive infinity.
    """
    uniforms = None
    if sampling.temperature:
        uniforms = torch.rand(
            1, generator=generator, device=generator.device, dtype=torch.float64
        ).to(logits.device)
    drawn = choose(logits[None], sampling, uniforms)
    if bool(drawn.logprobs.isnan()):
        raise diverged()
    return drawn.ids[0]


class Drawn(NamedTuple):
    """One token of each row.

    Args:
        ids: (batch,)
        logprobs: (batch,) In nats, of the distribution that the ids were drawn from: after
            temperature, top-k and top-p. At temperature 0, where nothing is drawn, of the model's
            own. NaN where a row's logits held NaN or positive infinity; its id is then any.
    """

    ids: Tensor
    logprobs: Tensor


def choose(logits: Tensor, sampling: Sampling, uniforms: Tensor | None) -> Drawn:
    """Choose the token of each row where the sum of probabilities passes the row's number.

    A row's token hangs on nothing but its own logits and its own number.

    Args:
        logits: (batch, vocab), of any floating type. Negative infinity is a token that cannot be.
        sampling: Temperature, top-k and top-p.
        uniforms: (batch,) float64 in [0, 1), on the device of the logits; not read at
            temperature 0.
    """
    logits = logits.float()
    if sampling.temperature == 0 or uniforms is None:
        places = logits.argmax(-1, keepdim=True)
        return Drawn(places[:, 0], logits.log_softmax(-1).gather(-1, places)[:, 0])
    # The likeliest first, as far as an order is needed.
    order = None
    if 0 < sampling.top_k < logits.shape[-1]:
        logits, order = logits.topk(sampling.top_k)
    elif sampling.top_p < 1:
        logits, order = logits.sort(descending=True)
    if sampling.temperature != 1:
        # Shifted before the division, which at a tiny temperature could pass what a float holds.
        logits = (logits - logits.amax(-1, keepdim=True)) / sampling.temperature
    probs = torch.softmax(logits, -1)
    if sampling.top_p < 1:
        # A token stays if those before it do not reach top_p by themselves; so the first stays.
        probs = probs * (probs.cumsum(-1) - probs < sampling.top_p)
    # In double precision, where rounding cannot lead to a token of probability 0.
    sums = probs.cumsum(-1, dtype=torch.float64)
    total = sums[:, -1:]
    places = torch.searchsorted(sums, uniforms[:, None] * total, right=True)
    # Sums that are not numbers lead outside.
    places = places.clamp_(max=probs.shape[-1] - 1)
    logprobs = (probs.gather(-1, places) / total).log().float()[:, 0]
    ids = places if order is None else order.gather(-1, places)
    return Drawn(ids[:, 0], logprobs)


def diverged() -> UserError:
    """What to say of logits that are no numbers."""
    return UserError(
        "the model's output is not finite: its training has diverged",
        where="the model's logits",
        fix="go back to an earlier checkpoint",
    )


def stream_text(model: GPT, tokenizer: TextCodec, prompt: str, sampling: Sampling) -> Iterator[str]:
    """Write on from `prompt`, a piece of text whenever at least one more character is whole.

    Bytes that are no UTF-8 come out as U+FFFD, as they would from decoding all at once.

    Args:
        model: What writes.
        tokenizer: The model's own.
        prompt: May be empty: the model then begins a text.
        sampling: How to draw.

    Yields:
        Pieces that joined are the text.
    """
    if sampling.stop_ids is None:
        sampling = replace(sampling, stop_ids=(tokenizer.eos_id,))
    prompt_ids = tokenizer.encode(prompt) or [tokenizer.eos_id]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in stream_ids(model, prompt_ids, sampling):
        if piece := decoder.decode(tokenizer.decode_bytes([token])):
            yield piece
    if piece := decoder.decode(b"", final=True):
        yield piece


#: The name that the package exports.
stream = stream_text


def generate(
    model: GPT,
    tokenizer: TextCodec,
    prompt: str,
    sampling: Sampling | None = None,
    **sampling_fields: Any,
) -> str:
    """What the model writes after `prompt`.

    Args:
        model: What writes.
        tokenizer: The model's own.
        prompt: May be empty.
        sampling: How to draw.
        **sampling_fields: Fields of `Sampling` that replace those of `sampling`.
    """
    sampling = replace(sampling or Sampling(), **sampling_fields)
    return "".join(stream_text(model, tokenizer, prompt, sampling))


@contextmanager
def _inference(model: GPT) -> Iterator[None]:
    """Evaluation mode without gradients, for one step: a consumer may train between two tokens."""
    training = model.training
    if training:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if training:
            model.train()
