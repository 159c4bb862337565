"""The messages of a conversation, as they stand in a file."""

import json
from collections.abc import Iterator

from gptstudio.demo_data.base import Call, Message, Row


def user(text: str) -> Message:
    """What the person says."""
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    """What the assistant says."""
    return {"role": "assistant", "content": text}


def calling(*calls: Call) -> Message:
    """The assistant's message that calls tools."""
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"function": {"name": call.tool.name, "arguments": json.dumps(call.arguments)}}
            for call in calls
        ],
    }


def told(call: Call) -> Message:
    """What the tool says to a call."""
    return {"role": "tool", "name": call.tool.name, "content": call.result}


def questions(row: Row) -> Iterator[str]:
    """What the person says in a row, of whichever form."""
    if "instruction" in row:
        yield f"{row['instruction']} {row['input']}".strip()
        return
    for message in row.get("messages") or row["prompt"]:
        if message["role"] == "user":
            yield message["content"]
