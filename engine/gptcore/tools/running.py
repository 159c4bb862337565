"""Answers calls: the right tool with arguments that fit, or a word on what is wrong."""

import math
from collections.abc import Mapping
from typing import Any

from gptcore.formats.records import ToolCall
from gptcore.text import clean
from gptcore.tools.calculator import CALCULATOR
from gptcore.tools.cities import CLOCK, WEATHER
from gptcore.tools.convert import CONVERT
from gptcore.tools.look_up import LOOK_UP
from gptcore.tools.protocol import RunnableTool

#: The tools that may be run without asking, by their names.
SAFE_TOOLS: Mapping[str, RunnableTool] = {
    tool.name: tool for tool in (CALCULATOR, WEATHER, CLOCK, CONVERT, LOOK_UP) if tool.is_safe
}

#: Characters of a text among the arguments.
LONGEST_ARGUMENT = 1000
#: Characters of a name that are said again; a call's function cannot be longer.
_LONGEST_NAME = 128


def run_tool(call: ToolCall) -> str:
    """The result of a call, for the model to read; the same call always gives the same.

    Nothing a model may write does harm, takes long or raises: what cannot be run gives a text
    that begins with ``error:``.

    Args:
        call: As the model made it; its arguments may be any JSON.
    """
    tool = SAFE_TOOLS.get(call.name)
    if tool is None:
        return f"error: no tool is called {_shown(call.name)}"
    try:
        _check(tool, call.arguments)
        return tool.run(call.arguments)
    except ValueError as error:
        return f"error: {error}"


def _check(tool: RunnableTool, arguments: Mapping[str, Any]) -> None:
    """See that the arguments are those of the tool, of their types, and not too long.

    Raises:
        ValueError: They are not; for the model to read.
    """
    parameters = tool.parameters["properties"]
    for given in arguments:
        if given not in parameters:
            raise ValueError(f"{tool.name} takes no {_shown(given)}")
    for name, schema in parameters.items():
        if name not in arguments:
            raise ValueError(f"{name} is missing")
        value = arguments[name]
        if not _fits(value, schema["type"]):
            raise ValueError(f"{name} must be a {schema['type']}")
        if isinstance(value, str) and len(value) > LONGEST_ARGUMENT:
            raise ValueError(f"{name} is too long")


def _fits(value: object, kind: str) -> bool:
    """Whether a value is of a JSON type that the tools' parameters have."""
    if kind == "string":
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)


def _shown(name: str) -> str:
    """A name that the model made up, fit to be said again: short, and nothing but text."""
    text = clean(name[: _LONGEST_NAME + 1])
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"
