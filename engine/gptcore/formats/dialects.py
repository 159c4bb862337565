"""Which form a row has, and the record it stands for.

A new dialect is one function here and one line in `DIALECTS`: the first whose fields the row has
takes it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from gptcore.formats.messages import learned, read_messages, read_tools
from gptcore.formats.problems import RowError
from gptcore.formats.records import Conversation, Message, Preference, Prompt, Record, Tool


class Dialect(NamedTuple):
    """A way in which people write rows.

    Args:
        name: For people.
        fields: Any of these sets, filled, is how it is recognised.
        read: Makes the record of a row.
    """

    name: str
    fields: tuple[tuple[str, ...], ...]
    read: Callable[[dict[str, Any]], Record]


def recognise(row: Any) -> Dialect:
    """The dialect of a row.

    Raises:
        RowError: It has none that is known.
    """
    if type(row) is not dict:
        raise RowError("is not an object")
    get = row.get
    for first, rest, dialect in _TRIED:
        if get(first) is not None:
            for field in rest:
                if get(field) is None:
                    break
            else:
                return dialect
    held = ", ".join(sorted(str(name)[:30] for name in row)[:8]) or "nothing"
    if set(row) <= {"text", "id", "meta", "source"} and "text" in row:
        raise RowError("is plain text: put that into .txt or .md files, for pretraining", "text")
    raise RowError(f"has no form that is known; it holds {held}")


def _conversation(row: dict[str, Any]) -> Conversation:
    field = "messages" if row.get("messages") is not None else "conversations"
    messages = read_messages(row[field], field)
    return _whole(_with_system(row, messages), _tools(row), field)


def _instruction(row: dict[str, Any]) -> Conversation:
    answer_field = next(name for name in ("output", "response") if row.get(name) is not None)
    answer = _text(row, answer_field)
    if not answer.strip():
        raise RowError("is an empty answer", answer_field)
    turns = [*_history(row), Message("user", _question(row)), Message("assistant", answer)]
    return Conversation(_with_system(row, tuple(turns)), form="instruction")


def _completion(row: dict[str, Any]) -> Conversation:
    if row.get("label") is not None:
        raise RowError(
            "is a single answer with a label; answers are learned from in pairs", "label"
        )
    prompt, completion = _turns(row, "prompt", "user"), _turns(row, "completion", "assistant")
    return _whole((*prompt, *completion), _tools(row), "completion")


def _preference(row: dict[str, Any]) -> Preference:
    chosen, rejected = (_turns(row, name, "assistant") for name in ("chosen", "rejected"))
    prompt = _with_system(row, _prompt_of(row))
    if prompt and chosen[: len(prompt)] == prompt == rejected[: len(prompt)]:
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    elif chosen and chosen[0].role != "assistant":  # the turns before stand in both
        same = 0
        for one, other in zip(chosen, rejected, strict=False):
            if one != other or one.role == "assistant":
                break
            same += 1
        prompt, chosen, rejected = chosen[:same], chosen[same:], rejected[same:]
    if not prompt:
        raise RowError("has no prompt", "prompt")
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if not turns or turns[0].role != "assistant" or turns[-1].role != "assistant":
            raise RowError("is no answer of the assistant's", name)
    if chosen == rejected:
        raise RowError("is the same as chosen", "rejected")
    return Preference(prompt, chosen, rejected, _tools(row))


def _prompt(row: dict[str, Any]) -> Prompt:
    messages = _with_system(row, _turns(row, "prompt", "user"))
    if messages[-1].role == "assistant":
        raise RowError("ends with an answer: there is nothing to go on from", "prompt")
    rest = {name: value for name, value in row.items() if name not in ("prompt", "tools", "system")}
    return Prompt(messages, _tools(row), rest)


#: In the order in which they are tried: those that hold the fields of others come first.
DIALECTS = (
    Dialect("preference", (("chosen", "rejected"),), _preference),
    Dialect("messages", (("messages",),), _conversation),
    Dialect("ShareGPT", (("conversations",),), _conversation),
    Dialect("Alpaca", (("instruction", "output"), ("instruction", "response")), _instruction),
    Dialect("prompt and completion", (("prompt", "completion"),), _completion),
    Dialect("prompt", (("prompt",),), _prompt),
)

_TRIED = tuple(
    (fields[0], fields[1:], dialect) for dialect in DIALECTS for fields in dialect.fields
)


def _whole(messages: tuple[Message, ...], tools: tuple[Tool, ...], field: str) -> Conversation:
    if not learned(messages):
        raise RowError("holds nothing to learn: no answer of the assistant's counts", field)
    with_tools = tools or any(message.calls for message in messages)
    return Conversation(messages, tools, "tools" if with_tools else "conversation")


def _tools(row: dict[str, Any]) -> tuple[Tool, ...]:
    field = "tools" if row.get("tools") is not None else "functions"
    return read_tools(row.get(field), field)


def _with_system(row: dict[str, Any], messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """With the system prompt that stands beside the turns."""
    system = row.get("system")
    if type(system) is not str or not system or (messages and messages[0].role == "system"):
        return messages
    return (Message("system", system), *messages)


def _turns(row: dict[str, Any], field: str, role: str) -> tuple[Message, ...]:
    """Words, a turn, or a list of turns."""
    value = row[field]
    if type(value) is str:
        value = [{"role": role, "content": value}]
    elif type(value) is dict:
        value = [value]
    return read_messages(value, field)


def _prompt_of(row: dict[str, Any]) -> tuple[Message, ...]:
    """The turns before a pair of answers; none where the answers repeat them."""
    for field in ("prompt", "messages", "conversations"):
        if row.get(field) is not None:
            return _turns(row, field, "user")
    if row.get("instruction") is not None:
        return (*_history(row), Message("user", _question(row)))
    return ()


def _question(row: dict[str, Any]) -> str:
    parts = [_text(row, name) for name in ("instruction", "input", "context")]
    question = "\n\n".join(part for part in parts if part.strip())
    if not question:
        raise RowError("asks nothing", "instruction")
    return question


def _history(row: dict[str, Any]) -> list[Message]:
    """Earlier questions and answers."""
    turns: list[Message] = []
    history = row.get("history") or []
    if type(history) is not list:
        raise RowError("is not a list of questions and answers", "history")
    for number, pair in enumerate(history):
        if type(pair) is not list or len(pair) != 2 or not all(type(each) is str for each in pair):
            raise RowError("is not a question and an answer", f"history[{number}]")
        turns += [Message("user", pair[0]), Message("assistant", pair[1])]
    return turns


def _text(row: dict[str, Any], field: str) -> str:
    value = row.get(field)
    if value is None:
        return ""
    if type(value) is not str:
        raise RowError("is not text", field)
    return value
