"""Gives a run a command and waits for its answer."""

import time

from gptcore.control import CommandName, send
from gptcore.errors import UserError
from gptcore.events import Answer, EventReader
from gptcore.status import LIVE, Status, observe
from gptcore.workspace import RunPaths

#: Seconds to wait: commands are taken between two steps, which can be long ones.
ANSWER_TIMEOUT = 5.0


def ask(
    run: RunPaths, status: Status, name: CommandName, *, timeout: float = ANSWER_TIMEOUT
) -> Answer | None:
    """Send a command to a live run.

    Args:
        run: The run.
        status: As observed.
        name: The command.
        timeout: Seconds to wait for the answer.

    Returns:
        The answer; None where none has come yet.

    Raises:
        UserError: The run does not live, or refuses.
    """
    if status.state not in LIVE:
        raise UserError(
            f"run {run.name} is not running, it is {status.state}",
            where=str(run.folder),
            fix="gptstudio runs lists what there is"
            if status.state == "done"
            else f"gptstudio resume {run.name} starts it again",
        )
    start = run.events.stat().st_size if run.events.exists() else 0
    reader = EventReader(run.events, start)
    sent = send(run, name)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        now = observe(run)
        for event in reader.read():
            answer = event.payload() if event.kind == "command" else None
            if isinstance(answer, Answer) and answer.id == sent.id:
                if answer.outcome == "refused":
                    raise UserError(
                        f"the run refused to {name}: {answer.message or 'it did not say why'}",
                        where=str(run.folder),
                    )
                return answer
        if now is None or now.state not in LIVE:
            break
        time.sleep(0.05)
    return None
