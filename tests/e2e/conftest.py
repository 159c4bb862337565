"""The real command line as a child process, and no run left behind it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptcore.status import observe
from gptcore.workspace import Workspace

GPTSTUDIO = str(Path(sys.executable).with_name("gptstudio"))
Done = subprocess.CompletedProcess[str]


def gptstudio(workspace: Workspace, *words: str, before: tuple[str, ...] = ()) -> Done:
    """Run a command in the workspace; `before` is what it is run under."""
    return subprocess.run(
        [*before, GPTSTUDIO, *words],
        cwd=workspace.root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(autouse=True)
def _no_run_is_left(workspace: Workspace) -> Iterator[None]:
    yield
    for folder in workspace.logs.glob("*/"):
        status = observe(workspace.run(folder.name))
        if status is not None and status.supervisor_pid and status.exit_code is None:
            try:
                os.killpg(status.supervisor_pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
