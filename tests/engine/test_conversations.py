"""Conversations as ids: the same as `transformers` gives, loss on the assistant's words alone."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from gptcore.conversation import SPECIAL_TOKENS, render
from gptcore.encoding import encode_conversation
from gptcore.formats.dialects import recognise
from gptcore.formats.problems import RowError
from gptcore.formats.records import Conversation, Message, Tool, ToolCall, message_row, tool_row
from gptengine.tokenizer import BPETokenizer

TOOL = Tool(
    "look_up",
    "Find a fact.",
    {
        "type": "object",
        "properties": {
            "topic": {"type": "string", "description": "what about"},
            "language": {"enum": ["en", "de"]},
            "depth": {"type": ["integer", "null"]},
        },
        "required": ["topic"],
    },
)
TALK = (
    Message("system", "You help."),
    Message("user", "What is a whale?\n"),
    Message("assistant", "Let me see.", (ToolCall("look_up", {"topic": 'wh\u00e4le "x"'}),) * 2),
    Message("tool", "a mammal\nof the sea", (), "look_up"),
    Message("tool", "", (), "look_up"),
    Message("assistant", "A mammal.", is_learned=False),
    Message("user", "Sure?"),
    Message("assistant", "  Yes. "),
)


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    made = BPETokenizer()
    made.train(["What is a whale? A mammal of the sea, and it sings. " * 30], vocab_size=400)
    return made


@pytest.fixture(scope="module")
def theirs(tokenizer: BPETokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(folder)
    return AutoTokenizer.from_pretrained(folder)


def their_ids(theirs: Any, messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> Any:
    return theirs.apply_chat_template(
        [message_row(message) for message in messages],
        tools=[tool_row(tool) for tool in tools] or None,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )


@pytest.mark.parametrize("tools", [(), (TOOL, Tool("now"))], ids=["no tools", "tools"])
@pytest.mark.parametrize("first", [0, 1])
def test_the_template_gives_the_same_ids_and_the_same_mask(
    tokenizer: BPETokenizer, theirs: Any, tools: tuple[Tool, ...], first: int
) -> None:
    ours = encode_conversation(TALK[first:], tools, tokenizer)
    found = their_ids(theirs, TALK[first:], tools)
    assert found["input_ids"] == ours.ids
    assert found["assistant_masks"] == [int(each) for each in ours.learned]


def test_the_template_opens_a_turn_and_takes_arguments_as_objects(theirs: Any) -> None:
    rows = [message_row(message) for message in TALK[:3]]
    as_text = theirs.apply_chat_template(rows, tokenize=False)
    for call in rows[2]["tool_calls"]:
        call["function"]["arguments"] = {"topic": 'wh\u00e4le "x"'}
    assert theirs.apply_chat_template(rows, tokenize=False) == as_text
    opened = theirs.apply_chat_template(rows, tokenize=False, add_generation_prompt=True)
    assert opened == as_text + "<|assistant|>"


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: not any(token in text for token in SPECIAL_TOKENS)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3), st.dictionaries(WORDS, WORDS))
def test_the_ids_agree_whatever_the_text(
    tokenizer: BPETokenizer, theirs: Any, turns: list[tuple[str, str]], arguments: dict[str, str]
) -> None:
    messages: list[Message] = []
    for question, answer in turns:
        calls = (ToolCall("look_up", dict(arguments)),)
        messages += [Message("user", question), Message("assistant", answer, calls)]
    ours = encode_conversation(messages, (), tokenizer)
    found = their_ids(theirs, tuple(messages), ())
    assert found["input_ids"] == ours.ids
    assert found["assistant_masks"] == [int(each) for each in ours.learned]


NEAR = [*SPECIAL_TOKENS, *(token[:-1] for token in SPECIAL_TOKENS), "<|", "|>", "<|end|>" * 3]
FIELDS = st.sampled_from(NEAR) | st.lists(st.sampled_from(NEAR)).map("".join) | st.text()


@settings(max_examples=60, deadline=None)
@given(FIELDS, FIELDS, FIELDS, FIELDS, FIELDS)
def test_no_field_makes_a_control_id(
    tokenizer: BPETokenizer, system: str, user: str, value: str, result: str, described: str
) -> None:
    messages = (
        Message("system", system),
        Message("user", user),
        Message("assistant", user, (ToolCall("f", {value: value}),)),
        Message("tool", result, (), "f"),
        Message("assistant", result),
    )
    tools = (Tool("f", described, {"properties": {value: {"enum": [described]}}}),)
    encoded = encode_conversation(messages, tools, tokenizer)
    control = [index for index in encoded.ids if index < len(SPECIAL_TOKENS)]
    meant = [span.text for span in render(messages, tools) if span.is_control]
    assert [SPECIAL_TOKENS[index] for index in control] == meant


ROWS: list[tuple[dict[str, Any], str]] = [
    ({"instruction": "Say yes.", "input": "now", "output": "Yes!"}, "Yes!<|end|>"),
    (
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
        "Ho<|end|>",
    ),
    (
        {
            "conversations": [
                {"from": "human", "value": "Whale?"},
                {"from": "function_call", "value": '{"name": "f", "arguments": {"a": 1}}'},
                {"from": "observation", "value": "2"},
                {"from": "gpt", "value": "Two."},
            ]
        },
        '<|function_call|>\nf({"a": 1})\n<|/function_call|><|end|>Two.<|end|>',
    ),
    ({"prompt": "1 + 1", "completion": " 2"}, " 2<|end|>"),
    (
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b", "weight": 0},
                {"role": "user", "content": "c"},
                {"role": "assistant", "content": "d", "weight": 1},
            ]
        },
        "d<|end|>",
    ),
]


@pytest.mark.parametrize(("row", "words"), ROWS)
def test_the_ids_with_loss_are_exactly_the_assistants_words(
    tokenizer: BPETokenizer, row: dict[str, Any], words: str
) -> None:
    record = recognise(row).read(row)
    assert isinstance(record, Conversation)
    encoded = encode_conversation(record.messages, record.tools, tokenizer)
    learned = [i for i, counts in zip(encoded.ids, encoded.learned, strict=True) if counts]
    assert tokenizer.decode(learned) == words


def test_what_is_too_long_ends_after_a_whole_turn(tokenizer: BPETokenizer) -> None:
    whole = encode_conversation(TALK, (TOOL,), tokenizer)
    assert whole.left_out == 0
    seen = set()
    least = len(encode_conversation(TALK[:3], (TOOL,), tokenizer).ids)
    with pytest.raises(RowError, match="longer than the context"):
        encode_conversation(TALK, (TOOL,), tokenizer, least - 1)
    for longest in range(least, len(whole.ids) + 1):
        cut = encode_conversation(TALK, (TOOL,), tokenizer, longest)
        assert len(cut.ids) <= longest
        assert cut.ids == whole.ids[: len(cut.ids)]
        assert cut.ids[-1] == tokenizer.id_of("<|end|>")
        assert any(cut.learned)
        seen.add(cut.left_out)
    assert seen == {0, 5}
