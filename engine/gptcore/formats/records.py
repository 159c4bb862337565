"""What rows of data are once they are understood, whatever dialect they were written in.

Written with `to_row`, a record has the normal form: OpenAI's `messages` with `tool_calls`, TRL's
`prompt`, `chosen` and `rejected`.
"""

import json
from typing import Any, Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]

#: What a record is for, as profiles and people call it.
Form = Literal["instruction", "conversation", "tools", "preference", "prompt"]


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A function that the assistant calls.

    Attributes:
        name: Of the function.
        arguments: By name; JSON types.
    """

    name: str
    arguments: dict[str, Any]


class Tool(msgspec.Struct, frozen=True, gc=False):
    """A function that may be called.

    Attributes:
        name: Of the function.
        description: For the model.
        parameters: JSON schema of an object.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class Message(msgspec.Struct, frozen=True, gc=False):
    """One turn of a conversation.

    Attributes:
        role: Whose it is; `tool`: the result of a call.
        content: Its words.
        calls: What the assistant calls after its words.
        name: The function that a result comes from.
        is_learned: Whether an assistant's turn is learned; others never are.
    """

    role: Role
    content: str = ""
    calls: tuple[ToolCall, ...] = ()
    name: str = ""
    is_learned: bool = True


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """Turns to learn from.

    Attributes:
        messages: In their order.
        tools: What may be called; none: the data does not say.
        form: As in the file.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    form: Literal["instruction", "conversation", "tools"] = "conversation"


class Preference(msgspec.Struct, frozen=True, gc=False):
    """A better and a worse continuation of the same turns.

    Attributes:
        prompt: The turns before.
        chosen: The better continuation.
        rejected: The worse one.
        tools: What may be called.
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()

    @property
    def form(self) -> Form:
        """What it is for."""
        return "preference"


class Prompt(msgspec.Struct, frozen=True, gc=False):
    """Turns to go on from, for learning by reward.

    Attributes:
        messages: They end with the user's, or with a result.
        tools: What may be called.
        reference: The other fields of the row, for the reward.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    reference: dict[str, Any] = {}

    @property
    def form(self) -> Form:
        """What it is for."""
        return "prompt"


Record = Conversation | Preference | Prompt


def arguments_text(call: ToolCall) -> str:
    """The arguments as the model reads and writes them: JSON as Python's `json` spells it."""
    return json.dumps(call.arguments, ensure_ascii=False)


def to_row(record: Record) -> dict[str, Any]:
    """A record in the normal form, ready to be written as JSON."""
    row: dict[str, Any] = {}
    if record.tools:
        row["tools"] = [tool_row(tool) for tool in record.tools]
    match record:
        case Conversation():
            row["messages"] = [message_row(message) for message in record.messages]
        case Preference():
            for name in ("prompt", "chosen", "rejected"):
                row[name] = [message_row(message) for message in getattr(record, name)]
        case Prompt():
            row["prompt"] = [message_row(message) for message in record.messages]
            row |= record.reference
    return row


def tool_row(tool: Tool) -> dict[str, Any]:
    """A tool in OpenAI's form."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def message_row(message: Message) -> dict[str, Any]:
    """A message in OpenAI's form."""
    row: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name:
        row["name"] = message.name
    if message.calls:
        row["tool_calls"] = [
            {
                "type": "function",
                "function": {"name": call.name, "arguments": arguments_text(call)},
            }
            for call in message.calls
        ]
    if not message.is_learned:
        row["weight"] = 0
    return row
