"""What a tool is that can be run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gptcore.formats.records import Tool


@dataclass(frozen=True, slots=True)
class RunnableTool:
    """A function that a model may call, and what answers it.

    Attributes:
        name: Of the function.
        description: A few words for the model.
        parameters: JSON schema of an object.
        run: The result of a call, a text. It gets arguments that fit `parameters`, and raises a
            ValueError that says why where it cannot use them.
        is_safe: Whether it may be run without asking: it changes nothing, and reads nothing that
            it does not bring along.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    run: Callable[[Mapping[str, Any]], str]
    is_safe: bool = False

    @property
    def record(self) -> Tool:
        """The tool as conversations offer it."""
        return Tool(self.name, self.description, self.parameters)


def object_schema(types: Mapping[str, str]) -> dict[str, Any]:
    """JSON schema of an object all of whose members are required.

    Args:
        types: The JSON type of each member, by its name.
    """
    return {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in types.items()},
        "required": list(types),
    }
