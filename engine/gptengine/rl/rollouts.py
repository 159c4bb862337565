"""Answers drawn from the model in training: calls are run, and it goes on from their results."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from gptcore.answers import Answer, parse_answer
from gptcore.conversation import render
from gptcore.encoding import encode_spans
from gptcore.formats.records import Message, ToolCall
from gptcore.tools import SAFE_TOOLS, run_tool
from gptengine.chat_tokenizer import ChatTokenizer, control_ids
from gptengine.decoding import Decoder, Written
from gptengine.evaluate.judging import same_calls
from gptengine.generate import Sampling
from gptengine.rl.tasks import Completion, Task


@dataclass
class Rollout:
    """A task, and what the model made of it.

    Attributes:
        task: The task.
        ids: The prompt, and all that came after it.
        written: For each id whether the model wrote it; prompt and results it did not.
        logprobs: Of each id as it was drawn, nats; 0 of those that were not.
        num_prompt: How many ids are the prompt's.
        answers: Its turns.
        results: Of the calls of each turn but the last.
        is_open: Whether it goes on: there are results that are to be answered.
    """

    task: Task
    ids: list[int]
    written: list[bool]
    logprobs: list[float]
    num_prompt: int
    answers: list[Answer] = field(default_factory=list)
    results: list[tuple[Message, ...]] = field(default_factory=list)
    is_open: bool = True

    def append(self, ids: Sequence[int], logprobs: Sequence[float] | None = None) -> None:
        """Add what the model wrote, with its log-probabilities; or, without them, results."""
        self.ids += ids
        self.written += [logprobs is not None] * len(ids)
        self.logprobs += [0.0] * len(ids) if logprobs is None else logprobs

    @property
    def completion(self) -> Completion:
        """As rewards see it."""
        return Completion(
            self.task, tuple(self.answers), tuple(self.results), num_tokens=sum(self.written)
        )


class Roller:
    """Draws answers, turn by turn, all that are under way in one batch.

    What is drawn for a row depends on its seed alone, not on the rows beside it.

    Args:
        decoder: Of the model in training, as it is now.
        tokenizer: Its own.
        context: Tokens that it can see.
        max_tokens: Longest turn.
        max_turns: Most turns of an answer.
        temperature: Of the draw.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: ChatTokenizer,
        *,
        context: int,
        max_tokens: int,
        max_turns: int,
        temperature: float,
    ) -> None:
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._context = context
        self._max_turns = max_turns
        self._sampling = Sampling(max_tokens=max_tokens, temperature=temperature)
        self._control = control_ids(tokenizer)

    def roll(
        self, tasks: Sequence[Task], prompts: Sequence[Sequence[int]], seeds: Sequence[int]
    ) -> list[Rollout]:
        """An answer to each task.

        Args:
            tasks: What is to be answered; one may stand there several times.
            prompts: The ids of each, opened for the assistant's turn.
            seeds: Of each row's draw.
        """
        rollouts = [
            Rollout(task, list(prompt), [False] * len(prompt), [0.0] * len(prompt), len(prompt))
            for task, prompt in zip(tasks, prompts, strict=True)
        ]
        for turn in range(self._max_turns):
            under_way = [at for at, rollout in enumerate(rollouts) if rollout.is_open]
            if not under_way:
                break
            written = self._decoder.write(
                [rollouts[at].ids for at in under_way],
                self._sampling,
                [derived_seed(seeds[at], turn) for at in under_way],
            )
            is_last = turn == self._max_turns - 1
            for at, turn_written in zip(under_way, written, strict=True):
                self._take(rollouts[at], turn_written, is_last=is_last)
        return rollouts

    def _take(self, rollout: Rollout, turn: Written, *, is_last: bool) -> None:
        """Add a turn, and the results of its calls where it is to go on from them."""
        rollout.append(turn.ids, turn.logprobs)
        answer = parse_answer(turn.ids, self._control, self._tokenizer.decode)
        rollout.answers.append(answer)
        rollout.is_open = False
        if is_last or not answer.calls or answer.problems or not answer.is_complete:
            return
        results = results_of(answer.calls, rollout.task, first=len(rollout.answers) == 1)
        if results is None:
            return
        spans = render(results, goes_on=True)
        more = [index for piece in encode_spans(spans, self._tokenizer) for index in piece]
        if len(rollout.ids) + len(more) >= self._context:
            return
        rollout.append(more)
        rollout.results.append(results)
        rollout.is_open = True


def results_of(calls: Sequence[ToolCall], task: Task, *, first: bool) -> tuple[Message, ...] | None:
    """What calls give: by running safe tools, else as the data has it; None: it cannot be known.

    Args:
        calls: Of one turn.
        task: With the functions that may be called, and the results on record.
        first: Whether it is the turn that the task's right answer stands for.
    """
    wanted = task.wanted.calls if task.wanted else ()
    if first and task.recorded and same_calls(calls, wanted):
        return task.recorded
    offered = {tool.name: tool for tool in task.tools}
    for call in calls:
        safe, known = SAFE_TOOLS.get(call.name), offered.get(call.name)
        if safe is None or known is None:
            return None
        if safe.parameters.get("properties") != known.parameters.get("properties"):
            return None  # another function of the same name
    return tuple(Message("tool", run_tool(call), name=call.name) for call in calls)


def derived_seed(*numbers: int) -> int:
    """A seed of 63 bits, a pure function of numbers."""
    digest = blake2b(",".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
