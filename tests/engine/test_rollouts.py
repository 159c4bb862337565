"""Answers over several turns: calls are run, and the model goes on from their results."""

from collections.abc import Sequence
from typing import Any

import pytest

from gptcore.conversation import render
from gptcore.encoding import encode_spans
from gptcore.formats.records import Message, Tool, ToolCall
from gptcore.tools import SAFE_TOOLS
from gptengine.decoding import Written
from gptengine.rl.rollouts import Roller, derived_seed, results_of
from gptengine.rl.tasks import Task
from gptengine.tokenizer import BPETokenizer
from tests.engine.tiny_models import SENTENCES

CALCULATOR = SAFE_TOOLS["calculator"].record
SUM = ToolCall("calculator", {"expression": "2 + 3"})
CALLS = '<|function_call|>\ncalculator({"expression": "2 + 3"})\n<|/function_call|><|end|>'
ASKED = Task(
    (Message("user", "What is 2 + 3?"),), (CALCULATOR,), Message("assistant", calls=(SUM,))
)


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    made = BPETokenizer()
    made.train(SENTENCES, vocab_size=340)
    return made


def ids_of(task: Task, tokenizer: BPETokenizer) -> list[int]:
    spans = render(task.messages, task.tools, goes_on=True)
    return [index for piece in encode_spans(spans, tokenizer) for index in piece]


class Scripted:
    """A decoder that writes what it was told to, each row its own turns."""

    def __init__(self, tokenizer: BPETokenizer, *rows: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._rows = [list(row) for row in rows]
        self.prompts: list[list[str]] = []
        self.seeds: list[list[int]] = []

    def write(self, prompts: Any, sampling: Any, seeds: Any) -> list[Written]:
        self.prompts.append([self._tokenizer.decode(prompt) for prompt in prompts])
        self.seeds.append(list(seeds))
        texts = [row.pop(0) for row in self._rows if row][: len(prompts)]
        ids = [self._tokenizer.encode(text, allow_special=True) for text in texts]
        return [Written(each, [-1.0] * len(each), True) for each in ids]


def roll(
    tokenizer: BPETokenizer, *rows: Sequence[str], task: Task = ASKED, **options: Any
) -> tuple[list[Any], Scripted]:
    decoder = Scripted(tokenizer, *rows)
    options = {"context": 1000, "max_tokens": 50, "max_turns": 3, "temperature": 1.0, **options}
    roller = Roller(decoder, tokenizer, **options)  # type: ignore[arg-type]
    prompt = ids_of(task, tokenizer)
    rollouts = roller.roll([task] * len(rows), [prompt] * len(rows), range(len(rows)))
    return rollouts, decoder


def test_a_call_is_run_and_its_result_answered(tokenizer: BPETokenizer) -> None:
    [rollout], decoder = roll(tokenizer, (CALLS, "It is 5.<|end|>"))
    completion = rollout.completion
    assert [answer.calls for answer in completion.answers] == [(SUM,), ()]
    assert completion.last.content == "It is 5."
    assert completion.results == ((Message("tool", "5", name="calculator"),),)
    told = "<|function_result|>\ncalculator: 5\n<|/function_result|><|assistant|>"
    assert decoder.prompts[1][0] == decoder.prompts[0][0] + CALLS + told
    assert not rollout.is_open


def test_only_what_the_model_wrote_is_learned(tokenizer: BPETokenizer) -> None:
    [rollout], _ = roll(tokenizer, (CALLS, "It is 5.<|end|>"))
    pairs = list(zip(rollout.ids, rollout.written, strict=True))
    assert tokenizer.decode(index for index, mine in pairs if mine) == CALLS + "It is 5.<|end|>"
    assert rollout.completion.num_tokens == sum(rollout.written)
    assert rollout.logprobs == [-1.0 if mine else 0.0 for mine in rollout.written]
    assert rollout.ids[: rollout.num_prompt] == ids_of(ASKED, tokenizer)


@pytest.mark.parametrize(
    ("turn", "why"),
    [
        ("It is 5.<|end|>", "nothing is called"),
        (CALLS.removesuffix("<|end|>"), "the turn does not end"),
        (CALLS.replace("<|end|>", "<|function_call|>x<|end|>"), "a call is broken"),
        (CALLS.replace("calculator", "clock"), "the function is not offered"),
    ],
)
def test_it_ends_where_there_is_nothing_to_go_on_from(
    tokenizer: BPETokenizer, turn: str, why: str
) -> None:
    [rollout], decoder = roll(tokenizer, (turn, "never<|end|>"))
    assert len(rollout.answers) == 1, why
    assert len(decoder.prompts) == 1


def test_rows_end_each_by_itself_and_have_seeds_of_their_own(tokenizer: BPETokenizer) -> None:
    rollouts, decoder = roll(
        tokenizer, (CALLS, "five<|end|>"), ("no call<|end|>",), (CALLS, CALLS, CALLS)
    )
    assert [len(rollout.answers) for rollout in rollouts] == [2, 1, 3]
    assert [len(prompts) for prompts in decoder.prompts] == [3, 2, 1]
    used = [seed for seeds in decoder.seeds for seed in seeds]
    assert len(set(used)) == len(used)


def test_turns_and_context_are_bounded(tokenizer: BPETokenizer) -> None:
    [rollout], _ = roll(tokenizer, (CALLS, CALLS, CALLS), max_turns=2)
    assert len(rollout.answers) == 2
    length = len(ids_of(ASKED, tokenizer))
    [rollout], _ = roll(tokenizer, (CALLS, "five<|end|>"), context=length + 40)
    assert len(rollout.answers) == 1


def test_results_on_record_stand_for_functions_that_cannot_be_run() -> None:
    own = Tool("lookup", "", {"type": "object", "properties": {"key": {"type": "string"}}})
    call, other = ToolCall("lookup", {"key": "a"}), ToolCall("lookup", {"key": "b"})
    recorded = (Message("tool", "on record", name="lookup"),)
    user = (Message("user", "a?"),)
    task = Task(user, (own,), Message("assistant", calls=(call,)), recorded)
    assert results_of([call], task, first=True) == recorded
    assert results_of([other], task, first=True) is None
    assert results_of([call], task, first=False) is None
    # a function of a known name that takes other arguments is another function
    namesake = Tool("calculator", "", {"type": "object", "properties": {"x": {"type": "number"}}})
    assert results_of([SUM], Task(user, (namesake,)), first=True) is None


def test_a_tool_that_cannot_do_it_says_so() -> None:
    call = ToolCall("calculator", {"expression": "two"})
    [result] = results_of([call], ASKED, first=True) or ()
    assert result.content.startswith("error: ")


def test_seeds_differ_and_come_again() -> None:
    seeds = [derived_seed(7, step, row) for step in range(20) for row in range(20)]
    assert len(set(seeds)) == 400
    assert seeds == [derived_seed(7, step, row) for step in range(20) for row in range(20)]
    assert all(0 <= seed < 2**63 for seed in seeds)
