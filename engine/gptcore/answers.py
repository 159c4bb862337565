"""What a model has written, taken apart: words, and calls of functions.

Works on ids, not on text: only a control id opens a call, its spelling does not.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gptcore.conversation import (
    END_FUNCTION_CALL,
    END_OF_TEXT,
    END_OF_TURN,
    FUNCTION_CALL,
)
from gptcore.formats.json_values import decode as decode_json
from gptcore.formats.problems import RowError
from gptcore.formats.records import ToolCall

_CALL = re.compile(r"\s*([\w.:/-]{1,128})\((.*)\)\s*", re.ASCII | re.DOTALL)


class Answer(NamedTuple):
    """An assistant's turn.

    Args:
        content: Its words; calls are not among them.
        calls: In their order.
        problems: What is wrong with calls that could not be read; nothing is guessed.
        is_complete: Whether it came to its end, rather than to a limit.
    """

    content: str
    calls: tuple[ToolCall, ...]
    problems: tuple[str, ...]
    is_complete: bool


def parse_answer(
    ids: Sequence[int], control: Mapping[int, str], decode: Callable[[Sequence[int]], str]
) -> Answer:
    """Take an assistant's turn apart; what stands after its end does not count.

    Args:
        ids: What the model wrote after the token that opens the turn.
        control: The control tokens by id.
        decode: Text of ids without control tokens.
    """
    words: list[str] = []
    calls: list[ToolCall] = []
    problems: list[str] = []
    start, is_call, is_complete = 0, False, False
    for at in range(len(ids) + 1):
        token = control.get(ids[at]) if at < len(ids) else None
        if at < len(ids) and token is None:
            continue
        text = decode(ids[start:at]) if at > start else ""
        start = at + 1
        if is_call and token == END_FUNCTION_CALL:
            try:
                calls.append(parse_call(text))
            except RowError as error:
                problems.append(error.reason)
        elif is_call:
            problems.append(f"a call does not end: {text.strip():.60}")
        else:
            words.append(text)
            if token == END_FUNCTION_CALL:
                problems.append("a call ends that has not begun")
        is_call = token == FUNCTION_CALL
        if token in (END_OF_TURN, END_OF_TEXT):
            is_complete = True
            break
    return Answer("".join(words), tuple(calls), tuple(problems), is_complete)


def parse_call(text: str) -> ToolCall:
    """The call between its tokens, as in `get_weather({"location": "Oslo"})`.

    Raises:
        RowError: It is none.
    """
    found = _CALL.fullmatch(text)
    if found is None:
        raise RowError(f"a call is not written name({{...}}): {text.strip():.60}")
    name, written = found.groups()
    try:
        arguments = decode_json(written.encode(errors="surrogatepass"))
    except RowError as error:
        raise RowError(f"the arguments of {name} cannot be read: {error.reason}") from None
    if type(arguments) is not dict:
        raise RowError(f"the arguments of {name} are not a JSON object")
    return ToolCall(name, arguments)
