import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gptcore.status import LIVE, Status, observe
from gptcore.workspace import RunPaths, Workspace

GPTSTUDIO = [sys.executable, "-m", "gptstudio.cli"]
FAKE_ENGINE = Path(__file__).parent / "fake_engine.py"

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GPTSTUDIO_WORKSPACE", "CUDA_VISIBLE_DEVICES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def engine_python(tmp_path: Path) -> Path:
    """An interpreter that runs the stand-in whatever it is told to run."""
    script = tmp_path / "engine-python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE_ENGINE}" "$@"\n')
    script.chmod(0o755)
    return script


@pytest.fixture
def workspace(tmp_path: Path, engine_python: Path) -> Iterator[Workspace]:
    root = tmp_path / "ws"
    (root / "datasets").mkdir(parents=True)
    (root / "datasets/a.txt").write_text("some text to learn from\n" * 20)
    (root / "profiles").mkdir()
    (root / "profiles/tiny.toml").write_text(
        f'description = "A tiny one."\n[engine]\npython = "{engine_python}"\ndevice = "cpu"\n'
        "[model]\nvocab_size = 300\ncontext_length = 64\nemb_dim = 32\nn_heads = 2\nn_layers = 2\n"
    )
    workspace = Workspace(root)
    yield workspace
    deadline = time.monotonic() + 5  # no stand-in may outlive its test
    while time.monotonic() < deadline and (live := list_live(workspace)):
        for status in live:
            os.kill(status.supervisor_pid, 9)
        time.sleep(0.02)


def list_live(workspace: Workspace) -> list[Status]:
    if not workspace.logs.is_dir():
        return []
    folders = [path for path in workspace.logs.iterdir() if path.is_dir()]
    found = [observe(RunPaths(path.name, path)) for path in folders]
    return [status for status in found if status and status.state in LIVE]


@pytest.fixture
def cli(workspace: Workspace) -> Cli:
    """Runs `gptstudio` in a fresh process, in the workspace."""

    def call(*words: str, mode: str = "done", **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*GPTSTUDIO, *words],
            cwd=workspace.root,
            env={**os.environ, "FAKE_ENGINE": mode, **env},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )

    return call
