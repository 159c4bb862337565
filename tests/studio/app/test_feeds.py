"""Sources that fail, hang and rest; jobs that fail; and an end that waits for none of them."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gptcore.workspace import Workspace
from gptstudio.app import feeds
from gptstudio.app.feeds import STALE_SECONDS, Feed, Freshness, Heard, Unheard
from gptstudio.app.jobs import Done, Job
from gptstudio.app.studio import Studio
from gptstudio.app.widgets.pane import Pane
from gptstudio.services.hardware import Hardware, HardwareMonitor
from gptstudio.services.metrics import MetricsReader
from tests.conftest import wait_for
from tests.studio.app.records import HOST, record
from tests.studio.app.screens import StudioPilot, drive, shown, until


class Trouble:
    """Stands before the look at the hardware: raises, hangs, or lets it pass; counts the looks."""

    def __init__(self) -> None:
        self.raises: Exception | None = None
        self.hangs = False
        self.let_go = threading.Event()
        self.looks = 0

    def read(self, *_: object) -> Hardware:
        self.looks += 1
        if self.hangs:
            self.let_go.wait(60)
        if self.raises:
            raise self.raises
        return Hardware((), "no GPU here", HOST, 0.0)


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trouble]:
    made = Trouble()
    monkeypatch.setattr(HardwareMonitor, "read", made.read)
    yield made
    made.let_go.set()


@pytest.fixture
def stale_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stale after half a second and an interval and a half."""
    monkeypatch.setattr(feeds, "STALE_SECONDS", 0.5)
    monkeypatch.setattr(feeds, "STALE_INTERVALS", 1.5)


def pane(studio: Studio, name: str) -> Pane:
    return next(pane for pane in studio.screen.query(Pane) if pane.name_of_pane == name)


def is_stale(studio: Studio, name: str) -> bool:
    return "stale since" in str(pane(studio, name).border_subtitle)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (RuntimeError("[bold]the driver\x1b[2J fell"), "RuntimeError: [bold]the driver\\x1b[2J"),
        (OSError(5, "Input/output error", "/sys/x"), "Input/output error: /sys/x"),
    ],
    ids=["any", "os"],
)
@pytest.mark.usefixtures("stale_soon")
def test_a_source_that_raises_marks_its_pane_and_recovers(
    workspace: Workspace, trouble: Trouble, error: Exception, why: str
) -> None:
    run = record(workspace, "r-1", steps=100)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: "no GPU here" in shown(studio))
        trouble.raises = error
        await until(pilot, lambda: is_stale(studio, "GPU and host"))
        await until(pilot, lambda: why in shown(studio))
        assert "no GPU here" in shown(studio)  # what was last known stays
        # The others go on.
        record(workspace, "r-2", days=1)
        await until(pilot, lambda: len(studio.state.runs) == 2)
        studio.choose_run("r-2")
        await until(pilot, lambda: "loss 2.32" in shown(studio))
        assert not is_stale(studio, "Runs")
        assert not is_stale(studio, "Loss")
        trouble.raises = None
        await until(pilot, lambda: not is_stale(studio, "GPU and host"))

    drive(workspace, script)
    assert run.status.exists()


@pytest.mark.usefixtures("stale_soon")
def test_a_source_that_has_never_spoken_is_told_too(workspace: Workspace, trouble: Trouble) -> None:
    trouble.raises = RuntimeError("from the start")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: is_stale(studio, "GPU and host"))
        assert "from the start" in str(pane(studio, "GPU and host").border_subtitle)

    drive(workspace, script)


@pytest.mark.usefixtures("stale_soon")
@pytest.mark.parametrize("from_the_start", [False, True])
def test_a_source_that_hangs_is_stale_and_holds_up_neither_keys_nor_the_end(
    workspace: Workspace, trouble: Trouble, from_the_start: bool
) -> None:
    record(workspace, "r-1")
    trouble.hangs = from_the_start

    async def script(studio: Studio, pilot: StudioPilot) -> float:
        if not from_the_start:
            await until(pilot, lambda: "no GPU here" in shown(studio))
            trouble.hangs = True
        await until(pilot, lambda: is_stale(studio, "GPU and host"))
        assert "stale since" in shown(studio)
        first = str(pane(studio, "GPU and host").border_subtitle)
        await until(pilot, lambda: str(pane(studio, "GPU and host").border_subtitle) != first)
        await pilot.press("4")
        await until(pilot, lambda: studio.current_mode == "logs")
        await pilot.press("1")
        await until(pilot, lambda: studio.current_mode == "train")
        began = time.monotonic()
        await pilot.press("ctrl+q")
        await until(pilot, lambda: studio.return_code == 0)
        return began

    began = drive(workspace, script)
    assert time.monotonic() - began < 2


@pytest.mark.usefixtures("stale_soon")
def test_runs_that_cannot_be_listed_mark_their_pane(workspace: Workspace) -> None:
    record(workspace, "r-1")
    aside = workspace.root / "aside"

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        workspace.logs.rename(aside)
        workspace.logs.write_text("no folder")
        await until(pilot, lambda: is_stale(studio, "Runs"))
        assert f"Not a directory: {workspace.logs}" in str(pane(studio, "Runs").border_subtitle)
        assert "r-1" in shown(studio)
        workspace.logs.unlink()
        aside.rename(workspace.logs)
        await until(pilot, lambda: not is_stale(studio, "Runs"))

    drive(workspace, script)


def test_a_job_that_fails_unforeseen_is_said_and_the_studio_lives(workspace: Workspace) -> None:
    record(workspace, "r-1", "stopped", steps=100)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        def work() -> Done:
            raise ZeroDivisionError("[red]nobody thought of it\x1b[2J")

        Job("the job", work, studio.post)
        said = "the job failed: ZeroDivisionError"
        await until(pilot, lambda: said in shown(studio))
        assert "[red]nobody" in shown(studio)
        await pilot.press("3")
        await until(pilot, lambda: studio.current_mode == "monitor")

    drive(workspace, script)


def test_an_action_that_fails_unforeseen_is_said_and_the_studio_lives(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(workspace, "r-1", "stopped", steps=100)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        def fail(*_: object, **__: object) -> None:
            raise ZeroDivisionError("nobody thought of it")

        monkeypatch.setattr(studio.actions, "resume", fail)
        await until(pilot, lambda: studio.state.status)
        await pilot.press("R")
        await until(pilot, lambda: "Resume r-1" in shown(studio))
        await pilot.press("enter")
        await until(pilot, lambda: "failed: ZeroDivisionError: nobody" in shown(studio))
        await pilot.press("2")
        await until(pilot, lambda: studio.current_mode == "data")

    drive(workspace, script)


def test_the_feeds_of_hidden_screens_rest(workspace: Workspace, trouble: Trouble) -> None:
    record(workspace, "r-1")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        feeds = studio.sources.feeds
        await until(pilot, lambda: "no GPU here" in shown(studio))
        await pilot.press("4")
        await until(pilot, lambda: not feeds["hardware"].is_wanted)
        assert feeds["runs"].is_wanted
        assert not feeds["metrics"].is_wanted
        await pilot.pause(0.3)  # a look that was under way
        looks = trouble.looks
        await pilot.pause(1.5)
        assert trouble.looks == looks
        await pilot.press("3")
        await until(pilot, lambda: trouble.looks > looks)
        assert feeds["metrics"].is_wanted
        assert not feeds["datasets"].is_wanted
        assert not is_stale(studio, "GPU and host")

    drive(workspace, script)


def test_a_rested_feed_is_not_stale_when_it_is_looked_at_again(
    workspace: Workspace, trouble: Trouble, stale_soon: None
) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: "no GPU here" in shown(studio))
        await pilot.press("5")
        await until(pilot, lambda: not studio.sources.feeds["hardware"].is_wanted)
        await pilot.pause(2.0)
        trouble.hangs = True
        await pilot.press("1")
        await until(pilot, lambda: studio.current_mode == "train")
        await pilot.pause(0.2)
        assert not is_stale(studio, "GPU and host")
        await until(pilot, lambda: is_stale(studio, "GPU and host"))

    drive(workspace, script)


def test_curves_that_cannot_be_read_say_so(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, stale_soon: None
) -> None:
    record(workspace, "r-1")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: "loss 2.32" in shown(studio))

        def fail(*_: object) -> None:
            raise OSError(116, "Stale file handle", "events.jsonl")

        monkeypatch.setattr(MetricsReader, "read", fail)
        await until(pilot, lambda: is_stale(studio, "Loss"))
        assert "Stale file handle" in str(pane(studio, "Loss").border_subtitle)
        assert "loss 2.32" in shown(studio)

    drive(workspace, script)


# --- the feed itself -----------------------------------------------------------------------------


class Box:
    """Takes messages as the app does."""

    def __init__(self) -> None:
        self.messages: list[Heard | Unheard] = []
        self.taken: Callable[[], None] = lambda: None

    def post(self, message: object) -> None:
        assert isinstance(message, Heard | Unheard)
        self.messages.append(message)
        self.taken()

    def holds(self, count: int) -> None:
        wait_for(lambda: len(self.messages) >= count, 10)


@pytest.fixture
def feed_of() -> Iterator[Callable[..., tuple[Feed, Box]]]:
    made: list[Feed] = []

    def make(ask: Callable[[], object], interval: float = 0.01) -> tuple[Feed, Box]:
        box = Box()
        made.append(Feed("runs", ask, interval, box.post))
        box.taken = made[-1].taken
        return made[-1], box

    yield make
    for feed in made:
        feed.end()


def test_a_feed_asks_while_it_is_wanted(feed_of: Callable[..., tuple[Feed, Box]]) -> None:
    feed, box = feed_of(lambda: 7)
    feed.want(True)
    box.holds(3)
    feed.want(False)
    time.sleep(0.1)
    count = len(box.messages)
    time.sleep(0.1)
    assert len(box.messages) == count
    feed.want(True)
    box.holds(count + 2)
    assert all(isinstance(each, Heard) and each.value == 7 for each in box.messages)


def test_a_feed_outlives_whatever_its_source_raises(
    feed_of: Callable[..., tuple[Feed, Box]],
) -> None:
    answers = iter([RecursionError("deep"), MemoryError(), KeyError("k"), StopIteration(), 7])

    def ask() -> object:
        answer = next(answers, 7)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    feed, box = feed_of(ask)
    feed.want(True)
    box.holds(6)
    assert [type(each) for each in box.messages[:5]] == [Unheard] * 4 + [Heard]
    assert all(each.reason for each in box.messages[:4] if isinstance(each, Unheard))


def test_a_feed_that_is_woken_asks_at_once(feed_of: Callable[..., tuple[Feed, Box]]) -> None:
    feed, box = feed_of(lambda: 7, interval=60)
    feed.want(True)
    box.holds(1)
    feed.wake()
    box.holds(2)
    feed.end()


def test_a_feed_waits_until_its_message_is_taken(feed_of: Callable[..., tuple[Feed, Box]]) -> None:
    feed, box = feed_of(lambda: 7)
    box.taken = lambda: None
    feed.want(True)
    box.holds(1)
    time.sleep(0.1)
    assert len(box.messages) == 1
    feed.taken()
    box.holds(2)


def test_staleness_is_told_after_some_seconds_and_a_rest_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(feeds.time, "monotonic", lambda: now[0])
    freshness = Freshness()
    assert freshness.age("runs", 0.5) == 0
    freshness.heard("runs")
    now[0] += STALE_SECONDS
    assert freshness.age("runs", 0.5) == 0
    now[0] += 1
    assert freshness.age("runs", 0.5) == STALE_SECONDS + 1
    assert freshness.age("runs", 60) == 0
    freshness.unheard("runs", "why")
    assert (freshness.age("runs", 0.5), freshness.reason("runs")) == (STALE_SECONDS + 1, "why")
    freshness.restart("runs")
    assert freshness.age("runs", 0.5) == 0
    freshness.heard("runs")
    assert freshness.reason("runs") == ""


def test_a_post_after_the_end_does_no_harm(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> Studio:
        await pilot.press("ctrl+q")
        return studio

    studio = drive(workspace, script)
    studio.post(Heard("runs", []))  # as a thread does that was in the middle of a question
