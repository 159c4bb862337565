"""The tools together: their names, and what answers a call."""

import math
from collections.abc import Mapping

from gptstudio.demo_data.base import DemoTool
from gptstudio.demo_data.calculator import Calculator
from gptstudio.demo_data.cities import Clock, Weather
from gptstudio.demo_data.convert import Convert
from gptstudio.demo_data.look_up import LookUp

#: The tools by their names.
DEMO_TOOLS: Mapping[str, DemoTool] = {
    tool.name: tool for tool in (Calculator(), Weather(), Clock(), Convert(), LookUp())
}


def run_demo_tool(name: str, arguments: Mapping[str, object]) -> str:
    """The result of a call, for the model to read; the same call always gives the same.

    Nothing a model may write does harm or raises: what cannot be run gives a text that begins
    with ``error:``.

    Args:
        name: The function's name.
        arguments: Its arguments, as read from JSON.
    """
    tool = DEMO_TOOLS.get(name)
    if tool is None:
        return f"error: no tool is called {name}"
    for given in arguments:
        if given not in tool.parameters:
            return f"error: {name} takes no {given}"
    for parameter, kind in tool.parameters.items():
        if parameter not in arguments:
            return f"error: {parameter} is missing"
        if not _fits(arguments[parameter], kind):
            return f"error: {parameter} must be a {kind}"
    try:
        return tool.run(arguments)
    except ValueError as error:
        return f"error: {error}"


def _fits(value: object, kind: str) -> bool:
    """Whether a value is of a JSON type that the tools' parameters have."""
    if kind == "string":
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)
