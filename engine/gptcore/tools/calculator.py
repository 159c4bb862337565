"""The calculator: sums of two or three whole numbers with +, - and *."""

import re
from collections.abc import Mapping
from typing import Any

from gptcore.tools.protocol import RunnableTool, object_schema

_NUMBER = r"([0-9]{1,9})"
_SUM = re.compile(rf"{_NUMBER} ?([+*-]) ?{_NUMBER}(?: ?([+*-]) ?{_NUMBER})?")


def _work_out(arguments: Mapping[str, Any]) -> str:
    """The sum's result: products first, then from the left."""
    found = _SUM.fullmatch(arguments["expression"].strip())
    if found is None:
        raise ValueError("cannot work that out")
    first, sign, second, next_sign, third = found.groups(default="")
    if next_sign == "*" and sign != "*":
        return str(_apply(int(first), sign, int(second) * int(third)))
    result = _apply(int(first), sign, int(second))
    return str(_apply(result, next_sign, int(third)) if next_sign else result)


def _apply(first: int, sign: str, second: int) -> int:
    if sign == "*":
        return first * second
    return first + second if sign == "+" else first - second


CALCULATOR = RunnableTool(
    name="calculator",
    description="Work out a sum.",
    parameters=object_schema({"expression": "string"}),
    run=_work_out,
    is_safe=True,
)
