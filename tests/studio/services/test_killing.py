import os

import pytest

from gptcore.errors import UserError
from gptcore.profile import read_profile
from gptcore.status import Status, observe
from gptcore.workspace import RunPaths, Workspace
from gptstudio.launcher import start_run
from gptstudio.services.killing import kill_run
from tests.studio.conftest import Cli


def begin(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> tuple[RunPaths, Status]:
    monkeypatch.setenv("FAKE_ENGINE", "wait")
    run = start_run(workspace, read_profile(workspace.profiles / "tiny.toml"))
    status = observe(run)
    assert status is not None
    return run, status


def test_a_killed_run_has_stopped_and_can_be_resumed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    run, status = begin(workspace, monkeypatch)
    kill_run(run, status)
    after = observe(run)
    assert after is not None
    assert (after.state, after.message) == ("stopped", "it was killed")
    assert cli("resume", run.name, "--detach").returncode == 0


def test_a_run_that_has_ended_is_not_killed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, status = begin(workspace, monkeypatch)
    kill_run(run, status)
    after = observe(run)
    assert after is not None
    with pytest.raises(UserError, match="is not running, it is stopped"):
        kill_run(run, after)


def test_a_process_that_only_has_the_number_is_left_alone(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, status = begin(workspace, monkeypatch)
    real = status.supervisor_pid
    status.supervisor_pid, status.stage_pid = os.getpid(), os.getppid()
    with pytest.raises(UserError, match="cannot be seen from here"):
        kill_run(run, status)
    status.supervisor_pid = real
    kill_run(run, status)


def test_the_command_kills_by_name_alone(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    run, _ = begin(workspace, monkeypatch)
    assert cli("kill").returncode == 2
    done = cli("kill", run.name)
    assert done.returncode == 0
    assert "its processes were killed" in done.stdout
    again = cli("kill", run.name)
    assert again.returncode == 2
    assert "is not running" in again.stderr
