"""What the tests share: tiny workspaces, and runs started as the studio starts them."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from gptcore.events import Event, EventReader, drop_superseded
from gptcore.profile import read_profile, write_profile
from gptcore.status import LIVE, Status, observe, read_status
from gptcore.workspace import RunPaths, Workspace, make_private_dir

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[1]
SMOKE = REPOSITORY / "profiles" / "smoke.toml"
TEXT = "the cat sat on a mat and saw that the dog ran off with its hat in the rain"


def write_corpus(folder: Path, *, documents: int = 40, seed: int = 0) -> None:
    """A file of short documents made of few words, the same for the same seed."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)
    texts = [" ".join(generator.choices(TEXT.split(), k=120)) + ".\n" for _ in range(documents)]
    (folder / "text.txt").write_text("<|endoftext|>".join(texts))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a small corpus."""
    write_corpus(tmp_path / "datasets")
    return Workspace(tmp_path)


class Runs:
    """Creates runs in a workspace and starts their supervisors, killing what is left at the end."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.supervisors: list[subprocess.Popen[bytes]] = []

    def create(self, name: str, *overrides: str) -> RunPaths:
        run = self.workspace.run(name)
        make_private_dir(run.folder)
        run.profile.write_text(write_profile(read_profile(SMOKE, overrides)))
        return run

    def supervise(
        self, run: RunPaths, before_exec: Callable[[], None] | None = None
    ) -> subprocess.Popen[bytes]:
        with run.log.open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gptengine.supervise"),
                    *("--workspace", str(self.workspace.root), "--run", run.name),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=before_exec,
                env=os.environ | {"PYTHONSAFEPATH": "1"},
            )
        self.supervisors.append(process)

        def is_started() -> bool:
            status = read_status(run)
            own = status is not None and status.supervisor_pid == process.pid
            return own or process.poll() is not None

        wait_for(is_started, 20, run)
        return process

    def finish(self, run: RunPaths, timeout: float = 120) -> Status:
        """Wait until the run has ended, and tell how."""
        return wait_for(lambda: ended(run), timeout, run)

    def to_the_end(self, name: str, *overrides: str) -> Status:
        run = self.create(name, *overrides)
        self.supervise(run)
        return self.finish(run)

    def clean_up(self) -> None:
        for process in self.supervisors:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


def ended(run: RunPaths) -> Status | None:
    status = observe(run)
    return status if status is not None and status.state not in LIVE else None


def wait_for(ask: Callable[[], T | None], timeout: float, run: RunPaths | None = None) -> T:
    """Ask until there is an answer; show the run's log when there is none in time."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(0.02)
    log = run.log.read_text(errors="replace")[-3000:] if run and run.log.exists() else ""
    raise AssertionError(f"nothing came of it in {timeout} s; status {run and observe(run)}\n{log}")


def events_of(run: RunPaths) -> list[Event]:
    """The record, without what a resume undid."""
    return drop_superseded(EventReader(run.events).read())


def steps_of(run: RunPaths) -> int:
    """How many optimiser steps the record has seen last."""
    return max((event.step or 0 for event in EventReader(run.events).read()), default=0)


@pytest.fixture
def runs(workspace: Workspace) -> Iterator[Runs]:
    """Runs in the workspace of this test."""
    made = Runs(workspace)
    yield made
    made.clean_up()
