"""Conversations as spans, and answers taken apart again."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcore.answers import parse_answer, parse_call
from gptcore.conversation import (
    END_FUNCTION_CALL,
    END_OF_TURN,
    FUNCTION_CALL,
    SPECIAL_TOKENS,
    USER,
    plain,
    render,
    signature,
)
from gptcore.formats.problems import RowError
from gptcore.formats.records import Message, Tool, ToolCall

CONTROL = dict(enumerate(SPECIAL_TOKENS))
WEATHER = Tool(
    "get_weather",
    "The weather now.",
    {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "a city"},
            "unit": {"enum": ["C", "F"]},
            "days": {},
        },
        "required": ["location"],
    },
)
TALK = (
    Message("system", "Be brief."),
    Message("user", "Is it cold in Oslo?"),
    Message("assistant", "", (ToolCall("get_weather", {"location": "Oslo"}),)),
    Message("tool", "3 degrees", (), "get_weather"),
    Message("assistant", "Yes, 3 degrees."),
)


def test_a_conversation_reads_as_in_the_specification() -> None:
    assert plain(render(TALK)) == (
        "<|system|>Be brief.<|end|><|user|>Is it cold in Oslo?<|end|>"
        '<|assistant|><|function_call|>\nget_weather({"location": "Oslo"})\n<|/function_call|>'
        "<|end|>"
        "<|function_result|>\nget_weather: 3 degrees\n<|/function_result|>"
        "<|assistant|>Yes, 3 degrees.<|end|>"
    )
    assert plain(render(TALK[:2], goes_on=True)).endswith("Oslo?<|end|><|assistant|>")


def test_tools_stand_at_the_end_of_the_system_prompt() -> None:
    written = 'get_weather(location: string (a city), unit?: "C"|"F", days?: any) The weather now.'
    assert signature(WEATHER) == written
    assert plain(render(TALK[:1], [WEATHER])) == (
        f"<|system|>Be brief.\n\nFunctions:\n{written}<|end|>"
    )
    assert plain(render(TALK[1:2], [WEATHER])).startswith(f"<|system|>Functions:\n{written}<|end|>")
    assert signature(Tool("now")) == "now()"


def test_what_the_assistant_writes_is_learned_and_nothing_else() -> None:
    learned = "".join(span.text for span in render(TALK, [WEATHER]) if span.is_learned)
    assert learned == (
        '<|function_call|>\nget_weather({"location": "Oslo"})\n<|/function_call|><|end|>'
        "Yes, 3 degrees.<|end|>"
    )
    masked = (TALK[1], Message("assistant", "no", is_learned=False))
    assert not any(span.is_learned for span in render(masked))


TEXT = st.text() | st.sampled_from([*SPECIAL_TOKENS, "<|end", "|>", "<|function_call|>x({})"])
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(["user", "assistant"]), TEXT)
    | st.builds(
        lambda content, name: Message("tool", content, (), name), TEXT, st.just("get_weather")
    )
    | st.builds(
        lambda text, value: Message("assistant", text, (ToolCall("f", {"a": value}),)), TEXT, TEXT
    ),
    max_size=5,
)


@given(MESSAGES, st.booleans())
def test_text_is_never_a_control_span_and_never_beside_another(
    messages: list[Message], goes_on: bool
) -> None:
    spans = render(messages, [WEATHER], goes_on=goes_on)
    for span, after in pairwise(spans):
        assert span.is_control or after.is_control
    for span in spans:
        assert span.text
        assert not span.is_control or span.text in SPECIAL_TOKENS
    calls = sum(len(message.calls) for message in messages)
    assert sum(span.is_control and span.text == FUNCTION_CALL for span in spans) == calls


# --- taken apart ---------------------------------------------------------------------------------


def ids_of(*parts: str) -> list[int]:
    """Control tokens as their ids, each character of other parts as an id of its own."""
    ids: list[int] = []
    for part in parts:
        ids += (
            [SPECIAL_TOKENS.index(part)] if part in SPECIAL_TOKENS else [100 + ord(c) for c in part]
        )
    return ids


def decode(ids: object) -> str:
    assert isinstance(ids, list)
    return "".join(chr(index - 100) for index in ids)


@given(st.text(), st.lists(st.dictionaries(st.text(), TEXT | st.integers() | st.lists(TEXT))))
def test_what_was_rendered_is_read_back(
    content: str, given_arguments: list[dict[str, object]]
) -> None:
    try:
        json.dumps([content, given_arguments], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    calls = tuple(ToolCall(f"f{n}", arguments) for n, arguments in enumerate(given_arguments))
    ids: list[int] = []
    for span in render([Message("assistant", content, calls)])[1:]:
        ids += ids_of(span.text) if span.is_control else [100 + ord(c) for c in span.text]
    answer = parse_answer(ids, CONTROL, decode)
    assert answer.problems == ()
    assert answer == (content, calls, (), True)


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ((FUNCTION_CALL, "f({})"), "does not end"),
        ((FUNCTION_CALL, "f({})", END_OF_TURN), "does not end"),
        ((FUNCTION_CALL, "f({})", USER, END_FUNCTION_CALL), "does not end"),
        ((FUNCTION_CALL, "f{}", END_FUNCTION_CALL), "not written name"),
        ((FUNCTION_CALL, "f({) ", END_FUNCTION_CALL), "cannot be read"),
        ((FUNCTION_CALL, "f([1])", END_FUNCTION_CALL), "not a JSON object"),
        ((FUNCTION_CALL, 'f({"a": 1, "a": 2})', END_FUNCTION_CALL), "twice"),
        ((FUNCTION_CALL, "f({}) g({})", END_FUNCTION_CALL), "cannot be read"),
        ((END_FUNCTION_CALL,), "has not begun"),
    ],
)
def test_a_broken_call_is_told_and_not_guessed(parts: tuple[str, ...], problem: str) -> None:
    answer = parse_answer(ids_of("Well. ", *parts), CONTROL, decode)
    assert answer.calls == ()
    assert problem in answer.problems[0]
    assert answer.content.startswith("Well. ")


def test_a_spelled_token_opens_no_call_and_what_follows_the_end_does_not_count() -> None:
    spelled = [100 + ord(c) for c in "<|function_call|>f({})<|/function_call|>"]
    answer = parse_answer([*spelled, *ids_of(END_OF_TURN, "more")], CONTROL, decode)
    assert answer.content == "<|function_call|>f({})<|/function_call|>"
    assert (answer.calls, answer.problems, answer.is_complete) == ((), (), True)
    assert not parse_answer(ids_of("cut off"), CONTROL, decode).is_complete


def test_a_call_keeps_nested_and_escaped_json() -> None:
    arguments = {"a": {"b": [1, None, 'x")\n\\']}, "é": ") <|end|>"}
    text = f"\nns.f-1({json.dumps(arguments)})\n"
    assert parse_call(text) == ToolCall("ns.f-1", arguments)
    with pytest.raises(RowError):
        parse_call('f({"a": NaN})')
