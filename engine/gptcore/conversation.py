"""Conversations as the model sees them: spans of text between control tokens.

Each control token is one id in every tokenizer made here, from the start. Only this rendering
writes them: text from files, people and tools comes as text spans, which are encoded with special
tokens switched off, so that their spelling in a text stays a text. A turn is its role's token, its
text and `END_OF_TURN`; calls and results stand as in the specification::

    <|user|>Is it cold in Oslo?<|end|><|assistant|><|function_call|>
    get_weather({"location": "Oslo"})
    <|/function_call|><|end|><|function_result|>
    get_weather: 3 degrees
    <|/function_result|><|assistant|>Yes, 3 degrees.<|end|>

`chat_template` says the same in Jinja, for other programs; a test holds the two together.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from gptcore.formats.records import Message, Tool, arguments_text

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
SYSTEM = "<|system|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
END_OF_TURN = "<|end|>"
FUNCTION_CALL = "<|function_call|>"
END_FUNCTION_CALL = "<|/function_call|>"
FUNCTION_RESULT = "<|function_result|>"
END_FUNCTION_RESULT = "<|/function_result|>"

#: In the order of their ids, from 0.
SPECIAL_TOKENS = (
    END_OF_TEXT,
    PAD,
    SYSTEM,
    USER,
    ASSISTANT,
    END_OF_TURN,
    FUNCTION_CALL,
    END_FUNCTION_CALL,
    FUNCTION_RESULT,
    END_FUNCTION_RESULT,
)

#: The token that opens a turn; results have a pair of their own.
_OPENS = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}
#: What stands between the system prompt and the signatures of the tools.
TOOLS_HEADING = "Functions:"


class Span(NamedTuple):
    """A part of a rendered conversation.

    Args:
        text: Outside text, or one control token.
        is_control: Which of the two.
        is_learned: Whether it counts in the loss: what the assistant writes.
        message: Number of the message that it belongs to, from 0; -1: of none (tools alone).
    """

    text: str
    is_control: bool
    is_learned: bool
    message: int


def render(
    messages: Sequence[Message], tools: Sequence[Tool] = (), *, goes_on: bool = False
) -> list[Span]:
    """The spans of a conversation; no two text spans stand side by side.

    Args:
        messages: In their order; a system message comes first.
        tools: What may be called: their signatures stand at the end of the system prompt.
        goes_on: Open an assistant's turn at the end, for the model to go on.
    """
    spans: list[Span] = []
    first = 0
    if tools:
        has_system = bool(messages) and messages[0].role == "system"
        prompt = f"{messages[0].content}\n\n" if has_system and messages[0].content else ""
        first = 1 if has_system else 0
        spans += _turn(SYSTEM, prompt + tools_text(tools), first - 1)
    for number in range(first, len(messages)):
        spans += _message(messages[number], number)
    if goes_on:
        spans.append(Span(ASSISTANT, True, False, len(messages)))
    return spans


def plain(spans: Sequence[Span]) -> str:
    """The spans as one string, to be looked at; it must not be encoded."""
    return "".join(span.text for span in spans)


def _message(message: Message, number: int) -> Iterator[Span]:
    if message.role == "tool":
        text = f"\n{message.name}: {message.content}\n"
        yield Span(FUNCTION_RESULT, True, False, number)
        yield Span(text, False, False, number)
        yield Span(END_FUNCTION_RESULT, True, False, number)
        return
    if message.role != "assistant":
        yield from _turn(_OPENS[message.role], message.content, number)
        return
    learned = message.is_learned
    yield Span(ASSISTANT, True, False, number)
    if message.content:
        yield Span(message.content, False, learned, number)
    for call in message.calls:
        yield Span(FUNCTION_CALL, True, learned, number)
        yield Span(f"\n{call.name}({arguments_text(call)})\n", False, learned, number)
        yield Span(END_FUNCTION_CALL, True, learned, number)
    yield Span(END_OF_TURN, True, learned, number)


def _turn(opens: str, text: str, number: int) -> Iterator[Span]:
    yield Span(opens, True, False, number)
    if text:
        yield Span(text, False, False, number)
    yield Span(END_OF_TURN, True, False, number)


# --- tools ---------------------------------------------------------------------------------------


def tools_text(tools: Sequence[Tool]) -> str:
    """The signatures of tools as they stand in the system prompt."""
    return "\n".join([TOOLS_HEADING, *(signature(tool) for tool in tools)])


def signature(tool: Tool) -> str:
    """A tool in a line, as in `convert(value: number, to?: "km"|"miles") Convert it`."""
    properties = tool.parameters.get("properties")
    required = tool.parameters.get("required")
    taken = [
        f"{name}{'' if isinstance(required, list) and name in required else '?'}: {_type(schema)}"
        for name, schema in (properties if isinstance(properties, dict) else {}).items()
    ]
    described = f" {tool.description}" if tool.description else ""
    return f"{tool.name}({', '.join(taken)}){described}"


def _type(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "any"
    said = schema.get("type")
    kind = said if isinstance(said, str) else "any"
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        kind = "|".join(json.dumps(choice, ensure_ascii=False) for choice in choices)
    described = schema.get("description")
    return f"{kind} ({described})" if isinstance(described, str) and described else kind
