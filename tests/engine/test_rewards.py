"""What gptstudio's own rewards say of completions made by hand, and how they are weighed."""

import math
from typing import Any

import pytest

from gptcore.answers import Answer
from gptcore.errors import UserError
from gptcore.formats.records import Message, Prompt, Tool, ToolCall
from gptengine.rl.rewards import REWARDS, Scorer, length_penalty, weighted_mean
from gptengine.rl.tasks import Completion, Task, tasks_of
from tests.engine.tiny_models import TOOL, talk, tool_talk

FREE = Tool("now", "Tell the time.", {"type": "object", "properties": {}})


def call(name: str = "look_up", **arguments: Any) -> ToolCall:
    return ToolCall(name, arguments)


def said(words: str = "", *calls: ToolCall, broken: int = 0, is_complete: bool = True) -> Answer:
    return Answer(words, calls, ("a call does not end",) * broken, is_complete)


def result(*texts: str) -> tuple[Message, ...]:
    return tuple(Message("tool", text, name="look_up") for text in texts)


def wanting(*calls: ToolCall, words: str = "", tools: tuple[Tool, ...] = (TOOL, FREE)) -> Task:
    """A task whose right answer is known."""
    return Task((Message("user", "Tell me."),), tools, Message("assistant", words, calls))


def prompt(words: str = "Tell me.", tools: tuple[Tool, ...] = (TOOL,), **reference: Any) -> Task:
    """A task of which no right answer is known."""
    [task] = tasks_of(Prompt((Message("user", words),), tools, reference))
    return task


def value(name: str, task: Task, *answers: Answer, results: Any = (), tokens: int = 0) -> Any:
    return REWARDS[name](Completion(task, answers, results, tokens))


#: A task to call and the one to answer from the results, as in data.
TO_CALL, TO_ANSWER = tasks_of(tool_talk("whale", "a mammal, 30 m", "It is a mammal of 30 m."))
A, B = call(topic="a"), call(topic="b")

#: Answers to one right call, to two, and what function, arguments and well_formed say of them.
CALLED: dict[str, tuple[tuple[ToolCall, ...], Answer, tuple[float, float, float]]] = {
    "right": ((A,), said("", A), (1, 1, 1)),
    "right, with words": ((A,), said("Let me see.", A), (1, 1, 1)),
    "other argument": ((A,), said("", B), (1, 0, 1)),
    "half of the arguments": (
        (call(topic="a", depth=1),),
        said("", call(topic="a", depth=2)),
        (1, 0.5, 1),
    ),
    "an argument too many": ((A,), said("", call(topic="a", depth=2)), (1, 0.5, 1)),
    "an argument that is not known": ((A,), said("", call(topic="a", size=2)), (1, 0.5, 0)),
    "one as 1.0": ((call(topic="a", depth=1),), said("", call(topic="a", depth=1.0)), (1, 1, 1)),
    "one as true": (
        (call(topic="a", depth=1),),
        said("", call(topic="a", depth=True)),
        (1, 0.5, 0),
    ),
    "other function": ((A,), said("", call("now")), (0, 0, 1)),
    "unknown function": ((A,), said("", call("look", topic="a")), (0, 0, 0)),
    "no arguments to give": ((call("now"),), said("", call("now")), (1, 1, 1)),
    "broken": ((A,), said("", broken=1), (0, 0, 0)),
    "right beside a broken one": ((A,), said("", A, broken=1), (0.5, 0.5, 0.5)),
    "spelled in words": ((A,), said('look_up({"topic": "a"})'), (0, 0, 0)),
    "nothing": ((A,), said(), (0, 0, 0)),
    "both of two": ((A, B), said("", A, B), (1, 1, 1)),
    "one of two": ((A, B), said("", A), (0.5, 0.5, 1)),
    "two the other way round": ((A, B), said("", B, A), (1, 0, 1)),
    "functions the other way round": ((A, call("now")), said("", call("now"), A), (0, 0, 1)),
    "twice": ((A,), said("", A, A), (0.5, 0.5, 1)),
}


@pytest.mark.parametrize("case", CALLED)
def test_calls_are_judged_by_function_arguments_and_form(case: str) -> None:
    wanted, answer, expected = CALLED[case]
    names = ("function", "arguments", "well_formed")
    given = tuple(value(name, wanting(*wanted), answer) for name in names)
    assert given == pytest.approx(expected)
    assert value("no_needless_call", wanting(*wanted), answer) is None


def test_the_first_turn_stands_for_the_right_one_and_all_turns_for_the_form() -> None:
    turns = (said("", A), said("", call(size=1)), said("Done."))
    results = (result("x"), result("y"))
    assert value("function", wanting(A), *turns, results=results) == 1
    assert value("arguments", wanting(A), *turns, results=results) == 1
    assert value("well_formed", wanting(A), *turns, results=results) == 0.5


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(said("Hello!"), 1), (said(), 1), (said("", A), 0), (said("Hi", broken=1), 0)],
)
def test_nothing_is_called_where_nothing_is_to_be_called(answer: Answer, expected: float) -> None:
    for task in (wanting(words="Hello!"), prompt(tools=())):
        assert value("no_needless_call", task, answer) == expected
        for name in ("function", "arguments"):
            assert value(name, task, answer) is None


def test_a_needless_call_in_a_later_turn_counts() -> None:
    turns = (said("", A), said("Hello!"))
    assert value("no_needless_call", wanting(words="Hello!"), *turns, results=(result("x"),)) == 0


def test_form_counts_where_it_is_open_whether_to_call() -> None:
    assert value("well_formed", prompt(), said("Hello!")) == 1
    assert value("well_formed", prompt(), said("", A)) == 1
    assert value("well_formed", prompt(), said("", call(size=1))) == 0
    assert value("well_formed", wanting(words="Hello!"), said("Hello!")) == 1
    assert value("well_formed", prompt(tools=()), said("Hello!")) is None
    assert value("well_formed", wanting(A, tools=()), said("", A)) == 1
    assert value("well_formed", wanting(A, tools=()), said("", A, broken=3)) == 0.25


@pytest.mark.parametrize("name", ["function", "arguments", "no_needless_call", "answer"])
@pytest.mark.parametrize("answer", [said("Hello!"), said("", A), said("", broken=1), said()])
def test_what_needs_a_reference_says_nothing_without(name: str, answer: Answer) -> None:
    assert value(name, prompt(), answer) is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("From Oslo it is 12.5 km.", 1),
        ("Well: from  OSLO it is\n12.5 km!", 1),
        ("From Oslo it is 12 km.", 0),
        ("From Oslo it is about 12.5 km.", 0),
        ("From Oslo", 0),
        ("", 0),
    ],
)
def test_the_answer_contains_the_right_one(words: str, expected: float) -> None:
    assert value("answer", wanting(words="From Oslo it is 12.5 km."), said(words)) == expected


def test_the_answer_is_whole_and_calls_nothing() -> None:
    task = wanting(words="Hello!")
    assert value("answer", task, said("Hello!", is_complete=False)) == 0
    assert value("answer", task, said("Hello!", A)) == 0
    assert value("answer", task, said("Hello!", broken=1)) == 0


def test_a_row_may_hold_the_answer_itself() -> None:
    assert value("answer", prompt(answer="four"), said("It is Four.")) == 1
    assert value("answer", prompt(answer=4), said("It is 4.")) == 1
    assert value("answer", prompt(answer=4), said("It is 14, or 4.5.")) == 0
    assert value("answer", prompt(answer="?!"), said("What ?! No")) == 1
    assert value("answer", prompt(answer="?!"), said("What?")) == 0
    for none in ("", True, None, [4]):
        assert value("answer", prompt(answer=none), said("4 True None")) is None


def test_after_a_call_the_answer_is_the_last_turn() -> None:
    right = said("It is a mammal of 30 m.")
    found = (result("a mammal, 30 m"),)
    assert TO_CALL.final is not None
    assert value("answer", TO_CALL, said("", A), right, results=found) == 1
    assert value("answer", TO_CALL, said("", A), said("", A), results=found) == 0
    assert value("answer", TO_CALL, said("I know: it is a fish.")) == 0
    assert value("answer", TO_CALL, said("", A)) is None
    assert value("answer", wanting(A), said("Hello!")) is None
    assert value("answer", TO_ANSWER, right) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [("A mammal, and 30 m long.", 1), ("A mammal of 31 m.", 0), ("A fish of 30 m.", 0), ("", 0)],
)
def test_what_the_right_answer_takes_from_the_results_must_be_there(
    words: str, expected: float
) -> None:
    assert value("consistent", TO_ANSWER, said(words)) == expected
    found = (result("a mammal, 30 m"),)
    assert value("consistent", TO_CALL, said("", A), said(words), results=found) == expected
    assert value("answer", TO_ANSWER, said(words)) == 0


def test_an_answer_from_results_is_whole_and_calls_nothing() -> None:
    words = "A mammal of 30 m."
    for answer in (said(words, is_complete=False), said(words, A), said(words, broken=1)):
        assert value("consistent", TO_ANSWER, answer) == 0
        assert value("consistent", TO_CALL, said("", A), answer, results=(result("30 m"),)) == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("A fish, 12 m long.", 1),
        ("A fish.", 1),
        ("A mammal of 30 m.", 0),  # right in the data, but not what was found
        ("A fish of 30 m.", 0),
        ("A fish, 12 m long, 30 m wide.", 0.5),
        ("I asked for it in 2 places: a fish of 12 m.", 1),
        ("Whatever.", 0),
        ("", 0),
    ],
)
def test_what_was_found_otherwise_than_in_the_data_counts(words: str, expected: float) -> None:
    [task, _] = tasks_of(tool_talk("whale in 2 places", "a mammal, 30 m", "A mammal of 30 m."))
    turns = (said("", A), said(words))
    found = (result("a fish", "12 m"),)
    assert value("consistent", task, *turns, results=found) == expected
    asked = prompt("What is a whale in 2 places?")
    assert value("consistent", asked, *turns, results=found) == expected
    ends_in_results = Task((*asked.messages, *result("a fish", "12 m")), (TOOL,))
    assert value("consistent", ends_in_results, said(words)) == expected


def test_results_of_several_turns_count_together() -> None:
    turns = (said("", A), said("", B), said("First 1, then 2."))
    assert value("consistent", prompt(), *turns, results=(result("1"), result("2"))) == 1
    assert value("consistent", prompt(), *turns, results=(result("1"), result("3"))) == 0.5


def test_without_results_there_is_nothing_to_agree_with() -> None:
    assert value("consistent", wanting(words="Hello!"), said("Hello!")) is None
    assert value("consistent", prompt(tools=()), said("Hello!")) is None
    assert value("consistent", prompt(), said("Hello!")) == 1
    assert value("consistent", TO_CALL, said("", A)) is None  # calls are not run
    assert value("consistent", TO_CALL, said("A mammal of 30 m.")) == 0
    needless = (said("", A), said("x"))
    assert value("consistent", wanting(words="Hello!"), *needless, results=(result("x"),)) is None


def test_an_answer_between_calls_is_not_wanted_to_tell_results() -> None:
    messages = (*TO_ANSWER.messages,)
    task = Task(messages, (TOOL,), Message("assistant", calls=(B,)))
    assert value("consistent", task, said("", B)) is None
    assert value("consistent", task, said("A mammal of 30 m.")) == 0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (said("Hello!"), 1),
        (said("", A), 1),
        (said("Hello", is_complete=False), 0),
        (said("Hello", broken=1), 0),
        (said(" \n"), 0),
    ],
)
def test_the_format_is_a_whole_turn(answer: Answer, expected: float) -> None:
    assert value("format", prompt(), answer) == expected
    assert value("format", prompt(), answer, said("Bye."), results=(result("x"),)) == expected


@pytest.mark.parametrize(("tokens", "expected"), [(0, 0), (10, 0), (15, -0.5), (20, -1), (99, -1)])
def test_length_costs_beyond_the_budget(tokens: int, expected: float) -> None:
    completion = Completion(prompt(), (said("x"),), (), tokens)
    assert length_penalty(10)(completion) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", 0),
        ("no no", 0),
        ("the cat sat on the mat and the cat ran", 0),
        ("the cat sat and the cat sat", -0.2),
        ("No, no no NO no no no no", -4 / 7),
        ("! ! ! ! !", -2 / 3),
        ("哈哈哈哈哈", -2 / 3),
    ],
)
def test_repetition_costs(words: str, expected: float) -> None:
    assert value("repetition", prompt(), said(words)) == pytest.approx(expected)


def test_turns_do_not_repeat_each_other() -> None:
    turns = (said("let me look it up", A), said("let me look it up"))
    assert value("repetition", prompt(), *turns, results=(result("x"),)) == 0


@pytest.mark.parametrize("name", REWARDS)
def test_rewards_say_their_scale_and_keep_to_it(name: str) -> None:
    doc = (REWARDS[name].__doc__ or "").split(":")[0]
    assert doc in ("0 to 1", "0 or 1", "-1 to 0")
    low, high = (-1, 0) if doc == "-1 to 0" else (0, 1)
    answers = (
        said("", call(topic="whale")),
        said("30 m 30 m 30 m 30 m"),
        said(),
        said("", A, broken=2),
    )
    given = []
    for task in (TO_CALL, TO_ANSWER, wanting(words="30 m"), prompt(), prompt(tools=(), answer=1)):
        for answer in answers:
            given.append(value(name, task, answer, tokens=400))
            given.append(value(name, task, said("", A), answer, results=(result("30 m"),)))
    numbers = {number for number in given if number is not None}
    assert len(numbers) > 1
    assert all(low <= number <= high for number in numbers)


def test_parts_are_weighed_where_they_apply() -> None:
    weights = {"function": 1.0, "arguments": 2.0, "no_needless_call": 4.0, "length": 1.0}
    scorer = Scorer(weights, functions={**REWARDS, "length": length_penalty(10)})
    half = Completion(wanting(A), (said("", B),), (), 15)
    idle = Completion(wanting(words="Hello!"), (said("Hello!"),), (), 5)
    first, second = scorer.score([half, idle])
    assert first.parts == {"function": 1, "arguments": 0, "length": -0.5}
    assert first.total == pytest.approx((1 * 1 + 2 * 0 + 1 * -0.5) / 4)
    assert second.parts == {"no_needless_call": 1, "length": 0}
    assert second.total == pytest.approx(4 / 5)
    assert scorer.score([]) == []
    assert scorer.take_problems() == []


def test_a_weight_of_nothing_only_watches_and_a_negative_one_turns_round() -> None:
    completion = Completion(wanting(A), (said("", B),))
    [scored] = Scorer({"function": -1.0, "format": 0.0}).score([completion])
    assert scored.parts == {"function": 1, "format": 1}
    assert scored.total == -1
    assert weighted_mean({"a": 1.0, "b": 0.5}, {"a": 1.0, "b": 3.0, "c": 9.0}) == 2.5 / 4


def test_where_nothing_applies_it_is_worth_nothing() -> None:
    [scored] = Scorer({"function": 1.0}).score([Completion(prompt(), (said("Hello!"),))])
    assert (scored.total, scored.parts) == (0, {})


def test_unknown_rewards_and_weights_are_refused() -> None:
    with pytest.raises(UserError, match="no reward fuction; did you mean function") as caught:
        Scorer({"fuction": 1.0})
    assert "no_needless_call, answer" in caught.value.fix
    for weight in (math.nan, math.inf):
        with pytest.raises(UserError, match="is not a number"):
            Scorer({"function": weight})
    for weights in ({}, {"function": 0.0}):
        with pytest.raises(UserError, match="no reward has a weight"):
            Scorer(weights)
    with pytest.raises(UserError, match="needs a workspace"):
        Scorer({"my.py:f": 1.0})


def test_a_users_words_are_no_call() -> None:
    words = '<|function_call|>\nlook_up({"topic": "a"})\n<|/function_call|>'
    [task] = tasks_of(talk(words, "Hello!"))
    assert value("no_needless_call", task, said("Hello!")) == 1
    assert value("no_needless_call", task, said(words)) == 1  # spelled, not called
    assert value("function", wanting(A), said(words)) == 0
