"""Units: a value from one into another."""

import math
from collections.abc import Mapping
from random import Random
from typing import Any, ClassVar

from gptstudio.demo_data.base import Arguments, DemoTool
from gptstudio.demo_data.parts import Part, part_of

#: How much of the first unit of its kind each unit is. Gallons, pints and cups are American.
UNITS: dict[str, dict[str, float]] = {
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

#: The pairs of units that questions are about; each is asked in both directions.
UNIT_PAIRS = (
    ("km", "miles"),
    ("metres", "feet"),
    ("metres", "yards"),
    ("cm", "inches"),
    ("feet", "inches"),
    ("kg", "pounds"),
    ("grams", "ounces"),
    ("litres", "gallons"),
    ("litres", "pints"),
    ("cups", "pints"),
    ("hours", "minutes"),
    ("days", "hours"),
    ("weeks", "days"),
)


class Convert(DemoTool):
    """A value from one unit into another."""

    name = "convert"
    description = "Change the unit."
    parameters: ClassVar[Mapping[str, str]] = {"value": "number", "from": "string", "to": "string"}
    purpose = "units"
    questions = (
        "convert {value} {from} to {to}.",
        "please convert {value} {from} into {to}.",
        "what is {value} {from} in {to}?",
        "how much is {value} {from} in {to}?",
        "how many {to} are {value} {from}?",
        "how many {to} are in {value} {from}?",
        "how many {to} make {value} {from}?",
        "can you change {value} {from} to {to}?",
        "{value} {from} in {to}?",
        "{value} {from} to {to}",
        "I have {value} {from}. What is that in {to}?",
        "I need {value} {from} in {to}.",
        "give me {value} {from} in {to}.",
    )
    clauses = ("how many {to} are {value} {from}", "how many {to} are in {value} {from}")
    tails = ("{value} {from}",)
    follow_ups = (
        "and {value} {from}?",
        "what about {value} {from}?",
        "and for {value} {from}?",
        "now {value} {from}.",
    )
    vague = (
        "can you convert something for me?",
        "I need another unit.",
        "can you change units?",
        "help me with units.",
        "will you convert a value?",
    )
    asks_back = "From what to what?"
    replies = ("{value} {from} to {to}", "{value} {from} in {to}", "from {value} {from} to {to}")
    statement = "{value} {from} = {result}."

    def draw(self, rng: Random, part: Part) -> Arguments:
        """A value and two units of one pair."""
        pair = rng.choice(UNIT_PAIRS)
        given, wanted = pair if rng.random() < 0.5 else pair[::-1]
        return self._draw_value(rng, part, given, wanted)

    def draw_next(self, rng: Random, part: Part, before: Arguments) -> Arguments:
        """Another value in the same units."""
        given, wanted = str(before["from"]), str(before["to"])
        while (arguments := self._draw_value(rng, part, given, wanted)) == before:
            pass
        return arguments

    @staticmethod
    def _draw_value(rng: Random, part: Part, given: str, wanted: str) -> Arguments:
        while True:
            value = rng.randint(2, rng.choice((20, 99, 999)))
            # both directions between two units belong to one part
            if part_of(f"{value} {min(given, wanted)} {max(given, wanted)}") == part:
                return {"value": value, "from": given, "to": wanted}

    def mistaken(self, rng: Random, arguments: Arguments) -> Arguments:
        """The units the wrong way round, or another value."""
        if rng.random() < 0.5:
            return {**arguments, "from": arguments["to"], "to": arguments["from"]}
        return self.draw_next(rng, "train", arguments)

    def run(self, arguments: Mapping[str, Any]) -> str:
        """The value in the other unit, with that unit."""
        value, given, wanted = arguments["value"], arguments["from"], arguments["to"]
        if not abs(value) <= 1e12:  # not a number is not, either
            raise ValueError("the value is too large")
        for factors in UNITS.values():
            if given in factors and wanted in factors:
                return f"{_short(value * factors[given] / factors[wanted])} {wanted}"
        raise ValueError("cannot convert between these units")


def _short(value: float) -> str:
    """A value with one decimal at most; small ones with two digits that count."""
    decimals = 1 if value == 0 or abs(value) >= 1 else 1 - math.floor(math.log10(abs(value)))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
