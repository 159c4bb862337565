"""Commands, locks, and the state of a run as its record tells it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from gptcore import control
from gptcore.control import FileLock, is_locked
from gptcore.errors import UserError
from gptcore.status import Status, find_run, is_hung, list_runs, observe, write_status
from gptcore.workspace import RunPaths, Workspace, make_private_dir


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    run = Workspace(tmp_path).run("r-1")
    make_private_dir(run.folder)
    return run


def test_commands_come_in_the_order_they_were_given(run: RunPaths) -> None:
    sent = [control.send(run, name) for name in ("pause", "sample", "resume")]
    assert control.pending(run) == sent
    assert control.take(run) == sent
    assert control.take(run) == []


def test_a_broken_command_file_is_no_obstacle(run: RunPaths) -> None:
    make_private_dir(run.control)
    (run.control / "00000-half.json").write_text('{"id": "00')
    (run.control / "00001-unknown.json").write_text('{"id":"1","name":"explode","time":1}')
    sent = control.send(run, "stop")
    assert control.take(run) == [sent]
    assert control.take(run) == []


def test_lock_is_exclusive_and_the_kernels(run: RunPaths) -> None:
    code = (
        "import sys, time; from pathlib import Path; from gptcore.control import FileLock\n"
        "assert FileLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)"
    )
    assert not is_locked(run.lock)
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(run.lock)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert is_locked(run.lock)
    assert not FileLock(run.lock).acquire(0.1)
    holder.kill()
    holder.wait()
    assert FileLock(run.lock).acquire(1.0)


def test_a_live_state_without_a_lock_is_lost(run: RunPaths) -> None:
    write_status(run, Status("r-1", "running", heartbeat=time.time()))
    status = observe(run)
    assert status is not None
    assert status.state == "lost"
    with FileLock(run.lock) as lock:
        assert lock.acquire()
        status = observe(run)
        assert status is not None
        assert status.state == "running"


def test_an_ended_state_needs_no_lock(run: RunPaths) -> None:
    write_status(run, Status("r-1", "done", exit_code=0))
    status = observe(run)
    assert status is not None
    assert status.state == "done"


def test_a_silent_live_run_is_hung() -> None:
    assert is_hung(Status("r", "running", heartbeat=time.time() - 60))
    assert not is_hung(Status("r", "running", heartbeat=time.time()))
    assert not is_hung(Status("r", "done", heartbeat=time.time() - 60))


def test_runs_are_found_newest_first(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(UserError, match="no run yet"):
        find_run(workspace, None)
    for number in (1, 2):
        run = workspace.run(f"r-{number}")
        make_private_dir(run.folder)
        write_status(run, Status(run.name, "done", started=float(number)))
    (workspace.logs / "stray").mkdir()
    (workspace.logs / "training.log").touch()
    assert [status.run for status in list_runs(workspace)] == ["r-2", "r-1"]
    assert find_run(workspace, None)[1].run == "r-2"
    assert find_run(workspace, "r-1")[1].run == "r-1"
    with pytest.raises(UserError, match="r-9"):
        find_run(workspace, "r-9")
    with pytest.raises(UserError):
        find_run(workspace, "../logs/r-1")
