"""The studio in a real terminal, on real runs: killed, hung up, left, and without a terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptcore.status import observe
from gptcore.workspace import RunPaths, Workspace
from tests.conftest import SMOKE, steps_of, wait_for
from tests.e2e.conftest import GPTSTUDIO

pytestmark = pytest.mark.slow

BRAILLE = re.compile("[\u2801-\u28ff]")
#: Seconds after which whoever comes back sees the run and its curve, on a machine under load.
SEEN_WITHIN = 5.0
MODES = {
    "?1049": "the alternate screen",
    "?1000": "the mouse",
    "?1003": "the mouse",
    "?2004": "paste",
}


class Terminal:
    """`gptstudio` in a pseudo-terminal of 100 by 30."""

    def __init__(self, workspace: Workspace, *words: str, **environment: str) -> None:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
        plain |= {"TERM": "xterm-256color", "LANG": "C.UTF-8"} | environment
        self.began = time.monotonic()
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(workspace.root)
            os.execve(GPTSTUDIO, [GPTSTUDIO, *words], plain)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.raw = b""
        self.code: int | None = None

    @property
    def text(self) -> str:
        return self.raw.decode(errors="replace")

    def read(self, seconds: float = 0.0) -> str:
        """What has come so far, after waiting up to `seconds` for more."""
        while select.select([self.descriptor], [], [], seconds)[0]:
            try:
                more = os.read(self.descriptor, 1 << 16)
            except OSError:  # the other side is closed
                break
            if not more:
                break
            self.raw += more
            seconds = 0.0
        return self.text

    def until(self, *words: str, since: int = 0, timeout: float = 30) -> float:
        """Wait until all these words have been written; seconds since the start."""

        def are_there() -> bool:
            self.read(0.05)
            seen = self.raw[since:].decode(errors="replace")
            return all(word in seen for word in words)

        try:
            wait_for(are_there, timeout)
        except AssertionError:
            raise AssertionError(f"never came: {words}\n{self.text[-3000:]!r}") from None
        return time.monotonic() - self.began

    def press(self, keys: str) -> int:
        """Type; how much had been written before."""
        self.read()
        os.write(self.descriptor, keys.encode())
        return len(self.raw)

    def wait(self, timeout: float = 20) -> int:
        """The exit status."""

        def gone() -> tuple[int] | None:
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return (os.waitstatus_to_exitcode(status),) if pid else None

        if self.code is None:
            [self.code] = wait_for(gone, timeout)
            self.read()
        return self.code

    def kill(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def hang_up(self) -> None:
        os.close(self.descriptor)
        self.descriptor = -1

    def clean_up(self) -> None:
        if self.code is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        if self.descriptor >= 0:
            os.close(self.descriptor)


class Terminals:
    """Opens terminals, and closes them at the end whatever became of them."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.opened: list[Terminal] = []

    def open(self, *words: str, **environment: str) -> Terminal:
        self.opened.append(Terminal(self.workspace, *words, **environment))
        return self.opened[-1]


@pytest.fixture
def terminals(workspace: Workspace) -> Iterator[Terminals]:
    made = Terminals(workspace)
    yield made
    for terminal in made.opened:
        terminal.clean_up()


@pytest.fixture(autouse=True)
def a_long_profile(workspace: Workspace) -> None:
    """The studio starts with `demo`; in this workspace that is a tiny one that never ends."""
    text = SMOKE.read_text()
    text = re.sub(r'(?m)^name = "smoke"', 'name = "demo"', text)
    text = re.sub(r"(?m)^max_steps = \d+", "max_steps = 1000000", text)
    text = re.sub(r"(?m)^\[engine\]", "[engine]\nthreads = 1", text)
    workspace.profiles.mkdir()
    (workspace.profiles / "demo.toml").write_text(text)


def start(terminal: Terminal, workspace: Workspace) -> RunPaths:
    """Start a run by key, and wait until it trains."""
    terminal.until("profile ", "demo", "Start")
    terminal.press("s")
    terminal.until("s or enter start")
    terminal.press("s")
    run = workspace.run("demo-1")
    wait_for(lambda: steps_of(run) > 20, 60, run)
    return run


def goes_on(run: RunPaths) -> bool:
    seen = steps_of(run)
    wait_for(lambda: steps_of(run) > seen + 20, 30, run)
    status = observe(run)
    return status is not None and status.state == "running"


def finds(terminal: Terminal, run: RunPaths) -> float:
    """Seconds until the studio shows the run and its curve."""

    def is_seen() -> bool:
        text = terminal.read(0.02)
        return run.name in text and BRAILLE.search(text) is not None

    wait_for(is_seen, 30)
    return time.monotonic() - terminal.began


def processes_of(workspace: Workspace) -> list[str]:
    """Command lines of what looks after this workspace, runs aside."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            here = (path / "cwd").readlink() == workspace.root
        except OSError:  # it has gone, or is another person's
            continue
        mine = here or str(workspace.root) in line
        if mine and "gptstudio" in line and "gptengine" not in line:
            found.append(line)
    return found


def test_a_killed_studio_leaves_the_run_and_the_next_one_shows_it(
    workspace: Workspace, terminals: Terminals
) -> None:
    first = terminals.open()
    run = start(first, workspace)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert goes_on(run)
    wait_for(lambda: not processes_of(workspace), 10)  # the data worker has ended with it
    second = terminals.open()
    seconds = finds(second, run)
    print(f"run and curve seen after {seconds:.2f} s")
    assert seconds < SEEN_WITHIN
    second.until("running")


def test_a_closed_terminal_leaves_the_run_and_no_studio(
    workspace: Workspace, terminals: Terminals
) -> None:
    first = terminals.open()
    run = start(first, workspace)
    first.hang_up()
    wait_for(lambda: os.waitpid(first.pid, os.WNOHANG)[0], 15)
    first.code = 0
    assert goes_on(run)
    wait_for(lambda: not processes_of(workspace), 10)
    seconds = finds(terminals.open(), run)
    print(f"run and curve seen after {seconds:.2f} s")
    assert seconds < SEEN_WITHIN


def test_ctrl_q_says_that_the_run_goes_on_and_leaves_a_clean_terminal(
    workspace: Workspace, terminals: Terminals
) -> None:
    terminal = terminals.open()
    run = start(terminal, workspace)
    began = time.monotonic()
    terminal.press("\x11")
    assert terminal.wait() == 0
    print(f"left after {time.monotonic() - began:.2f} s")
    before, _, after = terminal.text.rpartition("\x1b[?1049l")
    assert "\x1b[?1049h" in before
    assert "demo-1 goes on; back to it: gptstudio" in after
    assert after.count("demo-1 goes on") == 1
    assert "Traceback" not in terminal.text
    for mode, what in MODES.items():
        on, off = terminal.text.rfind(f"\x1b[{mode}h"), terminal.text.rfind(f"\x1b[{mode}l")
        assert off >= on, f"{what} stays on"
    assert terminal.text.rfind("\x1b[?25h") > terminal.text.rfind("\x1b[?25l")
    attributes = termios.tcgetattr(terminal.descriptor)
    assert attributes[3] & termios.ECHO
    assert attributes[3] & termios.ICANON
    assert goes_on(run)
    wait_for(lambda: not processes_of(workspace), 10)


def test_a_studio_that_is_left_at_once_leaves_no_traceback(terminals: Terminals) -> None:
    for delay in (0.3, 0.5, 0.7):
        terminal = terminals.open()
        terminal.read(delay)
        terminal.until("\x1b[?1049h")
        terminal.press("\x11")
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.text
        assert "\x1b[?1049l" in terminal.text


def test_a_run_whose_processes_die_is_lost_and_the_remedy_is_told(
    workspace: Workspace, terminals: Terminals
) -> None:
    terminal = terminals.open()
    run = start(terminal, workspace)
    status = observe(run)
    assert status is not None
    since = len(terminal.raw)
    for pid in (status.supervisor_pid, status.stage_pid):
        os.kill(pid, signal.SIGKILL)
    terminal.until("demo-1 is lost: its processes ended without a word", since=since)
    terminal.until("R goes on from the last checkpoint", "its log", since=since)
    since = terminal.press("R")
    terminal.until("Resume demo-1", since=since)
    terminal.press("\r")
    wait_for(lambda: (now := observe(run)) and now.attempt == 2 and now.state == "running", 60, run)
    assert goes_on(run)


def test_the_editor_gets_the_terminal_and_gives_it_back(
    workspace: Workspace, terminals: Terminals, tmp_path: Path
) -> None:
    editor = tmp_path / "editor"
    change = 'sed -i "s/emb_dim = 32/emb_dim = 64/" "$1"'
    editor.write_text(f'#!/bin/sh\necho "the editor has $1"\nread line\n{change}\n')
    editor.chmod(0o755)
    terminal = terminals.open(VISUAL=str(editor))
    terminal.until("demo", "Start")
    terminal.until("changed")
    terminal.press("e")
    terminal.until("the editor has ")
    since = terminal.press("\n")
    terminal.until("Train", "Start", since=since)
    terminal.press("d")
    terminal.until("emb_dim", "64", since=since)
    terminal.press("q")
    terminal.press("\x11")
    assert terminal.wait() == 0


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ("< /dev/null", {}),
        ("> out; cat out", {}),
        ("", {"TERM": "dumb"}),
    ],
)
def test_without_a_terminal_the_overview_is_printed(
    workspace: Workspace, words: str, environment: dict[str, str]
) -> None:
    command = f"{GPTSTUDIO} {words}"
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        cwd=workspace.root,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"gptstudio workspace {workspace.root}"[:40] in done.stdout
    assert "next: gptstudio run" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LC_ALL": "", "LANG": "C"}, {"LANG": ""}])
def test_in_the_c_locale_every_byte_is_ascii(
    workspace: Workspace, terminals: Terminals, locale: dict[str, str]
) -> None:
    (workspace.datasets / "naïve 中.txt").write_text("é\n")
    terminal = terminals.open(**locale)
    terminal.until("Stages", "Start", "+", "|")
    for key, words in (
        ("2", "Preview"),
        ("3", "Log scale"),
        ("4", "Follow"),
        ("5", "Talking to a model"),
        ("?", "Go to Train"),
    ):
        since = terminal.press(key)
        terminal.until(words, since=since)
    since = terminal.press("q")  # an escape would wait for what may follow it
    terminal.until("Talking to a model", since=since)
    since = terminal.press("1")
    terminal.until("Datasets", since=since)
    terminal.press("\x11")
    assert terminal.wait() == 0
    odd = {byte for byte in terminal.raw if byte > 126}
    assert not odd
