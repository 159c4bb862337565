"""Units: a value from one into another."""

from random import Random

from gptcore.tools.convert import CONVERT
from gptstudio.demo_data.base import Arguments, DemoTool
from gptstudio.demo_data.parts import Part, part_of

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

    built_in = CONVERT
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
