"""Rewards of the user's own: functions in files of a trusted workspace.

A function is called as `function(prompt, completion, tool_calls, reference)` and gives a number:

- `prompt`: what was said before, as a list of messages in OpenAI's form;
- `completion`: the words of the last turn;
- `tool_calls`: all calls that could be read, a list of `{"name": ..., "arguments": {...}}`;
- `reference`: the row's further fields, and of the right answer, where it is known, its words as
  `answer` and its calls, in the same form, as `tool_calls`.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptcore.errors import UserError
from gptcore.formats.records import ToolCall, message_row
from gptcore.trust import require_trust
from gptcore.workspace import Workspace
from gptengine.rl.reward_process import RewardProcess, Unusable
from gptengine.rl.tasks import Completion, Task

#: Failures of a function that are told one by one, with their rows; then their number is.
NAMED_FAILURES = 3
#: Of so many calls at last, a function may fail at half; fewer than the least prove nothing.
RECENT_CALLS = 100
FEWEST_CALLS = 20
MOST_FAILING = 0.5


class UserReward:
    """A function of the user's, run in a process of its own that lasts until `close`.

    The file is read once: whoever changes it in the course of a training changes nothing.

    Args:
        name: Which, as `path/to/file.py:function`, from the workspace.
        workspace: Where the file is.
        timeout_s: Seconds that a call may take.

    Raises:
        UserError: There is no such file in the workspace, no such function in it, it cannot be
            loaded, or the workspace is not trusted.
    """

    def __init__(self, name: str, workspace: Workspace, *, timeout_s: float = 5.0) -> None:
        path, _, function = name.rpartition(":")
        self._where = f"rewards: {name}"
        file = self._find(path, workspace)
        if not function.isidentifier():
            raise UserError(
                f"{function or 'nothing'} is no name of a function",
                where=self._where,
                fix="write path/to/file.py:function",
            )
        require_trust(workspace.root, path)
        self._process = RewardProcess(file, function, workspace.root.resolve(), timeout_s)
        try:
            self._process.start()
        except Unusable as error:
            raise self._unusable(error) from None

    def __call__(self, completion: Completion) -> float:
        """What the function says of a completion.

        Raises:
            RewardFailure: It raises, gives no finite number, takes too long, or ends its process.
            UserError: It could not be loaded again after that.
        """
        task = completion.task
        try:
            return self._process.ask(
                {
                    "prompt": [message_row(message) for message in task.messages],
                    "completion": completion.last.content,
                    "tool_calls": _call_rows(completion.calls),
                    "reference": _reference(task),
                }
            )
        except Unusable as error:
            raise self._unusable(error) from None

    def close(self) -> None:
        """End its process."""
        self._process.close()

    def _find(self, path: str, workspace: Workspace) -> Path:
        root = workspace.root.resolve()
        file = (root / path).resolve()
        if not file.is_relative_to(root):
            raise UserError(
                f"{path} is not in the workspace",
                where=self._where,
                fix=f"put the file itself, not a link to it, below {root}",
            )
        if not file.is_file():
            raise UserError(
                f"there is no file {path} in the workspace",
                where=self._where,
                fix=f"write it to {root / path}, or leave the reward out",
            )
        return file

    def _unusable(self, error: Unusable) -> UserError:
        return UserError(str(error), where=self._where, fix="mend the file, then start again")


def right_words(task: Task) -> str:
    """What the right answer says in the end, as far as the data knows; empty: it does not."""
    if task.final is not None:
        return task.final.content
    if task.wanted is not None:
        return "" if task.wanted.calls else task.wanted.content
    answer = task.reference.get("answer")
    is_plain = isinstance(answer, str | int | float) and not isinstance(answer, bool)
    return str(answer) if is_plain else ""


def _reference(task: Task) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if task.wanted is not None:
        known["tool_calls"] = _call_rows(task.wanted.calls)
        if words := right_words(task):
            known["answer"] = words
    return known | dict(task.reference)


def _call_rows(calls: Sequence[ToolCall]) -> list[Mapping[str, Any]]:
    return [{"name": call.name, "arguments": call.arguments} for call in calls]


@dataclass(frozen=True, slots=True)
class Problem:
    """A function of the user's has failed.

    Args:
        reward: Its name.
        row: The record it failed at, as `file:row`; of several the last.
        reason: What happened there.
        failed: How often it has failed by then.
        asked: Of how many calls.
    """

    reward: str
    row: str
    reason: str
    failed: int
    asked: int

    def __str__(self) -> str:
        """All that, in a sentence for people."""
        at = f" at {self.row}" if self.row else ""
        if self.failed <= NAMED_FAILURES:
            return f"reward {self.reward} gives nothing{at}: {self.reason}"
        return (
            f"reward {self.reward} has given nothing {self.failed} times of {self.asked};"
            f" the last{at}: {self.reason}"
        )


@dataclass
class Failures:
    """Counts at what a function failed, tells of the first few, and later of how many.

    Attributes:
        reward: Its name.
        failed: How often it has failed.
        asked: Of how many calls.
    """

    reward: str
    failed: int = 0
    asked: int = 0
    _recent: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT_CALLS))
    _untold: list[Problem] = field(default_factory=list)
    _tell_at: int = 10

    def note_success(self) -> None:
        """It gave a number."""
        self.asked += 1
        self._recent.append(True)

    def note(self, row: str, reason: str) -> None:
        """It failed.

        Args:
            row: At which record.
            reason: What happened.

        Raises:
            UserError: It fails at more than half of what it was asked of late.
        """
        self.asked += 1
        self.failed += 1
        self._recent.append(False)
        problem = Problem(self.reward, row, reason, self.failed, self.asked)
        if self.failed <= NAMED_FAILURES:
            self._untold.append(problem)
        elif self.failed >= self._tell_at:
            self._tell_at = 2 * self.failed
            self._untold.append(problem)
        failing = self._recent.count(False)
        if len(self._recent) >= FEWEST_CALLS and failing > MOST_FAILING * len(self._recent):
            raise UserError(
                f"it gave nothing for {failing} of the last {len(self._recent)} completions;"
                f" the last{f' at {row}' if row else ''}: {reason}",
                where=f"rewards: {self.reward}",
                fix="mend the function, or leave the reward out",
            )

    def take(self) -> list[Problem]:
        """What is to be told, since this was last asked."""
        untold, self._untold = self._untold, []
        return untold
