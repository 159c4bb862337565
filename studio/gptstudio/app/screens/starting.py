"""How a run is started from a screen: profile, review sheet, start."""

from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported
from textual.content import Content
from textual.message import Message

from gptcore.errors import UserError
from gptcore.text import steady
from gptcore.workspace import write_atomic
from gptstudio.app.jobs import Done, Job, Started
from gptstudio.app.screens.run import RunScreen
from gptstudio.app.widgets.rows import Row

if TYPE_CHECKING:
    from gptcore.profile import Profile
    from gptstudio.app.dialogs.review import ReviewSheet
    from gptstudio.services.review import Review


class StartsRuns(RunScreen):
    """A screen from which runs are started."""

    class Reviewed(Message):
        """The review of a run is there.

        Args:
            sheet: The sheet that waits for it.
            review: What it says.
        """

        def __init__(self, sheet: "ReviewSheet", review: "Review") -> None:
            super().__init__()
            self.sheet = sheet
            self.review = review

    def start(self, stage: str) -> None:
        """Show what a run would take, and start it if that is wanted.

        Args:
            stage: Perform it alone; empty: those of the profile.
        """
        from gptstudio.app.dialogs.review import ReviewSheet
        from gptstudio.services.review import review

        card = self.studio.state.profile
        if card is None:
            self.studio.say("the profile is still being read")
            return
        if card.profile is None:
            self.studio.say(str(card.error), "error")
            return
        profile = _with_stage(card.profile, stage)
        sheet = ReviewSheet(card.name, self.studio.state.hardware, readonly=self.studio.readonly)

        def answered(wanted: bool | None) -> None:
            if wanted:
                self._start(profile)

        self.app.push_screen(sheet, answered)
        workspace = self.studio.workspace
        states = self.studio.state.stages
        done = [name for name, known in states.items() if known.condition == "up to date"]

        def look() -> StartsRuns.Reviewed:
            return self.Reviewed(sheet, review(workspace, profile, done))

        Job("the review", look, self._hear_of_review)

    def _hear_of_review(self, message: Message) -> None:
        """From any thread: the review, or that nothing came of it."""
        (self.studio.post if isinstance(message, Done) else self.post_message)(message)

    def on_starts_runs_reviewed(self, message: Reviewed) -> None:
        """Fill the sheet in."""
        message.sheet.show(message.review)

    def _start(self, profile: "Profile") -> None:
        actions = self.studio.actions
        warnings: list[str] = []

        def begin() -> Started:
            run = actions.start(profile, warn=warnings.append)
            said = f"{run.name} has started; it goes on without the studio"
            return Started(run.name, "\n".join([said, *warnings]))

        self.in_background(begin, "start")
        self.watch_run()

    def watch_run(self) -> None:
        """Bring what shows the run to the front."""

    def pick_profile(self) -> None:
        """Choose the profile that the next run starts with."""
        from gptstudio.app.dialogs.pick import Pick

        card = self.studio.state.profile
        own = self.studio.workspace.profiles
        rows = [
            Row(
                name,
                Content(steady(name)),
                name,
                Content.styled(_origin(path, own), "$muted"),
            )
            for name, path in (card.catalogue if card else {}).items()
        ]

        def picked(name: str | None) -> None:
            if name:
                self.studio.sources.show_profile(name)

        chosen = card.name if card else ""
        self.app.push_screen(Pick("Profile", rows, chosen=chosen), picked)

    def action_edit_profile(self) -> None:
        """Open the profile in $EDITOR; a shipped one is copied into the workspace first."""
        import os
        import shlex
        import subprocess

        card = self.studio.state.profile
        if card is None or card.path is None:
            return
        try:
            self.studio.actions.allow("to edit a profile")
            path = _own_copy(card.path, self.studio.workspace.profiles)
            editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
            with self.app.suspend():
                subprocess.run([*editor, str(path)], check=False)
        except UserError as error:
            self.studio.say(str(error), "warning")
        except (OSError, ValueError, SuspendNotSupported) as error:
            self.studio.say(f"the editor cannot be started: {error}; set $EDITOR", "error")
        self.app.refresh()
        self.studio.sources.wake("profile")


def _with_stage(profile: "Profile", stage: str) -> "Profile":
    only = {"only": stage or None}
    return profile.model_copy(update={"pipeline": profile.pipeline.model_copy(update=only)})


def _own_copy(path: Path, folder: Path) -> Path:
    if path.parent == folder:
        return path
    folder.mkdir(exist_ok=True)
    write_atomic(folder / path.name, path.read_bytes())
    return folder / path.name


def _origin(path: Path, own: Path) -> str:
    return "in this workspace" if path.parent == own else "comes with gptstudio"
