"""`gptstudio trust` through its front door."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gptcore.trust import is_trusted
from gptcore.workspace import Workspace

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_trust_is_given_listed_and_taken_back(cli: Cli, workspace: Workspace) -> None:
    root = workspace.root
    assert cli("trust", "--list").stdout == "no workspace is trusted\n"
    given = cli("trust")
    assert given.returncode == 0, given.stderr
    assert given.stdout.startswith(f"trusted: {root}\n")
    assert "gptstudio trust --remove" in given.stdout
    assert is_trusted(root)
    assert cli("trust").stdout.startswith(f"already trusted: {root}\n")
    assert cli("trust", "--list").stdout == f"{root}\n"
    assert cli("trust", "--remove").stdout == f"no longer trusted: {root}\n"
    assert not is_trusted(root)
    assert cli("trust", "--remove").stdout == f"was not trusted: {root}\n"


def test_another_workspace_can_be_named_even_when_it_is_gone(
    cli: Cli, workspace: Workspace, tmp_path: Path
) -> None:
    other = tmp_path / "other\x1b[2J"
    other.mkdir()
    assert "trusted: " in cli("trust", "--workspace", str(other)).stdout
    assert is_trusted(other)
    assert not is_trusted(workspace.root)
    shutil.rmtree(other)
    shown = cli("trust", "--list").stdout
    assert "(not there)" in shown
    assert "\x1b" not in shown
    assert cli("trust", "-w", str(other), "--remove").stdout.startswith("no longer trusted")
    assert cli("trust", "--list").stdout == "no workspace is trusted\n"


def test_what_makes_no_sense_is_refused(cli: Cli, tmp_path: Path) -> None:
    both = cli("trust", "--list", "--remove")
    assert both.returncode == 2
    assert "do not go together" in both.stderr
    gone = cli("trust", "-w", str(tmp_path / "none"))
    assert gone.returncode == 2
    assert "the workspace does not exist" in gone.stderr
    assert not is_trusted(tmp_path / "none")
