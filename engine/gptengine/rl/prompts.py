"""Prompts to be answered for a reward: tasks read from rows, encoded, divided, put in an order."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from gptcore.conversation import Span, render
from gptcore.encoding import TextEncoder, encode_spans
from gptcore.errors import UserError
from gptcore.formats.checks import Duplicates
from gptcore.formats.problems import Problem, RowError
from gptcore.formats.reading import RecordReader
from gptcore.formats.records import Conversation, Preference, Prompt
from gptcore.settings import RowsDataSettings
from gptcore.stages import Mix
from gptengine.data.sampler import block_of
from gptengine.finetune.data import MOST_TOLD
from gptengine.rl.tasks import Task, tasks_of


@dataclass
class Prompts:
    """Tasks, and what the model reads of each.

    Attributes:
        tasks: Where the assistant is to answer.
        ids: Of each task, opened for the assistant's turn.
    """

    tasks: list[Task] = field(default_factory=list)
    ids: list[Sequence[int]] = field(default_factory=list)

    def append(self, task: Task, ids: Sequence[int]) -> None:
        """Add one."""
        self.tasks.append(task)
        self.ids.append(array("i", ids))

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def num_tokens(self) -> int:
        """Of all prompts."""
        return sum(map(len, self.ids))

    def place(self, number: int, seed: int) -> int:
        """Which prompt is drawn for the `number`-th time, from 0; each epoch is a permutation."""
        return block_of(number, len(self), seed)


@dataclass
class PromptData:
    """What was read.

    Attributes:
        train: To learn from; what a file that counts twice has stands here twice.
        val: Held out.
        rows: Rows of the files, but for those of forms that are not taken.
        bad: Rows that cannot be used.
        too_long: Prompts that leave no room for an answer, of rows that can be used.
        problems: The first of what was wrong.
        formless: Rows of other forms, passed over.
    """

    train: Prompts = field(default_factory=Prompts)
    val: Prompts = field(default_factory=Prompts)
    rows: int = 0
    bad: int = 0
    too_long: int = 0
    problems: list[Problem] = field(default_factory=list)
    formless: int = 0

    def add_problem(self, problem: Problem) -> None:
        """Count a row that cannot be used."""
        self.bad += 1
        if len(self.problems) < MOST_TOLD:
            self.problems.append(problem)


def room_for_answer(longest: int, max_tokens: int) -> int:
    """Tokens that every prompt must leave for the answer: `max_tokens`, or half of the context."""
    return min(max_tokens, longest // 2)


def read_prompts(
    files: Sequence[Path],
    weights: Sequence[int],
    tokenizer: TextEncoder,
    *,
    longest: int,
    room: int,
    held_out: float = 0.0,
    on_bytes: Callable[[int], None] = lambda done: None,
) -> PromptData:
    """Read the tasks in rows, and encode them.

    Args:
        files: Data files of any dialect.
        weights: How often each counts.
        tokenizer: Of the model.
        longest: Tokens that the model can see.
        room: Of these, what a prompt must leave for the answer.
        held_out: Share of the rows to hold out, by a hash of their content: with the same share it
            is what fine-tuning holds out. The tasks of a conversation stay together.
        on_bytes: Told how much of the files has been read.
    """
    data, seen, before = PromptData(), Duplicates(), 0
    threshold = int(held_out * 2**64)
    for path, times in zip(files, weights, strict=True):
        reader = RecordReader(path, path.name, seen)
        for item in reader:
            on_bytes(before + reader.bytes_read)
            if isinstance(item, Problem):
                data.rows += 1
                data.add_problem(item)
                continue
            record = item.record
            if isinstance(record, Preference):
                data.formless += 1
                continue
            data.rows += 1
            tasks = tasks_of(record, f"{path.name}:{item.row}")
            try:
                found, too_long = _encoded_tasks(tasks, tokenizer, longest - room)
            except RowError as error:
                data.add_problem(Problem(path, item.line, error.reason, item.row, error.field))
                continue
            data.too_long += too_long
            is_held_out = _hash(record, tokenizer) < threshold
            for _ in range(1 if is_held_out else times):
                for task, ids in found:
                    (data.val if is_held_out else data.train).append(task, ids)
        before += path.stat().st_size
    return data


def _encoded_tasks(
    tasks: Iterator[Task], tokenizer: TextEncoder, most: int
) -> tuple[list[tuple[Task, list[int]]], int]:
    """The tasks that can be set, with their ids; and how many are too long.

    Raises:
        RowError: None can be set.
    """
    found, too_long, empty = [], 0, 0
    for task in tasks:
        if not task.messages or (task.messages[-1].role == "user" and _is_blank(task)):
            empty += 1
            continue
        ids = _ids(render(task.messages, task.tools, goes_on=True), tokenizer)
        if len(ids) > most:
            too_long += 1
        else:
            found.append((task, ids))
    if found:
        return found, too_long
    if too_long:
        raise RowError(
            f"the prompt is too long: {len(ids)} tokens, and {most} leave room for an answer"
        )
    raise RowError("the prompt is empty" if empty else "there is no place for an answer in it")


def _is_blank(task: Task) -> bool:
    return not task.messages[-1].content.strip()


def _ids(spans: Sequence[Span], tokenizer: TextEncoder) -> list[int]:
    return [index for piece in encode_spans(spans, tokenizer) for index in piece]


def _hash(record: Conversation | Prompt, tokenizer: TextEncoder) -> int:
    ids = array("i", _ids(render(record.messages, record.tools), tokenizer))
    return int.from_bytes(blake2b(ids.tobytes(), digest_size=8).digest(), "little")


def check_prompts(data: PromptData, settings: RowsDataSettings, where: Path, mix: Mix) -> list[str]:
    """What there is to say of prompts that are left out, a line each.

    Args:
        data: What was read.
        settings: Of the mix.
        where: The folder of the files.
        mix: Its name.

    Raises:
        UserError: Too many rows cannot be used, or nothing is left.
    """
    named = [
        f"{problem.file.name} row {problem.row or '?'}: {problem.reason}"
        for problem in data.problems
    ]
    share = f"{data.bad:,} of {data.rows:,} rows cannot be used"
    if data.bad > settings.max_bad * data.rows or not len(data.train):
        fix = "gptstudio data check lists what is no record; mend or exclude the rows"
        if len(data.train):
            allowed = min(1.0, data.bad / data.rows + 0.01)
            fix += f", or allow more with --set data.{mix}.max_bad={allowed:.2f}"
        elif len(data.val):
            share = f"there is no prompt to learn from: all {len(data.val):,} are held out"
            fix = f"lower data.{mix}.held_out"
        elif not data.rows:
            share = "there is no prompt to learn from"
            fix = f"name files with prompts or conversations in data.{mix}.include"
        raise UserError("\n  ".join([share, *named]), where=str(where), fix=fix)
    said = []
    if data.bad:
        said.append(f"{data.bad:,} of {data.rows:,} rows are left out, such as {named[0]}")
    if data.too_long:
        said.append(f"{data.too_long:,} prompts are left out: they leave no room for an answer")
    return said
