"""What is right about an answer: the notions that evaluation and rewards share."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from gptcore.answers import Answer
from gptcore.formats.checks import CallChecker
from gptcore.formats.problems import RowError
from gptcore.formats.records import Conversation, Message, Tool, ToolCall

_WORD = re.compile(r"\w+(?:[.,:]\d+)*")


def same_calls(calls: Sequence[ToolCall], wanted: Sequence[ToolCall]) -> bool:
    """Whether they are the same in JSON, in the same order."""
    return [(call.name, _text(call.arguments)) for call in calls] == [
        (call.name, _text(call.arguments)) for call in wanted
    ]


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are the same in JSON, where `true` is not 1, and 5.0 is 5."""
    return _text(one) == _text(other)


def fault(call: ToolCall, tools: Sequence[Tool]) -> str:
    """What the schemas of the tools say against a call; empty: nothing, or there are no tools."""
    said = Message("assistant", calls=(call,))
    try:
        CallChecker().check(Conversation((said,), tuple(tools), "tools"))
    except RowError as error:
        return error.reason
    return ""


def is_spoken(answer: Answer) -> bool:
    """Whether it is words alone and came to its end: no call, nor what was to be one."""
    return answer.is_complete and not answer.calls and not answer.problems


def answers_rightly(answer: Answer, wanted: Message, results: Sequence[Message]) -> bool:
    """Whether an answer says what was found out.

    It must be whole, call nothing, and contain every number, and every word of three letters or
    more, that the right answer took from the results; where that took none, it must be the right
    answer itself.
    """
    if not is_spoken(answer):
        return False
    facts = facts_in(words(wanted.content) & words_of(results))
    if not facts:
        return answer.content.split() == wanted.content.split()
    return facts <= words(answer.content)


def contains(text: str, wanted: str) -> bool:
    """Whether the words of one text stand in the other, side by side and in their order.

    Case, spacing and punctuation do not count; where there is nothing but these, they do.
    """
    sought = _words_in_order(wanted)
    if not sought:
        return " ".join(wanted.split()) in " ".join(text.split())
    found = _words_in_order(text)
    last = len(found) - len(sought)
    return any(found[at : at + len(sought)] == sought for at in range(last + 1))


def facts_in(found: Iterable[str]) -> set[str]:
    """Of words, those that say something: numbers, and words of three letters or more."""
    return {word for word in found if len(word) > 2 or not word.isalpha()}


def words(text: str) -> set[str]:
    """The words and numbers of a text, without regard to case."""
    return set(_words_in_order(text))


def words_of(messages: Iterable[Message]) -> set[str]:
    """The words and numbers of all messages."""
    return set().union(*(words(message.content) for message in messages))


def _words_in_order(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _text(value: Any) -> str:
    return json.dumps(_numbers_as_one(value), sort_keys=True)


def _numbers_as_one(value: Any) -> Any:
    """A JSON value with whole numbers written as integers."""
    if isinstance(value, dict):
        return {key: _numbers_as_one(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers_as_one(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
