"""The app: modes, keys, the state that screens show, and the sources that fill it."""

import gc
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import App, SystemCommand
from textual.events import Event, Key
from textual.message import Message
from textual.screen import Screen

from gptcore.events import Warn
from gptcore.status import LIVE, Status
from gptcore.text import steady
from gptcore.workspace import Workspace
from gptstudio.app.ascii import AsciiFilter
from gptstudio.app.feeds import Freshness, Heard, Source, Unheard
from gptstudio.app.jobs import Done, Started
from gptstudio.app.keys import KEYS, bindings, label
from gptstudio.app.screens.base import SMALLEST, StudioScreen
from gptstudio.app.sources import INTERVALS, Sources
from gptstudio.app.state import State
from gptstudio.app.themes import DARK, LIGHT
from gptstudio.app.widgets.bars import SCREENS
from gptstudio.services.run_actions import RunActions
from gptstudio.services.runs import choose_run

if TYPE_CHECKING:
    from textual.notifications import SeverityLevel

    from gptstudio.services.data_answers import Answer
    from gptstudio.services.metrics import Metrics
    from gptstudio.services.runs import Runs


#: Lines of passing news that are shown, and characters of each: it must not hide the screen.
MOST_NEWS = 8
LONGEST_NEWS = 300


def _train() -> Screen[None]:
    from gptstudio.app.screens.train import TrainScreen

    return TrainScreen()


def _data() -> Screen[None]:
    from gptstudio.app.screens.data import DataScreen

    return DataScreen()


def _monitor() -> Screen[None]:
    from gptstudio.app.screens.monitor import MonitorScreen

    return MonitorScreen()


def _logs() -> Screen[None]:
    from gptstudio.app.screens.logs import LogsScreen

    return LogsScreen()


def _chat() -> Screen[None]:
    from gptstudio.app.screens.chat import ChatScreen

    return ChatScreen()


class Studio(App[None], inherit_bindings=False):
    """The studio on one workspace.

    Args:
        workspace: What it shows.
        readonly: Whether it only looks on.
        ascii_only: Whether it draws with ASCII alone.
    """

    TITLE = "gptstudio"
    CSS_PATH = "studio.tcss"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "train": _train,
        "data": _data,
        "monitor": _monitor,
        "logs": _logs,
        "chat": _chat,
    }
    DEFAULT_MODE = "train"
    BINDINGS = bindings("everywhere")

    def __init__(
        self, workspace: Workspace, *, readonly: bool = False, ascii_only: bool = False
    ) -> None:
        super().__init__()
        self.workspace = workspace
        self.readonly = readonly
        self.ascii_only = ascii_only
        self.actions = RunActions(workspace, readonly=readonly)
        self.state = State()
        self.sources = Sources(workspace, self.post)
        self._freshness = Freshness()
        self._started = ""  # from here, and not seen among the runs yet
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        # Chosen before anything is styled, it need not all be styled a second time.
        self.set_reactive(App.theme, DARK.name)
        self.stylesheet.set_variables(self.get_css_variables())
        if ascii_only:
            self.add_class("-ascii")
            self._filters.append(AsciiFilter())

    async def on_event(self, event: Event) -> None:
        """Obey keys one after the other.

        On a slow line several come at once. Textual hands each to what has the focus, and what the
        first one changes comes too late for the second: the words typed behind a search's key
        would be taken for commands.
        """
        if isinstance(event, Key) and self._is_too_small() and event.key != "ctrl+q":
            return  # what a key would do cannot be seen
        if isinstance(event, Key) and not event.is_forwarded and not self._is_typing():
            active = self.screen.active_bindings.get(event.key)
            if active is not None and active.enabled:
                await self.run_action(active.binding.action, active.node)
                return
        await super().on_event(event)

    def _is_too_small(self) -> bool:
        return self.size.width < SMALLEST[0] or self.size.height < SMALLEST[1]

    def _is_typing(self) -> bool:
        """Whether a text field has the focus: then all keys are its own, in their order."""
        return self.focused is not None and self.focused.check_consume_key("a", "a")

    def on_mount(self) -> None:
        """Ask for the runs at once, for the rest when there is something to show it on."""
        self.sources.want(frozenset({"runs"}))
        self.call_after_refresh(self._first_screen_is_there)
        self.set_interval(1.0, self._tick)

    def _first_screen_is_there(self) -> None:
        gc.enable()
        gc.freeze()  # what has come stays: it need not be looked at again and again
        self._want()

    def on_unmount(self) -> None:
        """Runs go on; the threads that looked at them need not."""
        self.sources.end()

    def post(self, message: Message) -> None:
        """Take a message from any thread, also while the app is going down."""
        try:
            self.post_message(message)
        except RuntimeError:  # the loop is closed
            self.sources.end()

    # What the sources say

    def on_heard(self, message: Heard) -> None:
        """Keep what a source said and let the screen show it."""
        self._freshness.heard(message.source)
        self.sources.taken(message.source)
        if message.value is None:
            return
        match message.source:
            case "runs":
                self._take_runs(message.value)
            case "profile":
                self.state.profile, self.state.stages = message.value, {}
                self.sources.know_profile(message.value)
                self.look_at_stages()
            case "metrics":
                self._take_metrics(message.value)
            case "datasets":
                self.state.datasets = message.value
                self.look_at_stages()
            case "worker":
                self._take_answers(message.value)
            case source:
                setattr(self.state, source, message.value)
        self._tell(message.source)

    def _take_runs(self, heard: "Runs") -> None:
        before, runs = self.state.runs, heard.all
        outputs = [run.outputs for run in before]
        self.state.runs, self.state.run_profiles = runs, heard.profiles
        self.state.last_words = heard.last_words
        self.state.heard_runs = True
        self._say_what_ended(before, runs)
        self.sources.know_runs(runs)
        if self.state.status is not None:
            self._started = ""
        elif self.state.chosen != self._started or not self._started:
            self._choose(choose_run(runs))
        if outputs != [run.outputs for run in runs]:  # a stage has ended
            self.look_at_stages()

    def _say_what_ended(self, before: list[Status], runs: list[Status]) -> None:
        now = {run.run: run for run in runs}
        for run in before:
            if run.state not in LIVE:
                continue
            if run.run not in now:
                pids = f"{run.supervisor_pid} {run.stage_pid or ''}".strip()
                said = f"the record of {run.run} is gone; its processes may still run: {pids}"
                self.say(said, "error")
            elif (state := now[run.run].state) not in LIVE:
                ended_well = state in ("done", "stopped")
                self.say(f"{run.run} is {state}", "information" if ended_well else "error")

    def _take_metrics(self, heard: "dict[str, Metrics]") -> None:
        """Keep the curves, and pass on warnings that are news."""
        before = self.state.metrics.get(self.state.chosen)
        self.state.metrics = heard
        now = heard.get(self.state.chosen)
        if before is None or now is None or before.share < 1.0:
            return  # what is read of the past is no news
        new = now.num_recent - before.num_recent
        for event in now.recent[-new:] if new > 0 else ():
            payload = event.payload()
            if isinstance(payload, Warn):
                self.say(payload.message, "warning")

    def _take_answers(self, answers: "list[Answer]") -> None:
        from gptstudio.services.data_answers import Counted, Failure, StagesFound

        self.state.answers = answers
        for answer in answers:
            match answer:
                case StagesFound():
                    self.state.stages = {stage.stage: stage for stage in answer.stages}
                    self.state.stages_problem = ""
                case Counted():
                    self.state.counts[answer.path] = answer.counts
                case Failure(path=None):
                    self.state.stages_problem = answer.reason
                case Failure(path=str(path)):
                    self.state.uncounted[path] = answer.reason

    def look_at_stages(self) -> None:
        """Ask which stages are up to date."""
        card = self.state.profile
        if card is not None and card.path is not None and card.error is None:
            self.sources.data.stages(card.path)

    def on_unheard(self, message: Unheard) -> None:
        """A source failed: its panes will say so."""
        self._freshness.unheard(message.source, message.reason)
        self.sources.taken(message.source)

    def on_done(self, message: Done) -> None:
        """Say it, and look at the runs again."""
        self.say(message.said, "error" if message.failed else "information")
        self.sources.wake("runs")

    def on_started(self, message: Started) -> None:
        """A run has been started from here: show it, whatever was shown before."""
        self._started = message.run
        self._choose(message.run)
        self.say(message.said)
        self.sources.wake("runs")

    def staleness(self, source: Source) -> tuple[float, str]:
        """Seconds for which a source has been silent (0: it is fresh), and why."""
        interval = INTERVALS[source]
        return self._freshness.age(source, interval), self._freshness.reason(source)

    def _tell(self, source: Source) -> None:
        screen = self._studio_screen()
        if screen is None or not screen.is_whole:
            return
        if source == "runs":
            screen.hear_runs()
        elif source in screen.SOURCES:
            screen.hear(source)

    def _tick(self) -> None:
        """Once a second: ages grow also where nothing is said."""
        if (screen := self._studio_screen()) is not None and screen.is_whole:
            screen.hear_runs()
            screen.mark_stale()

    def _studio_screen(self) -> StudioScreen | None:
        """The screen of ours that is shown, also under a dialog."""
        found = [screen for screen in self.screen_stack if isinstance(screen, StudioScreen)]
        return found[-1] if found else None

    def _want(self) -> None:
        screen = self._studio_screen()
        needed: frozenset[Source] = screen.SOURCES if screen else frozenset({"metrics", "profile"})
        for source, feed in self.sources.feeds.items():
            if source in needed and not feed.is_wanted:
                self._freshness.restart(source)
        self.sources.want(needed | {"runs"})

    # The chosen run

    def choose_run(self, name: str) -> None:
        """Show this run from now on, whatever starts later."""
        self._choose(name)
        self._tell("runs")

    def _choose(self, name: str) -> None:
        if name == self.state.chosen:
            return
        self.state.chosen = name
        if self.state.overlay == name:
            self.state.overlay = ""
        self.show_metrics()

    def show_metrics(self) -> None:
        """Read the curves of the chosen run and the overlay."""
        state = self.state
        self.sources.show_runs([run for run in (state.chosen, state.overlay) if run])

    # Actions

    def action_open(self, mode: str) -> None:
        """Go to a screen; it is made when first opened."""
        if self.current_mode == mode:
            return
        while isinstance(self.screen, Screen) and self.screen.is_modal:
            self.pop_screen()
        self.switch_mode(mode)
        self.call_after_refresh(self._want)

    def action_turn(self, by: int) -> None:
        """Go to the screen before or after this one."""
        modes = [mode for mode, _ in SCREENS]
        self.action_open(modes[(modes.index(self.current_mode) + by) % len(modes)])

    def action_help(self) -> None:
        """Show every key."""
        from gptstudio.app.dialogs.help import Help

        if not isinstance(self.screen, Help):
            screen = self._studio_screen()
            self.push_screen(Help(screen.SCOPES if screen else ()))

    def action_say_how_to_quit(self) -> None:
        """Ctrl-C is for a person's fingers, not for a run."""
        self.say("ctrl+q leaves the studio; runs go on")

    async def action_quit(self) -> None:
        """Leave; runs that live go on, and are named on the way out."""
        from gptstudio.summary import command

        live = [run.run for run in self.state.runs if run.state in LIVE]
        said = None
        if live:
            names = ", ".join(steady(name) for name in live)
            goes = "goes" if len(live) == 1 else "go"
            said = f"{names} {goes} on; back to it: {command(self.workspace)}"
        self.exit(message=said)

    def _fatal_error(self) -> None:
        """Close with a sentence in place of Textual's pages of locals."""
        from rich.text import Text

        from gptstudio.app.crash import crash_report

        error = sys.exception()
        if error is not None:
            said = crash_report(error, self.workspace.logs)
            self.panic(Text(steady(said, lines=True)))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every key that works here, by name."""
        active = {
            binding.id: (node, binding)
            for node, binding, enabled, _ in screen.active_bindings.values()
            if enabled
        }
        for key in KEYS:
            if key.id in active:
                node, binding = active[key.id]
                yield SystemCommand(
                    f"{key.description}  ({label(key)})",
                    key.group,
                    _runs(self, binding.action, node),
                )
        yield SystemCommand("Theme", "Dark or light", self.action_turn_theme)

    def action_turn_theme(self) -> None:
        """Dark to light and back."""
        self.theme = LIGHT.name if self.theme == DARK.name else DARK.name

    def say(self, text: str, severity: "SeverityLevel" = "information") -> None:
        """Passing news; outside text is fine."""
        lines = steady(text, lines=True).splitlines()
        said = "\n".join(line[:LONGEST_NEWS] for line in lines[:MOST_NEWS])
        self.notify(said, severity=severity, markup=False)


def _runs(app: Studio, action: str, node: Any) -> Callable[[], Any]:
    async def run() -> None:
        await app.run_action(action, cast(Any, node))

    return run
