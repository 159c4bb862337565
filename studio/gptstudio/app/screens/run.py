"""What steers the chosen run, by key, from each screen that is about it."""

from collections.abc import Callable

from textual.message import Message

from gptcore.control import CommandName
from gptcore.errors import UserError
from gptcore.events import Answer
from gptcore.status import LIVE, Status
from gptcore.text import steady
from gptstudio.app.jobs import Done, Job
from gptstudio.app.screens.base import StudioScreen

#: Seconds after which a person is told that what they asked for is under way.
LASTS = 1.5


class RunScreen(StudioScreen):
    """A screen about the chosen run; capital letters ask before they do what hurts.

    A subclass takes the bindings of the scope `run` together with its own, which orders the footer.
    """

    def action_pause(self) -> None:
        """Pause the run, or let it go on."""
        status = self._status("running", "paused", "starting", "queued", "stopping")
        if status is not None and status.state == "paused":
            self._resume(status.run, [])
        elif status is not None:
            self._tell(status.run, "pause")

    def action_checkpoint(self) -> None:
        """Write a checkpoint now."""
        if status := self._status(*LIVE):
            self._tell(status.run, "checkpoint")

    def action_sample(self) -> None:
        """Let the model write a few words now."""
        if status := self._status(*LIVE):
            self._tell(status.run, "sample")

    def action_resume(self) -> None:
        """Go on with a run that is paused or has ended early."""
        from gptstudio.app.dialogs.resume import Resume

        status = self._status("paused", "stopped", "failed", "lost")
        if status is None or not self._allowed("to resume a run"):
            return
        if status.state == "paused":
            self._resume(status.run, [])
            return

        def answered(settings: list[str] | None) -> None:
            if settings is not None:
                self._resume(status.run, settings)

        self.app.push_screen(Resume(status), answered)

    def action_stop(self) -> None:
        """Ask, then let the run write a checkpoint and end."""
        from gptstudio.app.dialogs.confirm import Confirm

        status = self._status(*LIVE)
        if status is None or not self._allowed("to stop a run"):
            return
        question = f"Stop {steady(status.run)}?"
        consequence = "It writes a checkpoint, then ends. R goes on from there."
        self.app.push_screen(
            Confirm(question, consequence), self._if_yes(lambda: self._tell(status.run, "stop"))
        )

    def action_kill(self) -> None:
        """Ask for the run's name, then end its processes at once."""
        from gptstudio.app.dialogs.confirm import TypeName

        status = self._status(*LIVE)
        if status is None or not self._allowed("to kill a run"):
            return
        question = f"Kill {steady(status.run)}?"
        consequence = "Steps since its last checkpoint are lost. S stops it without loss."
        self.app.push_screen(
            TypeName(question, consequence, status.run),
            self._if_yes(lambda: self._kill(status.run)),
        )

    def _status(self, *states: str) -> Status | None:
        """The chosen run, if it is in one of these states; else say why the key does nothing."""
        status = self.studio.state.status
        if status is None:
            self.studio.say("there is no run; s on Train starts one")
        elif status.state not in states:
            self.studio.say(f"{status.run} is {status.state}", "warning")
        else:
            return status
        return None

    def _allowed(self, what: str) -> bool:
        try:
            self.studio.actions.allow(what)
        except UserError as error:
            self.studio.say(str(error), "warning")
            return False
        return True

    def _if_yes(self, then: Callable[[], None]) -> Callable[[bool | None], None]:
        def answered(yes: bool | None) -> None:
            if yes:
                then()

        return answered

    # In threads; what became of it is said when they are done.

    def _tell(self, run: str, command: CommandName) -> None:
        if not self._allowed(f"to {command} a run"):
            return
        actions = self.studio.actions

        def ask() -> Done:
            return Done(_said(run, command, actions.tell(run, command)))

        self.in_background(ask, f"{command} {run}")

    def _resume(self, run: str, settings: list[str]) -> None:
        actions = self.studio.actions
        warnings: list[str] = []

        def go_on() -> Done:
            answer = actions.resume(run, settings, warn=warnings.append)
            said = _said(run, "resume", answer) if answer else f"{run} goes on"
            return Done("\n".join([said, *warnings]))

        self.in_background(go_on, f"resume {run}")

    def _kill(self, run: str) -> None:
        actions = self.studio.actions

        def kill() -> Done:
            actions.kill(run)
            return Done(f"{run}: its processes were killed")

        self.in_background(kill, f"kill {run}")

    def in_background(self, work: Callable[[], Message], name: str) -> None:
        """Do something that may block; its message, or why it failed, is for the app.

        Args:
            work: Blocking; touches no widget.
            name: For people, should it take long or fail.
        """
        job = Job(name, work, self.studio.post)

        def say_it_lasts() -> None:
            if job.is_running:
                self.studio.say(f"{name}: under way")

        self.set_timer(LASTS, say_it_lasts)


def _said(run: str, command: CommandName, answer: Answer | None) -> str:
    from gptstudio.run_view import answer_text

    if answer is None:
        return f"{run}: {command} is not answered yet; it is taken between two steps"
    return f"{run}: {answer_text(answer)}"
