"""Rows as people write them, the records they stand for, and what cannot be used."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.formats.checks import Duplicates
from gptcore.formats.dialects import recognise
from gptcore.formats.problems import Problem, RowError
from gptcore.formats.reading import Read, RecordReader
from gptcore.formats.records import Conversation, Message, Preference, Prompt, ToolCall, to_row

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
USER, ANSWER = Message("user", "Q"), Message("assistant", "A")
CALL = ToolCall("weather", {"city": "Oslo"})
CALLS = Message("assistant", "", (CALL,))
RESULT = Message("tool", "3", (), "weather")


def user(text: str = "Q") -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str | None = "A", **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


def calling(arguments: Any = '{"city": "Oslo"}', name: str = "weather", **fields: Any) -> Any:
    call = {"function": {"name": name, "arguments": arguments}, **fields}
    return answer(None, tool_calls=[call])


def talk(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": list(messages), **fields}


def shared(*turns: tuple[str, str], **fields: Any) -> dict[str, Any]:
    return {"conversations": [{"from": who, "value": text} for who, text in turns], **fields}


SAME = {
    "messages": talk(user(), answer()),
    "fields that are null": talk(
        {**user(), "name": None, "tool_calls": None}, answer(), tools=None
    ),
    "parts": talk(user([{"type": "text", "text": "Q"}]), answer([{"type": "text", "text": "A"}])),  # type: ignore[arg-type]
    "ShareGPT": shared(("human", "Q"), ("gpt", "A")),
    "ShareGPT with roles": {"conversations": [user(), answer()]},
    "prompt and completion": {"prompt": "Q", "completion": "A"},
    "as messages": {"prompt": [user()], "completion": [answer()]},
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_conversation_in_every_dialect(name: str) -> None:
    assert recognise(SAME[name]).read(SAME[name]) == Conversation((USER, ANSWER))


INSTRUCTIONS = {
    "plain": {"instruction": "Q", "input": "", "output": "A"},
    "without input": {"instruction": "Q", "output": "A"},
    "Dolly": {"instruction": "Q", "context": "", "response": "A", "category": "x"},
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_instructions(name: str) -> None:
    row = INSTRUCTIONS[name]
    assert recognise(row).read(row) == Conversation((USER, ANSWER), form="instruction")


def test_an_instruction_with_all_there_can_be() -> None:
    row = {
        "instruction": "Do",
        "input": "it",
        "output": "A",
        "system": "S",
        "history": [["Q", "A"]],
    }
    found = recognise(row).read(row)
    assert isinstance(found, Conversation)
    assert [message.content for message in found.messages] == ["S", "Q", "A", "Do\n\nit", "A"]


TOOL_ROWS = {
    "OpenAI": talk(
        user(), calling(), {"role": "tool", "name": "weather", "content": "3"}, answer()
    ),
    "by id": talk(
        user(), calling(id="x1"), {"role": "tool", "tool_call_id": "x1", "content": "3"}, answer()
    ),
    "neither": talk(user(), calling(), {"role": "tool", "content": "3"}, answer()),
    "an object": talk(
        user(), calling({"city": "Oslo"}), {"role": "tool", "content": "3"}, answer()
    ),
    "the old way": talk(
        user(),
        answer(None, function_call={"name": "weather", "arguments": '{"city": "Oslo"}'}),
        {"role": "function", "name": "weather", "content": "3"},
        answer(),
    ),
    "ShareGPT": shared(
        ("human", "Q"),
        ("function_call", '{"name": "weather", "arguments": {"city": "Oslo"}}'),
        ("observation", "3"),
        ("gpt", "A"),
    ),
}


@pytest.mark.parametrize("name", TOOL_ROWS)
def test_calls_in_every_dialect(name: str) -> None:
    for tools in ([TOOL], json.dumps([TOOL]), [TOOL["function"]]):
        row = {**TOOL_ROWS[name], "tools": tools}
        found = recognise(row).read(row)
        assert isinstance(found, Conversation)
        assert found.form == "tools"
        assert found.messages == (USER, CALLS, RESULT, ANSWER)
        assert found.tools[0].parameters == SCHEMA


def test_arguments_that_parquet_filled_in_are_none() -> None:
    row = talk(user(), calling({"city": "Oslo", "value": None}), tools=[TOOL])
    found = recognise(row).read(row)
    assert isinstance(found, Conversation)
    assert found.messages[1].calls == (CALL,)


def test_two_calls_are_answered_each_by_its_own() -> None:
    calls = [
        {"id": key, "function": {"name": key, "arguments": "{}"}} for key in ("first", "second")
    ]
    results = [{"role": "tool", "tool_call_id": key, "content": key} for key in ("second", "first")]
    row = talk(user(), answer(None, tool_calls=calls), *results, answer())
    found = recognise(row).read(row)
    assert isinstance(found, Conversation)
    assert [message.name for message in found.messages[2:4]] == ["second", "first"]


PAIR = Preference((USER,), (ANSWER,), (Message("assistant", "B"),))
PREFERENCES = {
    "strings": {"prompt": "Q", "chosen": "A", "rejected": "B"},
    "messages": {"prompt": [user()], "chosen": [answer()], "rejected": [answer("B")]},
    "without a prompt of its own": {
        "chosen": [user(), answer()],
        "rejected": [user(), answer("B")],
    },
    "repeating the prompt": {
        "prompt": "Q",
        "chosen": [user(), answer()],
        "rejected": [user(), answer("B")],
    },
    "ShareGPT": shared(
        ("human", "Q"), chosen={"from": "gpt", "value": "A"}, rejected={"from": "gpt", "value": "B"}
    ),
    "Alpaca": {"instruction": "Q", "input": "", "chosen": "A", "rejected": "B"},
}


@pytest.mark.parametrize("name", PREFERENCES)
def test_preferences_in_every_dialect(name: str) -> None:
    assert recognise(PREFERENCES[name]).read(PREFERENCES[name]) == PAIR


def test_a_prompt_keeps_what_stands_beside_it() -> None:
    row = {"prompt": "Q", "answer": 42}
    assert recognise(row).read(row) == Prompt((USER,), (), {"answer": 42})


def test_turns_that_do_not_count() -> None:
    for weight, counts in ((0, False), (1, True), (None, True), (False, False)):
        row = talk(user(), answer(weight=weight), answer("C"))
        found = recognise(row).read(row)
        assert isinstance(found, Conversation)
        assert found.messages[1].is_learned is counts


BAD: list[tuple[Any, str, str]] = [
    ([1], "", "not an object"),
    ({"a": 1}, "", "no form that is known; it holds a"),
    ({"text": "x"}, "text", "plain text"),
    (talk(), "messages", "holds no message"),
    ({"messages": "x"}, "messages", "not a list"),
    (talk("x"), "messages[0]", "not an object"),
    (talk({"content": "x"}), "messages[0].role", "no role"),
    (talk({"role": "wizard", "content": "x"}), "messages[0].role", "unknown role 'wizard'"),
    (talk({"role": ["user"], "content": "x"}), "messages[0].role", "unknown role"),
    (talk(user(), user()), "messages", "nothing to learn"),
    (talk(user(), answer(weight=0)), "messages", "nothing to learn"),
    (talk(user(), answer(weight=0.5)), "messages[1].weight", "0 or 1"),
    (talk(user(), answer(" ")), "messages[1].content", "empty answer"),
    (talk(user(), answer(None)), "messages[1].content", "empty answer"),
    (talk(user(), {"role": "system", "content": "x"}, answer()), "messages[1]", "system message"),
    (talk(user(3), answer()), "messages[0].content", "neither text"),  # type: ignore[arg-type]
    (
        talk(user([{"type": "image_url", "image_url": {}}]), answer()),  # type: ignore[arg-type]
        "messages[0].content[0]",
        "only text",
    ),
    (talk(user(), {"role": "tool", "content": "x"}), "messages[1]", "without a call"),
    (
        talk(user(), calling(), {"role": "tool", "name": "clock", "content": "x"}),
        "messages[2].name",
        "'clock', which was not called",
    ),
    (
        talk(user(), calling("{city}")),
        "messages[1].tool_calls[0].function.arguments",
        "not JSON",
    ),
    (
        talk(user(), calling("[1]")),
        "messages[1].tool_calls[0].function.arguments",
        "not a JSON object",
    ),
    (talk(user(), calling(name="a(b")), "messages[1].tool_calls[0].function.name", "no name"),
    (talk(user(), answer(tool_calls={})), "messages[1].tool_calls", "not a list"),
    (shared(("human", "Q"), ("function_call", "f()")), "conversations[1].value", "not JSON"),
    (talk(user(), answer(), tools=[{}]), "tools[0].name", "no name"),
    (talk(user(), answer(), tools=[TOOL, TOOL]), "tools", "stands twice"),
    (talk(user(), answer(), tools="{"), "tools", "not JSON"),
    ({"instruction": "Q", "output": " "}, "output", "empty answer"),
    ({"instruction": " ", "output": "A"}, "instruction", "asks nothing"),
    ({"instruction": 3, "output": "A"}, "instruction", "not text"),
    ({"instruction": "Q", "output": "A", "history": [1]}, "history[0]", "question and an answer"),
    ({"prompt": "Q", "completion": "A", "label": True}, "label", "pairs"),
    ({"prompt": "Q", "chosen": "A", "rejected": "A"}, "rejected", "same as chosen"),
    ({"chosen": "A", "rejected": "B"}, "prompt", "no prompt"),
    ({"prompt": "Q", "chosen": [], "rejected": "B"}, "chosen", "holds no message"),
    ({"prompt": [user(), answer()]}, "prompt", "nothing to go on from"),
]


@pytest.mark.parametrize(("row", "field", "reason"), BAD)
def test_what_cannot_be_used_says_where_and_why(row: Any, field: str, reason: str) -> None:
    with pytest.raises(RowError) as raised:
        recognise(row).read(row)
    assert raised.value.field == field
    assert reason in raised.value.reason


# --- whole files ---------------------------------------------------------------------------------


def read(tmp_path: Path, *rows: Any) -> list[Read | Problem]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(RecordReader(path))


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        (calling(name="clock"), "messages[1].tool_calls[0]", "clock, which is not in tools"),
        (calling("{}"), "messages[1].tool_calls[0].arguments", '"city" is a required'),
        (calling('{"city": 3}'), "messages[1].tool_calls[0].arguments", "weather at city"),
        (calling('{"city": "x", "days": "3"}'), "messages[1].tool_calls[0].arguments", "at days"),
        (calling('{"city": "x", "no": 3}'), "messages[1].tool_calls[0].arguments", "'no'"),
    ],
)
def test_calls_are_held_against_the_tools(
    tmp_path: Path, row: Any, field: str, reason: str
) -> None:
    (problem,) = read(tmp_path, talk(user(), row, tools=[TOOL]))
    assert isinstance(problem, Problem)
    assert (problem.row, problem.line, problem.field) == (1, 1, field)
    assert reason in problem.reason
    (found,) = read(tmp_path, talk(user(), row))  # without tools nothing is known of calls
    assert isinstance(found, Read)


@pytest.mark.parametrize(
    "schema", [{"type": "wrong"}, {"$ref": "http://127.0.0.1:9/x"}, {"pattern": "("}, {"not": 3}]
)
def test_a_schema_that_is_none_is_a_problem(tmp_path: Path, schema: Any) -> None:
    tool = {"name": "weather", "parameters": schema}
    (problem,) = read(tmp_path, talk(user(), calling(), tools=[tool]))
    assert isinstance(problem, Problem)
    assert "no JSON schema" in problem.reason


def test_a_schema_that_refers_to_itself_ends(tmp_path: Path) -> None:
    tool = {"name": "weather", "parameters": {"$ref": "#"}}
    assert isinstance(read(tmp_path, talk(user(), calling(), tools=[tool]))[0], Read)


def test_rows_that_stand_twice_are_found_whatever_their_dialect(tmp_path: Path) -> None:
    found = read(tmp_path, *SAME.values())
    assert isinstance(found[0], Read)
    for problem in found[1:]:
        assert isinstance(problem, Problem)
        assert problem.reason == "duplicate of row 1"


def test_rows_that_stand_in_two_files(tmp_path: Path) -> None:
    seen = Duplicates()
    for name in ("a", "b"):
        (tmp_path / name).write_text(json.dumps(SAME["messages"]))
    (first,) = RecordReader(tmp_path / "a", "a.jsonl", seen)
    (second,) = RecordReader(tmp_path / "b", "b.jsonl", seen)
    assert isinstance(first, Read)
    assert isinstance(second, Problem)
    assert second.reason == "duplicate of row 1 of a.jsonl"


@pytest.mark.parametrize("row", [*SAME.values(), *TOOL_ROWS.values(), *PREFERENCES.values()])
def test_the_normal_form_says_the_same(row: Any) -> None:
    record = recognise(row).read(row)
    normal = json.loads(json.dumps(to_row(record)))
    again = recognise(normal).read(normal)
    assert again == record


NAMES = [
    "messages", "conversations", "role", "from", "content", "value", "tools", "tool_calls",
    "function", "name", "arguments", "parameters", "prompt", "chosen", "rejected", "instruction",
    "output", "history", "weight", "user", "assistant", "tool", "gpt", "function_call", "[]", "{}",
]  # fmt: skip
PIECES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=30,
)


@settings(max_examples=400, deadline=None)
@given(PIECES)
def test_no_row_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, row: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "row.jsonl"
    path.write_text(json.dumps(row))
    for each in RecordReader(path):
        assert isinstance(each, Read | Problem)
