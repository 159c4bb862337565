"""The rounds of PPO: answers drawn and rewarded once, then handed out part by part."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from gptcore import events
from gptcore.answers import parse_answer
from gptcore.conversation import plain, render
from gptcore.rl_settings import PpoSettings
from gptengine.chat_tokenizer import ChatTokenizer, control_ids, pad_id
from gptengine.generate import Sampling
from gptengine.rl.judge import Judge, summary
from gptengine.rl.policy import Policy
from gptengine.rl.prompts import Prompts
from gptengine.rl.rewards import Scored
from gptengine.rl.rollouts import derived_seed
from gptengine.rl.tasks import Completion, Task
from gptengine.train.device import Placement


class Round:
    """The answers of one step.

    Args:
        tasks: What was answered.
        prompts: The ids of each.
        answers: What was written, with what ended it.
        scored: What it is worth.
        pad: Id that fills up.
        device: For the tensors.

    Attributes:
        queries: (batch, widest prompt), padded at the left.
        responses: (batch, longest answer), padded at the right.
        rewards: (batch,), float32.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        scored: Sequence[Scored],
        *,
        pad: int,
        device: torch.device,
    ) -> None:
        self.tasks = tasks
        self.prompts = prompts
        self.answers = answers
        self.scored = scored
        width, height = max(map(len, prompts)), max(1, *map(len, answers))
        queries = torch.full((len(tasks), width), pad)
        responses = torch.full((len(tasks), height), pad)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            queries[row, width - len(prompt) :] = torch.tensor(prompt)
            responses[row, : len(answer)] = torch.tensor(answer, dtype=torch.long)
        self.queries, self.responses = queries.to(device), responses.to(device)
        self.rewards = torch.tensor([each.total for each in scored], device=device)
        self._written = self.responses != pad
        self._logprobs = torch.zeros(responses.shape, device=device)
        self._drift = torch.zeros(len(tasks), device=device)
        self._entropy = 0.0
        self._taken: Counter[str] = Counter()

    def take(self, who: str, count: int) -> slice:
        """The next rows for one of those who go through them in order."""
        start = self._taken[who]
        self._taken[who] += count
        return slice(start, start + count)

    @property
    def is_measured(self) -> bool:
        """Whether the model and its reference have gone through all rows."""
        return all(self._taken[who] >= len(self.tasks) for who in ("policy", "reference"))

    def sequences(self, rows: slice) -> list[list[int]]:
        """Prompt and answer of some rows."""
        pairs = zip(self.prompts[rows], self.answers[rows], strict=True)
        return [[*prompt, *answer] for prompt, answer in pairs]

    def note_policy(self, rows: slice, logits: Tensor) -> None:
        """Keep how likely the answers were.

        Args:
            rows: Which.
            logits: Of the model that drew them, over the temperature; (rows, time, vocab).
        """
        logprobs = torch.log_softmax(logits, -1)
        self._logprobs[rows] = _chosen(logprobs, self.responses[rows])
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        self._entropy += float(entropy[self._written[rows]].sum())

    def note_reference(self, rows: slice, logits: Tensor) -> None:
        """Keep how far the model that drew the answers is from its reference, likewise."""
        before = _chosen(torch.log_softmax(logits, -1), self.responses[rows])
        drift = (self._logprobs[rows] - before) * self._written[rows]
        self._drift[rows] = drift.sum(1)

    @property
    def num_tokens(self) -> int:
        """Of prompts and answers."""
        return sum(map(len, self.prompts)) + sum(map(len, self.answers))

    def told(self) -> events.Reward:
        """How the answers fared, and how the model stands; once it is measured."""
        written = sum(map(len, self.answers))
        told = summary(self.scored)
        told.kl = float(self._drift.mean())
        told.entropy = self._entropy / max(1, written)
        told.length = written / len(self.answers)
        told.prompts = len(self.tasks)
        return told

    def sample(self, row: int, tokenizer: ChatTokenizer) -> events.Sample:
        """One of the answers, with its reward."""
        scored, task = self.scored[row], self.tasks[row]
        parts = ", ".join(f"{name} {value:.3g}" for name, value in scored.parts.items())
        text = tokenizer.decode(self.answers[row])
        return events.Sample(
            prompt=plain(render(task.messages, task.tools, goes_on=True)),
            text=f"{text}\n[reward {scored.total:.3g}: {parts}]",
        )


def _chosen(logprobs: Tensor, ids: Tensor) -> Tensor:
    return logprobs.gather(-1, ids[..., None])[..., 0]


class Rounds:
    """Draws answers and has them judged; a step's are a pure function of the seed and its number.

    Args:
        prompts: To answer.
        policy: The model in training.
        judge: Says what answers are worth.
        tokenizer: The model's.
        settings: Of the training.
        placement: Device and precision.
        room: Longest answer, in tokens.
    """

    def __init__(
        self,
        prompts: Prompts,
        policy: Policy,
        judge: Judge,
        tokenizer: ChatTokenizer,
        settings: PpoSettings,
        placement: Placement,
        *,
        room: int,
    ) -> None:
        self._prompts = prompts
        self._policy = policy
        self._judge = judge
        self._tokenizer = tokenizer
        self._settings = settings
        self._placement = placement
        self._room = room
        self._control = control_ids(tokenizer)

    def draw(self, number: int) -> Round:
        """The answers of a step, counted from 0."""
        settings, size = self._settings, self._settings.batch_size
        places = range(number * size, (number + 1) * size)
        chosen = [self._prompts.place(place, settings.seed) for place in places]
        tasks = [self._prompts.tasks[index] for index in chosen]
        prompts = [self._prompts.ids[index] for index in chosen]
        sampling = Sampling(self._room, temperature=settings.temperature)
        seeds = [derived_seed(settings.seed, number, row) for row in range(size)]
        answers = self._answer(prompts, sampling, seeds)
        scored = self._score(tasks, prompts, answers)
        pad, device = pad_id(self._tokenizer), self._placement.device
        return Round(tasks, prompts, answers, scored, pad=pad, device=device)

    def evaluate(self, prompts: Prompts, most: int) -> events.Reward:
        """What the likeliest answers to held-out prompts are worth.

        Args:
            prompts: At least one.
            most: How many are answered; they are evenly chosen.
        """
        count = min(len(prompts), most)
        chosen = [place * len(prompts) // count for place in range(count)]
        tasks = [prompts.tasks[index] for index in chosen]
        ids = [prompts.ids[index] for index in chosen]
        size, answers = self._settings.batch_size, []
        for at in range(0, count, size):
            answers += self._answer(ids[at : at + size], Sampling(self._room, temperature=0))
        told = summary(self._score(tasks, ids, answers))
        told.length = sum(map(len, answers)) / count
        told.held_out, told.prompts = True, count
        return told

    def _answer(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        seeds: Sequence[int] | None = None,
    ) -> list[list[int]]:
        with self._placement.autocast():
            written = self._policy.decoder().write(prompts, sampling, seeds)
        pad = pad_id(self._tokenizer)
        # A model may write even this; as TRL takes it for the end, so must the rewards.
        return [
            each.ids[: each.ids.index(pad)] if pad in each.ids else each.ids for each in written
        ]

    def _score(
        self,
        tasks: Sequence[Task],
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
    ) -> list[Scored]:
        parsed = [parse_answer(ids, self._control, self._tokenizer.decode) for ids in answers]
        completions = [
            Completion(task, (answer,), num_tokens=len(ids))
            for task, answer, ids in zip(tasks, parsed, answers, strict=True)
        ]
        whole = [[*prompt, *ids] for prompt, ids in zip(prompts, answers, strict=True)]
        return self._judge.score(completions, whole)
