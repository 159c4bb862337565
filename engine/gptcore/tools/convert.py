"""Units: a value from one into another."""

import math
from collections.abc import Mapping
from typing import Any

from gptcore.tools.protocol import RunnableTool, object_schema

#: How much of the first unit of its kind each unit is. Gallons, pints and cups are American.
UNITS: Mapping[str, Mapping[str, float]] = {
    "length": {
        "metres": 1.0,
        "km": 1000.0,
        "cm": 0.01,
        "miles": 1609.344,
        "feet": 0.3048,
        "inches": 0.0254,
        "yards": 0.9144,
    },
    "weight": {"kg": 1.0, "grams": 0.001, "pounds": 0.45359237, "ounces": 0.028349523125},
    "volume": {"litres": 1.0, "gallons": 3.785411784, "pints": 0.473176473, "cups": 0.2365882365},
    "time": {"hours": 1.0, "minutes": 1 / 60, "days": 24.0, "weeks": 168.0},
}

#: What can be converted: beyond these, results would be rows of noughts.
_LARGEST = 1e12
_SMALLEST = 1e-12


def _convert(arguments: Mapping[str, Any]) -> str:
    """The value in the other unit, with that unit."""
    value, given, wanted = arguments["value"], arguments["from"], arguments["to"]
    if abs(value) > _LARGEST:
        raise ValueError("the value is too large")
    if 0 < abs(value) < _SMALLEST:
        raise ValueError("the value is too small")
    for factors in UNITS.values():
        if given in factors and wanted in factors:
            return f"{_short(value * factors[given] / factors[wanted])} {wanted}"
    raise ValueError("cannot convert between these units")


def _short(value: float) -> str:
    """A value with one decimal at most; small ones with two digits that count."""
    decimals = 1 if value == 0 or abs(value) >= 1 else 1 - math.floor(math.log10(abs(value)))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


CONVERT = RunnableTool(
    name="convert",
    description="Change the unit.",
    parameters=object_schema({"value": "number", "from": "string", "to": "string"}),
    run=_convert,
    is_safe=True,
)
