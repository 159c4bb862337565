"""What the studio does to runs and profiles; with `--readonly` each refuses here, whoever asks."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gptcore.control import CommandName
from gptcore.errors import UserError
from gptcore.events import Answer
from gptcore.status import Status, observe
from gptcore.workspace import RunPaths, Workspace

if TYPE_CHECKING:
    from gptcore.profile import Profile

#: Seconds to wait for a run's answer: a step of a large model can take a while.
ANSWER_TIMEOUT = 60.0


class RunActions:
    """Starts runs and steers them; every method may block and belongs into a worker.

    Args:
        workspace: Whose runs.
        readonly: Whether nothing may be done.
    """

    def __init__(self, workspace: Workspace, *, readonly: bool = False) -> None:
        self._workspace = workspace
        self.readonly = readonly

    def allow(self, what: str) -> None:
        """Pass, unless the studio only looks on.

        Raises:
            UserError: It does.
        """
        if self.readonly:
            raise UserError(
                f"{what} is refused: this studio only looks on",
                where="--readonly",
                fix="open gptstudio without --readonly",
            )

    def start(self, profile: "Profile", *, warn: Callable[[str], None]) -> RunPaths:
        """Start a new run; see `gptstudio.launcher.start_run`.

        Raises:
            UserError: It cannot be started.
            OSError: The workspace cannot be written.
        """
        from gptstudio.launcher import start_run

        self.allow("to start a run")
        return start_run(self._workspace, profile, warn=warn)

    def resume(
        self, name: str, settings: Sequence[str], *, warn: Callable[[str], None]
    ) -> Answer | None:
        """Let a paused run go on, or start an ended one again.

        Args:
            name: Of the run.
            settings: Changes of the form ``section.key=value``, for an ended one.
            warn: Is told what the run will go without.

        Returns:
            The answer of a paused run.

        Raises:
            UserError: It cannot go on.
        """
        from gptstudio.launcher import restart_run

        self.allow("to resume a run")
        run, status = self._find(name)
        if status.state == "paused" and not settings:
            return self._ask(run, status, "resume")
        restart_run(self._workspace, run, status, settings, warn=warn)
        return None

    def tell(self, name: str, command: CommandName) -> Answer | None:
        """Give a live run a command and wait for its answer; None where none came in time.

        Raises:
            UserError: It does not live, or refuses.
        """
        self.allow(f"to {command} a run")
        return self._ask(*self._find(name), command)

    def kill(self, name: str) -> None:
        """Kill the processes of a run; see `gptstudio.services.killing.kill_run`.

        Raises:
            UserError: It cannot be killed.
        """
        from gptstudio.services.killing import kill_run

        self.allow("to kill a run")
        kill_run(*self._find(name))

    def toggle_mix(self, profile: Path, path: str, holds: str, forms: Iterable[str] = ()) -> str:
        """Put a data file into a profile's mixes, or out; see `gptstudio.services.mix_edit.toggle`.

        Raises:
            UserError: The profile cannot be changed in this way.
            OSError: It cannot be written.
        """
        from gptstudio.services.mix_edit import toggle

        self.allow("to change the mix")
        return toggle(self._workspace, profile, path, holds, forms)

    def _ask(self, run: RunPaths, status: Status, command: CommandName) -> Answer | None:
        from gptstudio.asking import ask

        return ask(run, status, command, timeout=ANSWER_TIMEOUT)

    def _find(self, name: str) -> tuple[RunPaths, Status]:
        run = self._workspace.run(name)
        status = observe(run)
        if status is None:
            raise UserError(f"the record of run {name} is gone", where=str(run.folder))
        return run, status
