"""What a tool of the demo is: what answers it, its questions, its answers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from random import Random
from typing import Any

from gptcore.formats.records import tool_row
from gptcore.tools import RunnableTool
from gptstudio.demo_data.parts import Part, dress, wordings

Value = str | int | float
Arguments = dict[str, Value]
#: A message of a conversation, and a line of a file.
Message = dict[str, Any]
Row = dict[str, Any]


class DemoTool(ABC):
    """One tool that `gptcore.tools` answers: a class of its own says how it is asked for.

    Templates are filled with `words`. They begin with a small letter; `dress` sees to capitals.

    Attributes:
        built_in: What answers it, with its name and its schema.
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

    built_in: RunnableTool
    purpose: str
    questions: tuple[str, ...]
    clauses: tuple[str, ...]
    tails: tuple[str, ...]
    follow_ups: tuple[str, ...]
    vague: tuple[str, ...]
    asks_back: str
    replies: tuple[str, ...]
    statement: str

    @property
    def name(self) -> str:
        """The function's name."""
        return self.built_in.name

    @abstractmethod
    def draw(self, rng: Random, part: Part) -> Arguments:
        """Arguments of a call that `part` owns."""

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
        return tool_row(self.built_in.record)


@dataclass(frozen=True, slots=True)
class Call:
    """A tool with its arguments."""

    tool: DemoTool
    arguments: Arguments

    @property
    def result(self) -> str:
        """What the tool says to it."""
        return self.tool.built_in.run(self.arguments)

    @property
    def answer(self) -> str:
        """The final answer to it."""
        return self.tool.answer(self.arguments, self.result)
