"""What is counted of the calls and answers that a model is judged by."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gptcore.answers import Answer, parse_answer
from gptcore.evaluation import TOOL_SCORES, Share
from gptcore.formats.records import Conversation, Message, Tool, ToolCall
from gptengine.chat_tokenizer import control_ids
from gptengine.evaluate.tools import ToolScores, answers_rightly, prompts_of, score_tools
from gptengine.tokenizer import BPETokenizer
from tests.engine.tiny_models import (
    SENTENCES,
    TALKS,
    TOOL,
    tool_talk,
)

NOW = Tool("now", "Tell the time.", {"type": "object", "properties": {}})
WHALE = {"topic": "whale"}


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    made = BPETokenizer()
    made.train(SENTENCES, vocab_size=340)
    return made


def called(name: str, arguments: dict[str, Any]) -> str:
    return f"<|function_call|>\n{name}({json.dumps(arguments)})\n<|/function_call|>"


def asked(*turns: Message) -> Conversation:
    return Conversation((Message("user", "Tell me."), *turns), (TOOL, NOW), "tools")


#: A call with its answer, another, one where nothing is to be called, and two calls at once.
JUDGED = [
    asked(
        Message("assistant", calls=(ToolCall("look_up", WHALE),)),
        Message("tool", "a mammal, 30 m long", name="look_up"),
        Message("assistant", "A whale is a mammal of 30 m."),
    ),
    asked(Message("assistant", "Let me see.", (ToolCall("look_up", {"topic": "a", "depth": 1}),))),
    asked(Message("assistant", "Hello!")),
    asked(
        Message("assistant", calls=tuple(ToolCall("look_up", {"topic": t}) for t in ("a", "b"))),
        Message("tool", "first", name="look_up"),
        Message("tool", "second", name="look_up"),
        Message("assistant", "It is first, then second."),
    ),
]
RIGHT = [
    called("look_up", WHALE),
    "Let me see." + called("look_up", {"depth": 1, "topic": "a"}),
    "Hi, how can I help?",
    called("look_up", {"topic": "a"}) + called("look_up", {"topic": "b"}),
]
RIGHT_ANSWERS = ["It is a mammal, and 30 m long.", "It is second and first."]


class StandIn:
    """Gives the answers it was told to give, as ids that are taken apart like a model's."""

    def __init__(self, tokenizer: BPETokenizer, *rounds: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._rounds = iter(rounds)
        self.prompts: list[list[str]] = []

    def answer(
        self, prompts: Sequence[Sequence[int]], on_done: Callable[[int], None]
    ) -> list[Answer]:
        self.prompts.append([self._tokenizer.decode(prompt) for prompt in prompts])
        written = next(self._rounds)
        assert len(written) == len(prompts)
        on_done(len(prompts))
        control = control_ids(self._tokenizer)
        return [
            parse_answer(
                self._tokenizer.encode(f"{text}<|end|>", allow_special=True),
                control,
                self._tokenizer.decode,
            )
            for text in written
        ]


def scored(
    tokenizer: BPETokenizer,
    first: Sequence[str] = RIGHT,
    second: Sequence[str] = RIGHT_ANSWERS,
) -> ToolScores:
    prompts = prompts_of([(f"f:{at + 1}", each) for at, each in enumerate(JUDGED)], 100)
    return score_tools(prompts, StandIn(tokenizer, first, second), tokenizer)  # type: ignore[arg-type]


def test_who_answers_rightly_gets_everything(tokenizer: BPETokenizer) -> None:
    scores = scored(tokenizer)
    assert scores.tools() == {
        "exact": Share(3, 3),
        "function": Share(3, 3),
        "json": Share(3, 3),
        "schema": Share(3, 3),
        "arguments": Share(3, 3),
        "no_call": Share(1, 1),
        "answer": Share(2, 2),
    }
    assert scores.tools().keys() == TOOL_SCORES.keys()
    assert scores.functions() == {
        "(none)": Share(1, 1),
        "look_up": Share(2, 2),
        "look_up, look_up": Share(1, 1),
    }
    assert all(not transcript.problems for transcript in scores.transcripts)
    first = scores.transcripts[0].text
    assert first.endswith("<|assistant|>It is a mammal, and 30 m long.<|end|>")
    assert "look_up: a mammal, 30 m long" in first


def test_the_true_results_are_fed_back(tokenizer: BPETokenizer) -> None:
    stand_in = StandIn(tokenizer, ["nonsense"] * 4, RIGHT_ANSWERS)
    told: list[tuple[int, int]] = []
    prompts = prompts_of([("f:1", each) for each in JUDGED], 100)
    score_tools(prompts, stand_in, tokenizer, lambda *done: told.append(done))  # type: ignore[arg-type]
    first, second = stand_in.prompts
    assert all(text.endswith("<|user|>Tell me.<|end|><|assistant|>") for text in first)
    assert all("Functions:\nlook_up(topic: string" in text for text in first)
    assert second[0].endswith(
        f"{called('look_up', WHALE)}<|end|><|function_result|>\n"
        "look_up: a mammal, 30 m long\n<|/function_result|><|assistant|>"
    )
    assert second[1].endswith("look_up: second\n<|/function_result|><|assistant|>")
    assert told[-1] == (6, 6)


#: Which prompt is answered otherwise, how, and which shares that must cost.
MISTAKES: dict[str, tuple[int, str, set[str]]] = {
    "other arguments": (0, called("look_up", {"topic": "cat"}), {"exact", "arguments"}),
    "more arguments": (
        0,
        called("look_up", {"topic": "whale", "depth": 2}),
        {"exact", "arguments"},
    ),
    "arguments of a wrong type": (
        0,
        called("look_up", {"topic": 3}),
        {"exact", "arguments", "schema"},
    ),
    "an argument that is not known": (
        0,
        called("look_up", {"topic": "whale", "a": 1}),
        {"exact", "arguments", "schema"},
    ),
    "another function": (0, called("now", {}), {"exact", "function"}),
    "an unknown function": (0, called("look", WHALE), {"exact", "function", "schema"}),
    "broken JSON": (
        0,
        '<|function_call|>\nlook_up({"topic": )\n<|/function_call|>',
        {"exact", "function", "json", "schema"},
    ),
    "a call without end": (
        0,
        '<|function_call|>\nlook_up({"topic": "whale"})',
        {"exact", "function", "json", "schema"},
    ),
    "a call beside a broken one": (
        0,
        called("look_up", WHALE) + "<|function_call|>now(<|/function_call|>",
        {"exact", "arguments", "json", "schema"},
    ),
    "a call spelled in words": (0, 'look_up({"topic": "whale"})', {"exact", "function"}),
    "no call": (0, "I do not know.", {"exact", "function"}),
    "nothing": (0, "", {"exact", "function"}),
    "a needless call": (2, called("now", {}), {"no_call"}),
    "a needless wrong call": (2, called("look_up", {}), {"no_call", "schema"}),
    "one of two calls": (3, called("look_up", {"topic": "a"}), {"exact", "function"}),
    "two calls the other way round": (
        3,
        called("look_up", {"topic": "b"}) + called("look_up", {"topic": "a"}),
        {"exact", "arguments"},
    ),
    "one call too many": (
        1,
        called("look_up", {"topic": "a", "depth": 1}) * 2,
        {"exact", "function"},
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_what_it_is_about_and_nothing_else(
    tokenizer: BPETokenizer, mistake: str
) -> None:
    at, text, costs = MISTAKES[mistake]
    scores = scored(tokenizer, [*RIGHT[:at], text, *RIGHT[at + 1 :]])
    fallen = {name for name, share in scores.tools().items() if share.right < share.total}
    assert fallen == costs
    for name in fallen:
        assert scores.tools()[name].total - scores.tools()[name].right == 1
    [wrong] = [transcript for transcript in scores.transcripts if transcript.problems]
    assert wrong.row == f"f:{at + 1}"
    assert not scores.transcripts[0].problems


def test_true_is_not_one(tokenizer: BPETokenizer) -> None:
    text = called("look_up", {"topic": "a", "depth": True})
    tools = scored(tokenizer, [RIGHT[0], text, *RIGHT[2:]]).tools()
    assert (tools["exact"].right, tools["schema"].right) == (2, 2)


def test_a_whole_number_is_one_however_it_is_written(tokenizer: BPETokenizer) -> None:
    text = "Let me see." + called("look_up", {"topic": "a", "depth": 1.0})
    tools = scored(tokenizer, [RIGHT[0], text, *RIGHT[2:]]).tools()
    assert (tools["exact"].right, tools["schema"].right) == (3, 3)


def test_a_wrong_answer_costs_the_answer_alone(tokenizer: BPETokenizer) -> None:
    scores = scored(tokenizer, second=["It is a fish.", RIGHT_ANSWERS[1]])
    fallen = {name for name, share in scores.tools().items() if share.right < share.total}
    assert fallen == {"answer"}
    assert scores.tools()["answer"] == Share(1, 2)


RESULTS = [Message("tool", "12.5 km, Oslo", name="f")]
WANTED = Message("assistant", "From Oslo it is 12.5 km.")


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("From Oslo it is 12.5 km.", True),
        ("OSLO is 12.5 km away!", True),
        ("Oslo: 12.5 km", True),
        ("It is 12.5 km.", False),
        ("Oslo is 12.51 km away", False),
        ("Oslo is 12 km and 5 m away", False),
        ("Oslo is 112.5 km away", False),
        ("", False),
    ],
)
def test_an_answer_says_what_was_found_out(said: str, right: bool) -> None:
    assert answers_rightly(Answer(said, (), (), True), WANTED, RESULTS) is right


def test_an_answer_is_whole_and_calls_nothing() -> None:
    words = WANTED.content
    assert not answers_rightly(Answer(words, (), (), False), WANTED, RESULTS)
    assert not answers_rightly(Answer(words, (ToolCall("f", {}),), (), True), WANTED, RESULTS)
    assert not answers_rightly(Answer(words, (), ("a call does not end",), True), WANTED, RESULTS)
    free = Message("assistant", "Done, all is well.")  # nothing in it is from the results
    assert answers_rightly(Answer("Done,  all is\nwell.", (), (), True), free, RESULTS)
    assert not answers_rightly(Answer("Done.", (), (), True), free, RESULTS)


def test_prompts_are_where_a_user_has_spoken_evenly_chosen() -> None:
    rows = [(f"f:{at}", tool_talk(f"t{at}", "fact", "answer")) for at in range(40)]
    assert [prompt.row for prompt in prompts_of(rows, 100)] == [row for row, _ in rows]
    few = [int(prompt.row[2:]) for prompt in prompts_of(rows, 4)]
    assert few == [0, 10, 20, 30]
    assert prompts_of([("f:1", each) for each in TALKS if not each.tools], 100) == []
    [prompt] = prompts_of(rows[:1], 100)
    assert prompt.turn == 1
    assert [message.content for message in prompt.results] == ["fact"]
    assert prompt.final is not None
    assert prompt.final.content == "answer"
