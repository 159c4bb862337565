"""Starts that do not go as they should, and names that earlier runs have left something under."""

import os
import signal
import time
from pathlib import Path

import pytest

from gptcore.errors import UserError
from gptcore.profile import Profile, read_profile
from gptcore.status import read_status
from gptcore.workspace import Workspace
from gptstudio import launcher


@pytest.fixture
def profile(workspace: Workspace) -> Profile:
    return read_profile(workspace.profiles / "tiny.toml")


def supervisors_of(name: str) -> list[int]:
    """Process ids of the stand-ins that were started for the run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"gptengine.supervise" in words and name.encode() in words:
            found.append(int(path.parent.name))
    return found


def test_a_silent_supervisor_is_ended_before_its_folder_goes(
    workspace: Workspace, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "hang")
    monkeypatch.setattr(launcher, "START_TIMEOUT", 4.0)
    with pytest.raises(UserError, match="no sign of life in 4 s") as caught:
        launcher.start_run(workspace, profile, "silent-one")
    assert supervisors_of("silent-one") == []
    assert not workspace.logs.exists()
    assert "  | still importing" in caught.value.what
    assert "training.log" not in str(caught.value)


def test_a_supervisor_that_will_not_end_keeps_its_folder(
    workspace: Workspace, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "deaf")
    monkeypatch.setattr(launcher, "START_TIMEOUT", 4.0)
    monkeypatch.setattr(launcher, "STOP_TIMEOUT", 0.3)
    run = workspace.run("deaf-one")
    with pytest.raises(UserError, match="no sign of life") as caught:
        launcher.start_run(workspace, profile, run.name)
    [pid] = supervisors_of(run.name)
    try:
        assert run.log.is_file()
        assert caught.value.where == str(run.log)
        assert f"process {pid}, does not end" in caught.value.fix
        assert str(run.folder) in caught.value.fix
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_supervisor_that_starts_too_late_has_made_a_run(
    workspace: Workspace, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "late")
    monkeypatch.setattr(launcher, "START_TIMEOUT", 4.0)
    with pytest.raises(UserError, match="no sign of life") as caught:
        launcher.start_run(workspace, profile, "late-one")
    assert "gptstudio attach late-one" in caught.value.fix
    status = read_status(workspace.run("late-one"))
    assert status is not None
    assert status.state == "done"


def test_numbers_step_past_what_earlier_runs_left(workspace: Workspace, profile: Profile) -> None:
    workspace.checkpoints("tiny-1", "pretrain").mkdir(parents=True)
    (workspace.models / "tiny-2-pretrain").mkdir(parents=True)
    (workspace.tokenizers / "tiny-3").mkdir(parents=True)
    workspace.run("tiny-4").folder.mkdir(parents=True)
    assert launcher.create_run(workspace, profile).name == "tiny-5"


def test_a_name_with_checkpoints_of_another_run_is_refused(
    workspace: Workspace, profile: Profile
) -> None:
    folder = workspace.checkpoints("mine", "pretrain").parent
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match="checkpoints of an earlier run called mine") as caught:
        launcher.start_run(workspace, profile, "mine")
    assert caught.value.where == str(folder)
    assert "remove that folder" in caught.value.fix
    assert not workspace.logs.exists()


def test_an_interrupted_start_leaves_nothing(
    workspace: Workspace, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ENGINE", "hang")
    started = time.monotonic()

    def interrupt(seconds: float) -> None:
        if time.monotonic() - started > 0.5:
            monkeypatch.undo()
            raise KeyboardInterrupt

    monkeypatch.setattr(launcher.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        launcher.start_run(workspace, profile, "cut-short")
    assert supervisors_of("cut-short") == []
    assert not workspace.logs.exists()
