"""What a completion is worth: gptstudio's own rewards, and the scorer that weighs them.

A reward gives a number from 0 to 1, a penalty one from -1 to 0, or None where it does not apply.
It then is left out of the weighted mean: a task without a call to make says nothing about calls.
Whether it applies follows from the task and from whether its calls were run, not from how well it
was answered: otherwise a completion could be worth more by avoiding what it would lose.
"""

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

from gptcore.errors import UserError
from gptcore.formats.records import Message, ToolCall
from gptcore.workspace import Workspace
from gptengine.evaluate.judging import (
    answers_rightly,
    contains,
    facts_in,
    fault,
    is_spoken,
    same_value,
    words,
    words_of,
)
from gptengine.rl.reward_process import RewardFailure
from gptengine.rl.tasks import Completion
from gptengine.rl.user_rewards import Failures, Problem, UserReward, right_words

Reward = Callable[[Completion], float | None]

#: Tokens that a completion may have before `length` counts them against it.
LENGTH_BUDGET = 256
#: Words in a row that should not come again.
_REPEATED_WORDS = 3
#: A word, a run of signs, or one character of a script that puts no spaces between words.
_PIECE = re.compile(r"[\u2e80-\u9fff]|[^\W\u2e80-\u9fff]+|[^\w\s]+")


def right_function(completion: Completion) -> float | None:
    """0 to 1: the share of the calls that name the right function, in their place.

    Calls too many, broken ones among them, count as wrong, as calls too few do. Where nothing is to
    be called, or that is not known, it does not apply. 1 is what `gptstudio eval` counts as right.
    """
    pairs = _pairs(completion)
    if pairs is None:
        return None
    return _mean([float(_is_same_function(call, wanted)) for call, wanted in pairs])


def right_arguments(completion: Completion) -> float | None:
    """0 to 1: the share of right arguments, of the right function; 1 only where all is right.

    Of each call it is the share among the names that are wanted or given; a call of the wrong
    function, one too many, a broken one or a missing one gets 0. It applies where a call is to be
    made.
    """
    pairs = _pairs(completion)
    if pairs is None:
        return None
    return _mean([_share_of_arguments(call, wanted) for call, wanted in pairs])


def well_formed_calls(completion: Completion) -> float | None:
    """0 to 1: the share of the calls, in all turns, that are JSON and obey their schema.

    Where nothing is called it is 0 if a call was to be made, otherwise 1. It applies where there
    are functions to call; where only the right call tells so, JSON alone counts.
    """
    task = completion.task
    if not task.tools and not _wants_calls(completion):
        return None
    good = sum(not fault(call, task.tools) for call in completion.calls)
    tried = len(completion.calls) + sum(len(answer.problems) for answer in completion.answers)
    return good / tried if tried else float(not _wants_calls(completion))


def no_needless_call(completion: Completion) -> float | None:
    """0 or 1: 1 where nothing is called, whole or broken, in any turn.

    It applies where nothing is to be called: the right answer calls nothing, or there is nothing
    that could be called.
    """
    task = completion.task
    if _wants_calls(completion) or (task.wanted is None and task.tools):
        return None
    return float(not any(answer.calls or answer.problems for answer in completion.answers))


def right_answer(completion: Completion) -> float | None:
    """0 or 1: 1 where the last turn is whole, calls nothing and contains the right answer's words.

    Case, spacing and punctuation do not count. The right answer is what is said at last in the
    data: in place of calls, or after their results; where the data has no such turn, the row's own
    field `answer`. It does not apply where there is none, nor where calls were right but not run.
    """
    wanted = right_words(completion.task)
    if not wanted or _was_stopped_at_calls(completion):
        return None
    return float(is_spoken(completion.last) and contains(completion.last.content, wanted))


def consistent_answer(completion: Completion) -> float | None:
    """0 to 1: whether the last turn says what the calls gave, be it in the task or in the course.

    Where the right answer to these very results is known: 0 or 1, as `gptstudio eval` counts it.
    Otherwise the share of its numbers that stand in the results or in what was said before, and 0
    where it takes nothing from the results, is not whole, or calls on.

    Without results it is 0 where a call was to be made, and 1 where one might have been made. It
    does not apply where nothing was to be called, nor where calls were not run.
    """
    task = completion.task
    own = tuple(result for results in completion.results for result in results)
    if not own and (_wants_calls(completion) or not task.results):
        return _without_results(completion)
    if task.wanted is not None and not task.wanted.calls and not task.results:
        return None
    right = task.wanted
    if own:
        right = task.final if _texts(own) == _texts(task.recorded) else None
    if right is not None:
        return float(answers_rightly(completion.last, right, task.results + own))
    return _grounded(completion, task.results + own)


def right_format(completion: Completion) -> float:
    """0 or 1: 1 where each turn says or calls something, comes to its end and breaks no call."""
    return float(
        all(
            answer.is_complete
            and not answer.problems
            and bool(answer.calls or answer.content.strip())
            for answer in completion.answers
        )
    )


def length_penalty(budget: int) -> Reward:
    """The reward that counts tokens beyond a budget.

    Args:
        budget: Tokens, of all turns, that cost nothing.
    """

    def penalty(completion: Completion) -> float:
        """-1 to 0: 0 within the budget, falling evenly to -1 at twice as much."""
        return -min(max(completion.num_tokens / budget - 1, 0.0), 1.0)

    return penalty


def repetition_penalty(completion: Completion) -> float:
    """-1 to 0: minus the share of its three words in a row that stood before in the same turn."""
    total = repeated = 0
    for answer in completion.answers:
        pieces = _PIECE.findall(answer.content.casefold())
        runs = list(zip(*(pieces[at:] for at in range(_REPEATED_WORDS)), strict=False))
        total += len(runs)
        repeated += len(runs) - len(set(runs))
    return -repeated / total if total else 0.0


#: By the names that profiles use.
REWARDS: Mapping[str, Reward] = MappingProxyType(
    {
        "function": right_function,
        "well_formed": well_formed_calls,
        "arguments": right_arguments,
        "no_needless_call": no_needless_call,
        "answer": right_answer,
        "consistent": consistent_answer,
        "format": right_format,
        "length": length_penalty(LENGTH_BUDGET),
        "repetition": repetition_penalty,
    }
)


def _wants_calls(completion: Completion) -> bool:
    wanted = completion.task.wanted
    return wanted is not None and bool(wanted.calls)


def _pairs(completion: Completion) -> list[tuple[ToolCall | None, ToolCall | None]] | None:
    """The calls of the first turn beside those wanted; None: no calls are known to be wanted."""
    wanted = completion.task.wanted
    if wanted is None or not wanted.calls:
        return None
    calls, broken = completion.first.calls, len(completion.first.problems)
    num = max(len(calls) + broken, len(wanted.calls))
    return [
        (
            calls[at] if at < len(calls) else None,
            wanted.calls[at] if at < len(wanted.calls) else None,
        )
        for at in range(num)
    ]


def _is_same_function(call: ToolCall | None, wanted: ToolCall | None) -> bool:
    return call is not None and wanted is not None and call.name == wanted.name


def _share_of_arguments(call: ToolCall | None, wanted: ToolCall | None) -> float:
    if call is None or wanted is None or call.name != wanted.name:
        return 0.0
    given, right = call.arguments, wanted.arguments
    names = given.keys() | right.keys()
    same = [
        name in given and name in right and same_value(given[name], right[name]) for name in names
    ]
    return sum(same) / len(same) if same else 1.0


def _was_stopped_at_calls(completion: Completion) -> bool:
    """Whether calls were to be made and were, and no result came that could be answered from."""
    return _wants_calls(completion) and not completion.results and bool(completion.last.calls)


def _without_results(completion: Completion) -> float | None:
    if _wants_calls(completion):
        return None if _was_stopped_at_calls(completion) else 0.0
    return 1.0 if completion.task.wanted is None and completion.task.tools else None


def _grounded(completion: Completion, results: Sequence[Message]) -> float:
    """How much of the last turn can be from results, no right answer being known."""
    spoken = words(completion.last.content)
    if not is_spoken(completion.last) or not spoken:
        return 0.0
    task = completion.task
    before = task.messages[: len(task.messages) - len(task.results)]
    told, said = words_of(results), words_of(before)
    news = facts_in(told - said)
    if news and not news & spoken:
        return 0.0
    numbers = {word for word in spoken if any(sign.isdigit() for sign in word)}
    return len(numbers & (told | said)) / len(numbers) if numbers else 1.0


def _texts(messages: Sequence[Message]) -> list[str]:
    return [message.content for message in messages]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@dataclass(frozen=True, slots=True)
class Scored:
    """What a completion is worth.

    Args:
        total: The weighted mean of the parts.
        parts: By reward, before weighting; those that do not apply, or failed, are absent.
    """

    total: float
    parts: Mapping[str, float] = field(default_factory=dict)


class Scorer:
    """Weighs rewards; a context manager, for functions of the user's run in processes of their own.

    Args:
        weights: By reward: one of `functions` by name, or the user's own as
            `path/to/file.py:function`, from the workspace. A reward of weight 0 is only watched.
        workspace: Where files of the user's are; needed for these alone.
        functions: The rewards that have names.
        timeout_s: Seconds that a call of a user's function may take.

    Raises:
        UserError: A name is not known, a weight is no number or all are 0, or a function of the
            user's cannot be used.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        workspace: Workspace | None = None,
        functions: Mapping[str, Reward] = REWARDS,
        timeout_s: float = 5.0,
    ) -> None:
        _check(weights, functions)
        self.weights = dict(weights)
        self._rewards: dict[str, Reward] = {}
        self._failures: dict[str, Failures] = {}
        self._own: list[UserReward] = []
        try:
            for name in weights:
                if name in functions:
                    self._rewards[name] = functions[name]
                    continue
                if workspace is None:
                    raise UserError(
                        "a reward of your own needs a workspace", where=f"rewards: {name}"
                    )
                own = UserReward(name, workspace, timeout_s=timeout_s)
                self._own.append(own)
                self._rewards[name] = own
                self._failures[name] = Failures(name)
        except BaseException:
            self.close()
            raise

    def score(self, completions: Sequence[Completion]) -> list[Scored]:
        """Score completions, one after the other.

        Raises:
            UserError: A function of the user's fails too often.
        """
        return [self._score(completion) for completion in completions]

    def take_problems(self) -> list[Problem]:
        """What is to be said of functions of the user's that failed, since this was last asked."""
        return [problem for failures in self._failures.values() for problem in failures.take()]

    def close(self) -> None:
        """End the processes of the user's functions."""
        for own in self._own:
            own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _score(self, completion: Completion) -> Scored:
        parts = {}
        for name, reward in self._rewards.items():
            failures = self._failures.get(name)
            try:
                value = reward(completion)
            except RewardFailure as error:
                assert failures is not None  # only the user's fail
                failures.note(completion.task.row, str(error))
                continue
            if failures is not None:
                failures.note_success()
            if value is not None:
                parts[name] = value
        return Scored(weighted_mean(parts, self.weights), parts)


def weighted_mean(parts: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The mean of the parts by the size of their weights; a negative weight turns its part round.

    Args:
        parts: Value by reward.
        weights: Weight by reward, of these and perhaps of more.

    Returns:
        It; 0 where no part has a weight.
    """
    size = sum(abs(weights[name]) for name in parts)
    return sum(weights[name] * value for name, value in parts.items()) / size if size else 0.0


def _check(weights: Mapping[str, float], functions: Mapping[str, Reward]) -> None:
    for name, weight in weights.items():
        if not math.isfinite(weight):
            raise UserError(f"its weight {weight} is not a number", where=f"rewards: {name}")
        if name in functions or ".py:" in name:
            continue
        near = difflib.get_close_matches(name, functions, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(
            f"there is no reward {name}{hint}",
            where="rewards",
            fix=f"one of {', '.join(functions)}, or your own as path/to/file.py:function",
        )
    if not any(weights.values()):
        raise UserError("no reward has a weight", where="rewards", fix="give one a weight, as 1.0")
