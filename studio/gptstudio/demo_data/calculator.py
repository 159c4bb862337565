"""The calculator: sums of two or three whole numbers."""

from random import Random

from gptcore.tools.calculator import CALCULATOR
from gptstudio.demo_data.base import Arguments, DemoTool
from gptstudio.demo_data.parts import Part, part_of

_SPOKEN = {"+": "plus", "-": "minus", "*": "times"}


class Calculator(DemoTool):
    """Sums of two or three whole numbers with +, - and *."""

    built_in = CALCULATOR
    purpose = "sums"
    questions = (
        "what is {sum}?",
        "what's {sum}?",
        "how much is {sum}?",
        "how much does {sum} make?",
        "what does {sum} come to?",
        "can you work out {sum}?",
        "could you calculate {sum}?",
        "calculate {sum}.",
        "work out {sum} for me.",
        "please compute {sum}.",
        "I need the result of {sum}.",
        "help me with {sum}.",
        "{sum}?",
        "{sum} is what?",
    )
    clauses = ("what is {sum}", "how much is {sum}", "what's {sum}", "can you work out {sum}")
    tails = ("{sum}",)
    follow_ups = (
        "and {sum}?",
        "what about {sum}?",
        "now {sum}.",
        "then {sum}?",
        "and what is {sum}?",
    )
    vague = (
        "can you work out a sum?",
        "I need help with a sum.",
        "will you calculate something for me?",
        "I have a sum for you.",
        "can you do sums?",
    )
    asks_back = "Which sum?"
    replies = ("{sum}", "{sum}, please", "it is {sum}", "the sum is {sum}")
    statement = "{expression} = {result}."

    def draw(self, rng: Random, part: Part) -> Arguments:
        """A sum that `part` owns."""
        while True:
            expression = self._expression(rng)
            if part_of(" ".join(sorted(expression.split()))) == part:  # in whatever order
                return {"expression": expression}

    @staticmethod
    def _expression(rng: Random) -> str:
        sign = rng.choice("+++--**")
        if rng.random() < 0.15:
            first, second, third = (rng.randint(1, 99) for _ in range(3))
            return f"{first} {sign} {second} {rng.choice('+-')} {third}"
        highest = 99 if sign == "*" else rng.choice((20, 99, 999, 999))
        first, second = rng.randint(2, highest), rng.randint(2, highest)
        if sign == "-" and first < second:
            first, second = second, first
        return f"{first} {sign} {second}"

    def words(self, rng: Random, arguments: Arguments) -> dict[str, str]:
        """The sum as it is written in a call, and as a person may write it."""
        expression = str(arguments["expression"])
        return {"expression": expression, "sum": _spell(rng, expression)}

    def mistaken(self, rng: Random, arguments: Arguments) -> Arguments:
        """Another sign, or another digit somewhere."""
        expression = str(arguments["expression"])
        place = rng.choice([at for at, letter in enumerate(expression) if letter != " "])
        others = "+-*" if expression[place] in "+-*" else "123456789"
        letter = rng.choice([other for other in others if other != expression[place]])
        return {"expression": expression[:place] + letter + expression[place + 1 :]}


def _spell(rng: Random, expression: str) -> str:
    """A sum as people write it: in signs, without spaces, or in words."""
    way = rng.random()
    if way < 0.6:
        return expression
    if way < 0.75:
        return expression.replace(" ", "")
    return " ".join(_SPOKEN.get(piece, piece) for piece in expression.split())
