"""Turns and tools, as OpenAI, ShareGPT and their kin write them, made into `Message` and `Tool`.

One reading serves them all: a turn has `role` or `from`, and `content` or `value`; what a missing
field means is the same whether it is absent or null, as Parquet has it.
"""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from gptcore.formats.json_values import decode
from gptcore.formats.problems import RowError
from gptcore.formats.records import Message, Role, Tool, ToolCall

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "ipython": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
#: Roles whose words are calls, as JSON.
_CALLING = ("function_call", "tool_call")
#: What a function can be called: it is followed by a bracket in the text the model sees.
_NAME = re.compile(r"[\w.:/-]{1,128}", re.ASCII)

# Mostly all rows of a file have the same tools: they are read once. Larger ones are not kept.
_known_tools: dict[bytes, tuple[Tool, ...]] = {}
_MOST_KNOWN, _LARGEST_KNOWN = 256, 1 << 16
_encode = msgspec.json.Encoder().encode


def read_messages(value: Any, field: str) -> tuple[Message, ...]:
    """Turns in their order.

    Args:
        value: A list of objects.
        field: Where it stands in the row.

    Raises:
        RowError: It is none, a turn makes no sense, or a result belongs to no call.
    """
    if type(value) is not list:
        raise RowError("is not a list of messages", field)
    if not value:
        raise RowError("holds no message", field)
    made: list[Message] = []
    open_calls: list[tuple[str, str]] = []  # id and name
    try:
        for turn in value:
            message = _message(turn, open_calls)
            if message.role == "system" and made:
                raise RowError("a system message comes after others")
            made.append(message)
    except RowError as error:
        raise error.at(f"{field}[{len(made)}]") from None
    return tuple(made)


def _message(turn: Any, open_calls: list[tuple[str, str]]) -> Message:
    if type(turn) is not dict:
        raise RowError("is not an object")
    get = turn.get
    spoken = get("role")
    if spoken is None:
        spoken = get("from")
    if spoken is None:
        raise RowError("has no role", "role")
    if type(spoken) is not str or (role := ROLES.get(spoken)) is None:
        raise RowError(f"unknown role {_short(spoken)}", "role")
    content = get("content")
    field = "content"
    if type(content) is not str:
        if content is None and (content := get("value")) is not None:
            field = "value"
        if type(content) is not str:
            content = _joined(content, field)
    if role == "assistant":
        return _answer(turn, spoken, content, field, open_calls)
    if role == "tool":
        return Message("tool", content, (), _result_name(turn, open_calls))
    return Message(role, content)


def _joined(content: Any, field: str) -> str:
    """Content that is no string: nothing, or a list of parts."""
    if content is None:
        return ""
    if type(content) is not list:
        raise RowError("is neither text nor a list of parts", field)
    words: list[str] = []
    for number, part in enumerate(content):
        text = part.get("text") if type(part) is dict else part
        kind = part.get("type", "text") if type(part) is dict else "text"
        if kind not in ("text", "input_text", "output_text") or type(text) is not str:
            raise RowError(f"is {_short(kind)}, and only text can be learned", f"{field}[{number}]")
        words.append(text)
    return "".join(words)


def _answer(
    turn: dict[str, Any], spoken: str, content: str, field: str, open_calls: list[tuple[str, str]]
) -> Message:
    get = turn.get
    calls: tuple[ToolCall, ...] = ()
    listed: Any = None
    where = ""
    if spoken in _CALLING:
        listed, where = _decoded(content, field), field
        listed = listed if type(listed) is list else [listed]
        content = ""
    elif (listed := get("tool_calls")) is not None:
        where = "tool_calls"
        listed = _decoded(listed, where) if type(listed) is str else listed
    elif (one := get("function_call")) is not None:
        listed, where = [one], "function_call"
    if listed is not None:
        if type(listed) is not list:
            raise RowError("is not a list of calls", where)
        open_calls.clear()
        made: list[ToolCall] = []
        for each in listed:
            try:
                call = _call(each)
            except RowError as error:
                raise error.at(f"{where}[{len(made)}]") from None
            made.append(call)
            open_calls.append((str(each.get("id") or ""), call.name))
        calls = tuple(made)
    if not calls and not content.strip():
        raise RowError("is an empty answer", field)
    is_learned = _is_learned(turn) if "weight" in turn or "train" in turn else True
    return Message("assistant", content, calls, "", is_learned)


def _is_learned(turn: dict[str, Any]) -> bool:
    for field in ("weight", "train"):
        weight = turn.get(field)
        if weight is not None:
            if type(weight) not in (int, float, bool) or weight not in (0, 1):
                raise RowError(f"is {_short(weight)}; it can be 0 or 1", field)
            return bool(weight)
    return True


def _call(value: Any) -> ToolCall:
    if type(value) is not dict:
        raise RowError("is not an object")
    inner, field = value.get("function"), ""
    if type(inner) is dict:
        value, field = inner, "function."
    name = value.get("name")
    if type(name) is not str or not _NAME.fullmatch(name):
        raise RowError(f"{_short(name)} is no name of a function", f"{field}name")
    arguments = value.get("arguments")
    if arguments is None:
        arguments = value.get("parameters")  # as some tools of Meta's models spell it
    if type(arguments) is str:
        try:
            arguments = decode(arguments.encode()) if arguments.strip() else {}
        except RowError as error:
            raise RowError(error.reason, f"{field}arguments") from None
    elif type(arguments) is dict:  # Parquet fills in the arguments of other rows' functions
        arguments = {key: given for key, given in arguments.items() if given is not None}
    elif arguments is None:
        arguments = {}
    if type(arguments) is not dict:
        raise RowError("are not a JSON object", f"{field}arguments")
    return ToolCall(name, arguments)


def _decoded(text: str, field: str) -> Any:
    try:
        return decode(text.encode())
    except RowError as error:
        raise RowError(error.reason, field) from None


def _result_name(turn: dict[str, Any], open_calls: list[tuple[str, str]]) -> str:
    """The function that a result comes from; its call is answered with that."""
    key, name = turn.get("tool_call_id"), turn.get("name")
    if not open_calls:
        raise RowError("is a result without a call")
    for number, (known, called) in enumerate(open_calls):
        if (key and known == key) or (not (key and known) and name in (None, "", called)):
            del open_calls[number]
            return called
    raise RowError(f"is a result of {_short(name or key)}, which was not called", "name")


def read_tools(value: Any, field: str) -> tuple[Tool, ...]:
    """The functions that may be called.

    Args:
        value: A list of OpenAI's or of bare functions, or that as JSON text; None: none.
        field: Where it stands in the row.

    Raises:
        RowError: It is neither.
    """
    if value is None:
        return ()
    key = value.encode() if type(value) is str else _encode(value)
    if (known := _known_tools.get(key)) is not None:
        return known
    tools = _tools(value, field)
    if len(key) <= _LARGEST_KNOWN:
        if len(_known_tools) >= _MOST_KNOWN:
            _known_tools.clear()
        _known_tools[key] = tools
    return tools


def _tools(value: Any, field: str) -> tuple[Tool, ...]:
    if type(value) is str:
        value = _decoded(value, field) if value.strip() else []
    if type(value) is not list:
        raise RowError("is not a list of tools", field)
    tools = tuple(_tool(each, f"{field}[{number}]") for number, each in enumerate(value))
    names = [tool.name for tool in tools]
    if twice := [name for name in names if names.count(name) > 1]:
        raise RowError(f"{twice[0]} stands twice", field)
    return tools


def _tool(value: Any, field: str) -> Tool:
    inner = value.get("function") if type(value) is dict else None
    if type(inner) is dict:
        value, field = inner, f"{field}.function"
    if type(value) is not dict:
        raise RowError("is not an object", field)
    name, description = value.get("name"), value.get("description")
    if type(name) is not str or not _NAME.fullmatch(name):
        raise RowError(f"{_short(name)} is no name of a function", f"{field}.name")
    parameters = value.get("parameters")
    if parameters is None:
        parameters = {}
    if type(parameters) is not dict:
        raise RowError("is not a JSON schema", f"{field}.parameters")
    return Tool(name, description if type(description) is str else "", parameters)


def learned(messages: Sequence[Message]) -> bool:
    """Whether there is a turn to learn."""
    for message in messages:  # noqa: SIM110 - half the time of `any`, once a row
        if message.role == "assistant" and message.is_learned:
            return True
    return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
