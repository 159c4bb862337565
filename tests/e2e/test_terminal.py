"""The command line in a real terminal: hang-up, Ctrl-C, two watchers, and what comes out."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from gptcore.status import observe
from gptcore.workspace import Workspace
from tests.conftest import steps_of, wait_for
from tests.e2e.conftest import GPTSTUDIO, gptstudio

pytestmark = pytest.mark.slow

LONG = ("--profile", "smoke", "--set", "pretrain.max_steps=100000", "--set", "engine.threads=1")


class Terminal:
    """A command in a pseudo-terminal of 80 by 24."""

    def __init__(self, workspace: Workspace, *arguments: str) -> None:
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(workspace.root)
            os.environ.update(TERM="xterm-256color", COLUMNS="80", LINES="24")
            os.execv(GPTSTUDIO, [GPTSTUDIO, *arguments])
        self.output = ""

    def read(self, seconds: float = 0.0) -> str:
        """What has come so far, after waiting up to `seconds` for more."""
        while select.select([self.descriptor], [], [], seconds)[0]:
            try:
                raw = os.read(self.descriptor, 1 << 16)
            except OSError:  # the other side is closed
                break
            self.output += raw.decode(errors="replace")
            seconds = 0.0
        return self.output

    def until(self, text: str, timeout: float = 60) -> None:
        wait_for(lambda: text in self.read(0.05), timeout)

    def wait(self, timeout: float = 60) -> int:
        def gone() -> tuple[int] | None:
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return (os.waitstatus_to_exitcode(status),) if pid else None

        [code] = wait_for(gone, timeout)
        self.read()
        return code

    def hang_up(self) -> None:
        os.close(self.descriptor)


def test_a_hang_up_leaves_the_run_going_and_others_find_it(workspace: Workspace) -> None:
    run = workspace.run("r")
    terminal = Terminal(workspace, "run", "--name", "r", *LONG)
    wait_for(lambda: steps_of(run) > 5, 60, run)
    terminal.read(0.5)
    terminal.hang_up()
    os.waitpid(terminal.pid, 0)
    seen = steps_of(run)
    wait_for(lambda: steps_of(run) > seen + 20, 30, run)
    [found] = json.loads(gptstudio(workspace, "runs", "--json").stdout)
    assert (found["run"], found["state"]) == ("r", "running")

    watchers = [Terminal(workspace, "attach", "r") for _ in range(2)]
    for watcher in watchers:
        watcher.until("loss")
    os.write(watchers[0].descriptor, b"\x03")
    assert watchers[0].wait() == 130
    assert "the run goes on" in watchers[0].output
    assert gptstudio(workspace, "stop", "r").returncode == 0
    assert watchers[1].wait() == 3
    assert "gptstudio resume r" in watchers[1].output


def test_ctrl_c_asks_for_a_stop_and_waits_for_the_checkpoint(workspace: Workspace) -> None:
    run = workspace.run("r")
    terminal = Terminal(workspace, "run", "--name", "r", *LONG)
    wait_for(lambda: steps_of(run) > 5, 60, run)
    os.write(terminal.descriptor, b"\x03")
    assert terminal.wait() == 130
    status = observe(run)
    assert status is not None
    assert status.state == "stopped"
    assert f"step-{status.step:08d}" in os.listdir(workspace.checkpoints("r", "pretrain"))
    assert "Traceback" not in terminal.output


def test_from_raw_text_to_a_model_that_transformers_loads(workspace: Workspace) -> None:
    done = gptstudio(workspace, "run", "--profile", "smoke", "--stage", "all")
    assert done.returncode == 0, done.stderr
    assert "models/smoke-1-pretrain" in done.stdout
    assert "gptstudio generate" in done.stdout
    written = gptstudio(
        workspace, "generate", "latest", "--prompt", "the cat", "--max-tokens", "5", "--json"
    )
    answer = json.loads(written.stdout)
    assert answer["prompt"] == "the cat"
    code = (
        "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T\n"
        "name = 'models/smoke-1-pretrain'\n"
        "m, t = M.from_pretrained(name), T.from_pretrained(name)\n"
        "ids = t('the cat', return_tensors='pt')\n"
        "print(t.decode(m.generate(**ids, max_new_tokens=5, do_sample=False)[0]))"
    )
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=workspace.root,
        capture_output=True,
        text=True,
        check=True,
    )
    greedy = gptstudio(
        workspace,
        *("generate", "smoke-1", "--prompt", "the cat", "--max-tokens", "5", "--temperature", "0"),
        "--json",
    )
    assert loaded.stdout.strip() == "the cat" + json.loads(greedy.stdout)["text"].rstrip()


def test_kill_nine_and_resume_from_the_command_line(workspace: Workspace) -> None:
    settings = ("--set", "pretrain.max_steps=150", "--set", "engine.threads=1")
    started = gptstudio(
        workspace, "run", "--profile", "smoke", *settings, "--name", "r", "--detach"
    )
    assert started.returncode == 0
    run = workspace.run("r")
    wait_for(lambda: steps_of(run) > 30, 60, run)
    status = observe(run)
    assert status is not None
    os.killpg(status.supervisor_pid, signal.SIGKILL)
    time.sleep(0.2)
    assert json.loads(gptstudio(workspace, "runs", "--json").stdout)[0]["state"] == "lost"
    resumed = gptstudio(workspace, "resume", "r")
    assert resumed.returncode == 0, resumed.stderr
    assert "goes on from step" in resumed.stdout
    again = gptstudio(workspace, "resume", "r")
    assert again.returncode == 2
    assert "has finished" in again.stderr
