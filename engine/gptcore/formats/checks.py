"""What makes a record unusable although its form is known: its calls, and that it stands twice."""

from typing import TYPE_CHECKING, Any

import msgspec

from gptcore.formats.problems import RowError
from gptcore.formats.records import (
    Conversation,
    Message,
    Preference,
    Prompt,
    Record,
    Tool,
    ToolCall,
)

if TYPE_CHECKING:
    from jsonschema_rs import Validator

#: Rows whose hashes are kept to find those that stand twice: some 100 MB of memory.
MOST_HASHES = 1_000_000
#: Sets of tools whose schemas are kept ready, and characters of a reason that are shown.
_MOST_KNOWN = 256
_LONGEST_REASON = 120

_encode = msgspec.json.Encoder().encode


class CallChecker:
    """Holds calls against the tools of their record."""

    def __init__(self) -> None:
        #: By identity: equal sets of tools mostly are the same one (see `messages.read_tools`).
        self._known: dict[int, tuple[tuple[Tool, ...], dict[str, Validator]]] = {}

    def check(self, record: Record) -> None:
        """Look at each call of a record whose tools are known.

        Raises:
            RowError: A function is not among the tools, arguments break its schema, or a schema is
                none.
        """
        if not record.tools:
            return
        validators = self._validators(record.tools)
        for field, messages in _turns(record):
            for number, message in enumerate(messages):
                if not message.calls:
                    continue
                for count, call in enumerate(message.calls):
                    validator = validators.get(call.name)
                    if validator is None or not validator.is_valid(call.arguments):
                        place = f"{field}[{number}].tool_calls[{count}]"
                        raise _broken(call, validator, place)

    def _validators(self, tools: tuple[Tool, ...]) -> "dict[str, Validator]":
        known = self._known.get(id(tools))
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[id(tools)] = (
                tools,
                {tool.name: _validator(tool) for tool in tools},
            )
        return known[1]


def _validator(tool: Tool) -> "Validator":
    import jsonschema_rs

    try:
        return jsonschema_rs.validator_for(tool.parameters, retriever=_refuse)
    except (jsonschema_rs.ValidationError, ValueError, RecursionError) as error:
        said = getattr(error, "message", str(error))[:_LONGEST_REASON]
        raise RowError(
            f"the parameters of {tool.name} are no JSON schema: {said}", "tools"
        ) from None


def _broken(call: ToolCall, validator: "Validator | None", place: str) -> RowError:
    if validator is None:
        return RowError(f"calls {call.name}, which is not in tools", place)
    error = next(iter(validator.iter_errors(call.arguments)))
    at = ".".join(map(str, error.instance_path))
    said = str(error.message)[:_LONGEST_REASON]
    reason = f"break the schema of {call.name}{f' at {at}' if at else ''}: {said}"
    return RowError(reason, f"{place}.arguments")


def _refuse(uri: str) -> None:
    raise ValueError(f"{uri} is not fetched: a schema must be whole in itself")


class Duplicates:
    """Remembers records, to tell which stand twice; over several files, where it is shared."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, int]] = {}

    @property
    def is_full(self) -> bool:
        """Whether there were too many records to remember them all."""
        return len(self._seen) >= MOST_HASHES

    def check(self, record: Record, file: str, row: int) -> None:
        """Remember a record.

        Args:
            record: As it was read.
            file: Its file, for people.
            row: Its row there.

        Raises:
            RowError: It stood before.
        """
        key = _key(record)
        first = self._seen.get(key)
        if first is not None:
            where = f"row {first[1]}" if first[0] == file else f"row {first[1]} of {first[0]}"
            raise RowError(f"duplicate of {where}")
        if not self.is_full:
            self._seen[key] = (file, row)


def _key(record: Record) -> int:
    """A hash of what is said, whatever the dialect."""
    if isinstance(record, Preference):
        said: tuple[Any, ...] = (record.prompt, record.chosen, record.rejected)
    else:
        said = record.messages
    if record.tools:  # arguments are objects, which have no hash
        return hash(_encode((said, [tool.name for tool in record.tools])))
    try:
        return hash(said)
    except TypeError:
        return hash(_encode(said))


def _turns(record: Record) -> list[tuple[str, tuple[Message, ...]]]:
    match record:
        case Conversation():
            return [("messages", record.messages)]
        case Preference():
            return [
                ("prompt", record.prompt),
                ("chosen", record.chosen),
                ("rejected", record.rejected),
            ]
        case Prompt():
            return [("prompt", record.messages)]
