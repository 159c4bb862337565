"""What a tool of the demo is: its schema, its questions, its result, its answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from gptstudio.demo_data.parts import Part, dress, wordings

Value = str | int | float
Arguments = dict[str, Value]
#: A message of a conversation, and a line of a file.
Message = dict[str, Any]
Row = dict[str, Any]


class DemoTool(ABC):
    """One tool: a class of its own says how it is asked for and how its result comes about.

    Templates are filled with `words`. They begin with a small letter; `dress` sees to capitals.

    Attributes:
        name: The function's name.
        description: A few words for the prompt.
        parameters: Names of the parameters and their JSON types; all are required.
        purpose: What it is for, to fit "I have no tool for ...".
        questions: Whole questions.
        clauses: Questions without their end, that can be joined; the values come last.
        tails: What joins a second value to a clause with "and".
        follow_ups: Short questions that lean on the one before.
        vague: Five or more questions that leave the value out.
        asks_back: What the assistant then wants to know.
        replies: What the user says to that.
        statement: The final answer, which holds the whole ``{result}``. There is one way to say
            it, so that answers can be compared with the reference.
    """

    name: str
    description: str
    parameters: ClassVar[Mapping[str, str]]
    purpose: str
    questions: tuple[str, ...]
    clauses: tuple[str, ...]
    tails: tuple[str, ...]
    follow_ups: tuple[str, ...]
    vague: tuple[str, ...]
    asks_back: str
    replies: tuple[str, ...]
    statement: str

    @abstractmethod
    def draw(self, rng: Random, part: Part) -> Arguments:
        """Arguments of a call that `part` owns."""

    @abstractmethod
    def run(self, arguments: Mapping[str, Any]) -> str:
        """The result of a call whose arguments have the right names and types.

        Raises:
            ValueError: The tool cannot use them; the message says why.
        """

    def draw_next(self, rng: Random, part: Part, before: Arguments) -> Arguments:
        """Arguments of a call that `follow_ups` can ask for after `before`."""
        while (arguments := self.draw(rng, part)) == before:
            pass
        return arguments

    def mistaken(self, rng: Random, arguments: Arguments) -> Arguments:
        """Arguments that are plausible and wrong."""
        return self.draw_next(rng, "train", arguments)

    def words(self, rng: Random, arguments: Arguments) -> dict[str, str]:
        """What the templates are filled with."""
        return {name: str(value) for name, value in arguments.items()}

    def fill(self, rng: Random, templates: tuple[str, ...], arguments: Arguments) -> str:
        """One of the templates with its words."""
        return rng.choice(templates).format_map(self.words(rng, arguments))

    def question(self, rng: Random, arguments: Arguments) -> str:
        """A question that calls for this tool with these arguments."""
        return dress(rng, self.fill(rng, self.questions, arguments))

    def vague_question(self, rng: Random, part: Part) -> str:
        """A question that cannot be answered without asking back."""
        return dress(rng, rng.choice(wordings(self.vague, part)), opener=False)

    def answer(self, arguments: Arguments, result: str) -> str:
        """The final answer, which says the result again."""
        return self.statement.format_map({**arguments, "result": result})

    def schema(self) -> dict[str, Any]:
        """The tool in OpenAI's form."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": {
                    "type": "object",
                    "properties": {name: {"type": kind} for name, kind in self.parameters.items()},
                    "required": list(self.parameters),
                },
            },
        }


@dataclass(frozen=True, slots=True)
class Call:
    """A tool with its arguments."""

    tool: DemoTool
    arguments: Arguments

    @property
    def result(self) -> str:
        """What the tool says to it."""
        return self.tool.run(self.arguments)

    @property
    def answer(self) -> str:
        """The final answer to it."""
        return self.tool.answer(self.arguments, self.result)
