"""What a model answers to many prompts, at its likeliest token."""

from collections.abc import Callable, Sequence
from typing import Any

from gptcore.answers import Answer, parse_answer
from gptengine.chat_tokenizer import ChatTokenizer, control_ids
from gptengine.decoding import chat_decoder
from gptengine.generate import Sampling
from gptengine.train.device import Placement


class Answerer:
    """Answers prompts in batches.

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
        self._decoder = chat_decoder(model, tokenizer, context=context)
        self._tokenizer = tokenizer
        self._placement = placement
        self._context = context
        self._batch_size = batch_size
        self._sampling = Sampling(max_tokens, temperature=0)
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
        order.sort(key=lambda at: -len(prompts[at]))  # so that there is little padding
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            with self._placement.autocast():
                written = self._decoder.write([prompts[at] for at in places], self._sampling)
            for at, each in zip(places, written, strict=True):
                answers[at] = parse_answer(each.ids, self._control, self._tokenizer.decode)
            on_done(start + len(places))
        return answers
