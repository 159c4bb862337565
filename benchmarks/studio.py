"""What the studio takes: time, memory, processor and bytes, in a real pseudo-terminal.

    python benchmarks/studio.py [--quick]

A bare Textual app runs beside it in the same session. Runs, logs and data are made up in a
temporary folder: a run that writes 1,000 events a second, a record of 1,000,000 events, a log of
2 GB, a data folder of 100 files and 10 GB (links to one file). `--quick` takes a tenth of those.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from gptcore import events
from gptcore.control import FileLock
from gptcore.status import Status, write_status
from gptcore.workspace import RunPaths, Workspace, make_private_dir

sys.path.append(str(Path(__file__).parent))  # last: the standard library comes first
from terminal import Terminal

GPTSTUDIO = str(Path(sys.executable).with_name("gptstudio"))
SIZE = (120, 40)
#: The first bytes of a braille pattern in UTF-8: a curve is on the screen.
BRAILLE = (b"\xe2\xa1", b"\xe2\xa2", b"\xe2\xa3")
NEEDLE = "bare-app-is-painted"
BARE = f"""
from textual.app import App
from textual.widgets import Footer, Header, Label
class Bare(App):
    BINDINGS = [("q", "quit", "Quit")]
    def compose(self):
        yield Header()
        yield Label({NEEDLE!r})
        yield Footer()
Bare().run()
"""

Row = tuple[str, str, str]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    options.add_argument("--only", default="", help="the name of one measurement")
    options.add_argument("--writer", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.writer:
        write_forever(*chosen.writer.split(","))
        return
    scale = 0.1 if chosen.quick else 1.0
    measurements: dict[str, Callable[[float], Iterator[Row]]] = {
        "start": starting,
        "keys": keys,
        "million": million_events,
        "log": long_log,
        "data": large_data,
        "idle": idle,
    }
    print(f"{'what':<58} {'measured':>22}   budget")
    for name, measure in measurements.items():
        if chosen.only in ("", name):
            for what, measured, budget in measure(scale):
                print(f"{what:<58} {measured:>22}   {budget}", flush=True)


# What is measured


def starting(scale: float) -> Iterator[Row]:
    """From exec to the first usable screen, in turns with a bare app; and two that open none."""
    with workspace_with("demo-1") as workspace:
        bare, studio = [], []
        for _ in range(9):
            bare.append(_first_screen([sys.executable, "-c", BARE], workspace, NEEDLE))
            studio.append(_first_screen([GPTSTUDIO], workspace, "demo-1"))
        ratios = [own / other for own, other in zip(studio, bare, strict=True)]
        yield "a bare Textual app: exec to painted", _seconds(bare), ""
        yield "the studio: exec to the run on the screen", _seconds(studio), "0.7 s"
        yield "  as a multiple of the bare app beside it", _median(ratios, "x"), "1.8x"
    for word in ("--help", "--version"):
        times = []
        for _ in range(7):
            began = time.perf_counter()
            subprocess.run([GPTSTUDIO, word], stdout=subprocess.DEVNULL, check=True)
            times.append(time.perf_counter() - began)
        yield f"gptstudio {word}", _seconds(times), "0.4 s"


def keys(scale: float) -> Iterator[Row]:
    """From a key to what it changed, while a run writes 1,000 events a second."""
    with workspace_with("demo-1") as workspace, writer(workspace, "busy-1", 1000):
        for number in range(40):
            (workspace.datasets / f"file-{number:03d}.txt").write_text("some text\n")
        with studio(workspace, "busy-1") as terminal:
            terminal.wait_for(*BRAILLE)
            terminal.send("\t\t\t\t")  # from the runs to the datasets
            time.sleep(2.0)
            moves = _press_through(terminal, count=round(150 * max(scale, 0.3)))
            yield "key to painted at 1,000 events/s, median", _ms(statistics.median(moves)), "30 ms"
            yield "  95th percentile", _ms(_percentile(moves, 0.95)), "80 ms"
            opening = [_opened(terminal, key, needle) for key, needle in SCREEN_KEYS * 3]
            yield "going to another screen, median", _ms(statistics.median(opening[4:])), ""


SCREEN_KEYS = [("3", "Learning rate"), ("4", "training.log"), ("2", "Preview"), ("1", "Stages")]


def million_events(scale: float) -> Iterator[Row]:
    """A long record: to the first plot, and to the whole curve."""
    count = round(1_000_000 * scale)
    with workspace_with("a-1") as workspace:
        size = write_record(workspace.run("long-1"), count)
        age(workspace, "long-1")
        with studio(workspace, "a-1") as terminal:
            time.sleep(1.5)
            began = terminal.send("j")
            first = terminal.wait_for(*BRAILLE, since=began)
            ends = (f"{count * 9 // 10_000}k", "0.9M", "1M", "1.0M")  # the axis's last label
            whole = terminal.wait_for(*map(str.encode, ends), since=began, timeout=20)
            memory = _memory(terminal)
        what = f"opening a run of {count:,} events ({size / 1e6:.0f} MB): first plot"
        yield what, f"{first - began:.2f} s", "1 s"
        yield "  the axis reaches the last step", f"{whole - began:.2f} s", ""
        yield "  memory, app and data worker, after it", memory, "100 MB"


def long_log(scale: float) -> Iterator[Row]:
    """A log of 2 GB: its end, a search through it, and giving one up."""
    with workspace_with("a-1") as workspace:
        size = write_log(workspace.run("a-1").log, round(2e9 * scale))
        with studio(workspace, "a-1") as terminal:
            time.sleep(1.5)
            began = terminal.send("4")
            end = terminal.wait_for(b"the-very-last-line", since=began)
            yield f"opening a log of {size / 1e9:.1f} GB at its end", _ms(end - began), "200 ms"
            began = terminal.send("/no such word\r")
            done = terminal.wait_for(b"not found", since=began, timeout=120)
            rate = size / (done - began) / 1e6
            yield "searching all of it", f"{done - began:.1f} s, {rate:.0f} MB/s", "streaming"
            terminal.send("/no such word\r")
            time.sleep(0.25)
            began = terminal.send("\x1b")
            given_up = terminal.wait_for(b"search cancelled", since=began, timeout=10)
            yield "giving a search up", _ms(given_up - began), "cancellable"


def large_data(scale: float) -> Iterator[Row]:
    """100 files, 10 GB: the tree at once, counts as they come."""
    with workspace_with("a-1") as workspace:
        first = workspace.datasets / "file-000.txt"
        write_log(first, round(1e8 * scale))
        for number in range(1, 100):
            os.link(first, workspace.datasets / f"file-{number:03d}.txt")
        total = 100 * first.stat().st_size
        with studio(workspace, "a-1") as terminal:
            time.sleep(1.5)
            began = terminal.send("2")
            tree = terminal.wait_for(b"file-000.txt", since=began)
            what = f"a data folder of 100 files, {total / 1e9:.0f} GB: tree"
            yield what, _ms(tree - began), "at once"
            counted = terminal.wait_for(b"lines", since=began, timeout=60)
            yield "  the first counts", f"{counted - began:.1f} s", "fill in"


def idle(scale: float) -> Iterator[Row]:
    """Monitor with a live run: processor, bytes, and memory as time goes on."""
    seconds = 60.0 * max(scale, 0.25)
    with workspace_with("a-1") as workspace, writer(workspace, "live-1", 3):
        write_record(workspace.run("a-1"), 100_000)
        with studio(workspace, "live-1") as terminal:
            terminal.send("3")
            terminal.wait_for(b"Learning rate")
            time.sleep(5.0)
            used, sent = _rest(terminal, seconds)
            yield "processor on Monitor, a run of 3 steps/s", f"{used:.1%} of a core", "5 %"
            yield "bytes to the terminal there", f"{sent / 1000:.1f} KB/s", "20 KB/s"
            early = _memory(terminal)
    with (
        workspace_with("a-1") as workspace,
        writer(workspace, "live-1", 1000),
        studio(workspace, "live-1") as terminal,
    ):
        terminal.send("3")
        terminal.wait_for(b"Learning rate")
        time.sleep(5.0)
        used, sent = _rest(terminal, seconds)
        late = _memory(terminal)
        yield "processor on Monitor, 1,000 steps/s", f"{used:.1%} of a core", ""
        yield "bytes to the terminal there", f"{sent / 1000:.1f} KB/s", "20 KB/s"
        yield "memory, app and data worker, after the quiet run", early, "100 MB"
        yield "  after the busy one", late, "100 MB"
    with bare_terminal() as terminal:
        yield "  (a bare app's)", _memory(terminal), ""


# How


@contextmanager
def workspace_with(*runs: str) -> Iterator[Workspace]:
    """A workspace in which these runs have ended."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder).resolve())
        workspace.datasets.mkdir()
        (workspace.datasets / "text.txt").write_text("some text to learn from\n" * 100)
        for name in runs:
            write_record(workspace.run(name), 0)
        yield workspace


@contextmanager
def studio(workspace: Workspace, needle: str) -> Iterator[Terminal]:
    """The studio on it, once `needle` is on its screen."""
    with Terminal([GPTSTUDIO], cwd=workspace.root, size=SIZE) as terminal:
        terminal.wait_for(needle.encode())
        yield terminal


@contextmanager
def bare_terminal() -> Iterator[Terminal]:
    """A bare app, once it is painted."""
    with Terminal([sys.executable, "-c", BARE], cwd=Path.cwd(), size=SIZE) as terminal:
        terminal.wait_for(NEEDLE.encode())
        time.sleep(1.0)
        yield terminal


@contextmanager
def writer(workspace: Workspace, run: str, rate: int) -> Iterator[None]:
    """A process that keeps the record of a live run, `rate` steps a second."""
    words = [sys.executable, __file__, "--writer", f"{workspace.root},{run},{rate}"]
    process = subprocess.Popen(words)
    try:
        while not workspace.run(run).status.exists():
            time.sleep(0.01)
        yield
    finally:
        process.kill()
        process.wait()


def write_forever(root: str, name: str, rate: str) -> None:
    """Keep the record of a live run as the engine does."""
    run = Workspace(Path(root)).run(name)
    make_private_dir(run.folder)
    lock = FileLock(run.lock)
    lock.acquire(1)
    per_second, step = int(rate), 0
    pause = 0.01 if per_second > 100 else 1 / per_second
    status = _status(name, "running")
    with run.events.open("ab", buffering=0) as file, run.log.open("ab", buffering=0) as log:
        file.write(_start_line(name))
        began = time.monotonic()
        while True:
            due = round((time.monotonic() - began) * per_second)
            file.write(b"".join(_step_line(name, number) for number in range(step, due)))
            step = due
            if time.time() - status.heartbeat > 0.5:
                log.write(f"step {step}  loss {_loss(step):.4f}\n".encode())
                status.heartbeat, status.step, status.loss = time.time(), step, _loss(step)
                write_status(run, status)
            time.sleep(pause)


def write_record(run: RunPaths, count: int) -> int:
    """The record of an ended run of `count` steps; the size of its events."""
    make_private_dir(run.folder)
    with run.events.open("wb") as file:
        file.write(_start_line(run.name))
        for start in range(0, count, 10_000):
            numbers = range(start, min(count, start + 10_000))
            file.write(b"".join(_step_line(run.name, number) for number in numbers))
    run.log.write_text("the log of a run\n")
    status = _status(run.name, "done")
    status.step = status.total_steps = count
    write_status(run, status)
    return run.events.stat().st_size


def age(workspace: Workspace, name: str) -> None:
    """Make a run older than the others."""
    status = _status(name, "done")
    status.started -= 1000
    write_status(workspace.run(name), status)


def write_log(path: Path, size: int) -> int:
    """A text of about `size` bytes."""
    block = b"".join(
        b"[12:00:%02d] step %d  loss 3.1415  all is well with this line\n" % (n % 60, n)
        for n in range(20_000)
    )
    with path.open("wb") as file:
        for _ in range(max(1, size // len(block))):
            file.write(block)
        file.write(b"the-very-last-line\n")
    return path.stat().st_size


def _status(name: str, state: str) -> Status:
    now = time.time()
    status = Status(name, "running", ["pretrain"], "pretrain", started=now, heartbeat=now)
    status.total_steps, status.device = 1_000_000, "cpu"
    status.state = state  # type: ignore[assignment]
    return status


def _loss(step: int) -> float:
    return 3.0 + 4.0 / (1 + step / 1000) + 0.1 * (step * 7919 % 100) / 100


def _start_line(name: str) -> bytes:
    start = events.StageChange("start", total_steps=1_000_000)
    return events.encode(start, time=time.time(), run=name, stage="pretrain") + b"\n"


def _step_line(name: str, step: int) -> bytes:
    norm = 1.0 + step % 7 / 10
    payload = events.Step(_loss(step), 1e-3, norm, step * 8192, 6543.0, None, 1 << 29)
    return events.encode(payload, time=time.time(), run=name, stage="pretrain", step=step) + b"\n"


def _first_screen(words: list[str], workspace: Workspace, needle: str) -> float:
    with Terminal(words, cwd=workspace.root, size=SIZE) as terminal:
        return terminal.wait_for(needle.encode()) - terminal.began


def _press_through(terminal: Terminal, count: int) -> list[float]:
    """Go up and down the datasets; the row that the cursor comes to is painted again."""
    times = []
    for number in range(count):
        down = number // 15 % 2 == 0
        began = terminal.send("j" if down else "k")
        times.append(terminal.wait_for(b"file-0", since=began, timeout=5) - began)
        time.sleep(0.05 + 0.1 * (number * 7919 % 10) / 10)
    return times


def _opened(terminal: Terminal, key: str, needle: str) -> float:
    time.sleep(0.4)
    began = terminal.send(key)
    return terminal.wait_for(needle.encode(), since=began) - began


def _rest(terminal: Terminal, seconds: float) -> tuple[float, float]:
    """Share of a core and bytes a second while nobody presses anything."""
    process = psutil.Process(terminal.pid)
    before, sent = process.cpu_times(), terminal.received
    time.sleep(seconds)
    after = process.cpu_times()
    used = (after.user + after.system - before.user - before.system) / seconds
    return used, (terminal.received - sent) / seconds


def _memory(terminal: Terminal) -> str:
    """Megabytes of the app and of its data worker, each with its share of what is shared."""
    process = psutil.Process(terminal.pid)
    family = [process, *process.children(recursive=True)]
    shares = [each.memory_full_info().pss / 1e6 for each in family]
    return " + ".join(f"{share:.0f}" for share in shares) + " MB"


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, round(share * len(values)))]


def _median(values: list[float], unit: str) -> str:
    return f"{statistics.median(values):.2f}{unit} ({min(values):.2f}-{max(values):.2f})"


def _seconds(values: list[float]) -> str:
    return _median(values, " s")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


if __name__ == "__main__":
    main()
