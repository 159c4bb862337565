"""How long a row will be for a small model: a rough count, before any tokenizer is there."""

import re
from typing import Any

#: Tokens that a row may have, so that it fits the demo's context of 256 with room to spare.
MAX_TOKENS = 200

_CHARACTERS_A_TOKEN = 3
#: Control tokens around a message, and around a call or result beyond those.
_AROUND_MESSAGE = 2
_AROUND_CALL = 3


def rough_tokens(row: dict[str, Any]) -> int:
    """About how many tokens the row has when written out, the tools' signatures included.

    Digits count as one token each, everything else by three characters a token. Of a preference
    the longer completion counts.
    """
    tools = sum(_text(signature(tool)) + 1 for tool in row.get("tools", ()))
    if "instruction" in row:
        return _text(row["instruction"] + row["input"] + row["output"]) + 2 * _AROUND_MESSAGE
    if "messages" in row:
        return tools + _messages(row["messages"])
    longer = max(_messages(row["chosen"]), _messages(row["rejected"]))
    return tools + _messages(row["prompt"]) + longer


def signature(tool: dict[str, Any]) -> str:
    """A tool in one line, as a prompt may list it."""
    function = tool["function"]
    properties = function["parameters"]["properties"]
    parameters = ", ".join(f"{name}: {each['type']}" for name, each in properties.items())
    return f"{function['name']}({parameters}) {function['description']}"


def _messages(messages: list[dict[str, Any]]) -> int:
    tokens = 0
    for message in messages:
        tokens += _AROUND_MESSAGE + _text(message["content"])
        if message["role"] == "tool":
            tokens += _AROUND_CALL + _text(message["name"] + ": ")
        for call in message.get("tool_calls", ()):
            function = call["function"]
            tokens += _AROUND_CALL + _text(f"{function['name']}({function['arguments']})")
    return tokens


def _text(text: str) -> int:
    digits = len(re.findall(r"\d", text))
    return digits + -(-(len(text) - digits) // _CHARACTERS_A_TOKEN)
