"""What a model is set in reinforcement learning: a place to answer, and what is known of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gptcore.answers import Answer
from gptcore.formats.records import Conversation, Message, Prompt, Tool, ToolCall


@dataclass(frozen=True, slots=True)
class Task:
    """A place where the assistant is to answer.

    Args:
        messages: What was said before; the last is the user's, or a result.
        tools: What may be called.
        wanted: The right answer, where the data has one.
        recorded: What the right answer's calls gave, where the data has it.
        final: The right answer once those results are known, where the data has it.
        reference: Further fields of the row, for rewards of the user's own.
        row: Where it is from, as `file:row`.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    wanted: Message | None = None
    recorded: tuple[Message, ...] = ()
    final: Message | None = None
    reference: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    row: str = ""

    @property
    def results(self) -> tuple[Message, ...]:
        """The results that are to be answered from: those at the end of the messages."""
        return _leading_results(self.messages[::-1])[::-1]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model made of a task.

    Args:
        task: The task.
        answers: Its turns; each but the last is followed by the results of its calls.
        results: Of the calls of each turn but the last, in their order.
        num_tokens: Written by the model, in all turns.
    """

    task: Task
    answers: tuple[Answer, ...]
    results: tuple[tuple[Message, ...], ...] = ()
    num_tokens: int = 0

    @property
    def first(self) -> Answer:
        """The turn that stands where the task's `wanted` does."""
        return self.answers[0]

    @property
    def last(self) -> Answer:
        """The turn that ends it."""
        return self.answers[-1]

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """All calls that could be read, of all turns."""
        return tuple(call for answer in self.answers for call in answer.calls)


def tasks_of(record: Conversation | Prompt, row: str = "") -> Iterator[Task]:
    """The tasks in a record: its prompt, or each place where the assistant has answered.

    In a conversation that is after the user's words (which function, which arguments, or none),
    and after results (what to say of them).
    """
    if isinstance(record, Prompt):
        yield Task(record.messages, record.tools, reference=record.reference, row=row)
        return
    messages = record.messages
    for at, message in enumerate(messages):
        if message.role != "assistant" or not at or messages[at - 1].role not in ("user", "tool"):
            continue
        recorded = _leading_results(messages[at + 1 :])
        rest = messages[at + 1 + len(recorded) :]
        final = rest[0] if recorded and rest and not rest[0].calls else None
        yield Task(messages[:at], record.tools, message, recorded, final, row=row)


def _leading_results(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    count = next((n for n, message in enumerate(messages) if message.role != "tool"), len(messages))
    return messages[:count]
