import os
import time
from pathlib import Path

import pytest

from gptcore.control import FileLock
from gptcore.status import Status, write_status
from gptcore.workspace import RunPaths, Workspace, make_private_dir
from gptstudio.services.runs import RunBook, choose_run


def put(workspace: Workspace, name: str, state: str, started: float = 1.0) -> RunPaths:
    run = workspace.run(name)
    make_private_dir(run.folder)
    status = Status(name, "done", started=started, heartbeat=time.time())
    status.state = state  # type: ignore[assignment]
    write_status(run, status)
    return run


def test_the_newest_comes_first_and_a_live_one_is_chosen(workspace: Workspace) -> None:
    put(workspace, "old", "done", 1)
    live = put(workspace, "live", "running", 2)
    put(workspace, "new", "failed", 3)
    with FileLock(live.lock) as lock:
        assert lock.acquire()
        found = RunBook(workspace).read().all
        assert [run.run for run in found] == ["new", "live", "old"]
        assert choose_run(found) == "live"
    assert choose_run([]) == ""
    assert choose_run([run for run in found if run.run != "live"]) == "new"


def test_each_run_is_known_with_its_profile(workspace: Workspace) -> None:
    put(workspace, "torn", "done").profile.write_text("name = [")
    put(workspace, "none", "done")
    put(workspace, "good", "done").profile.write_text('name = "demo"\n')
    assert RunBook(workspace).read().profiles == {"torn": "", "none": "", "good": "demo"}


def test_a_run_whose_lock_goes_is_lost_and_one_that_comes_back_lives(workspace: Workspace) -> None:
    run = put(workspace, "r", "running")
    book = RunBook(workspace)

    def state() -> str:
        return book.read().all[0].state

    lock = FileLock(run.lock)
    assert lock.acquire()
    assert state() == "running"
    lock.release()
    assert state() == "lost"
    assert lock.acquire()
    assert state() == "running"
    lock.release()
    write_status(run, Status("r", "done", started=1))
    assert state() == "done"


def test_what_has_ended_is_not_read_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        put(workspace, f"r-{number}", "done", number)
    book = RunBook(workspace)
    assert len(book.read().all) == 20
    opened: list[str] = []
    read_bytes = Path.read_bytes

    def spy(path: Path) -> bytes:
        opened.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", spy)
    assert len(book.read().all) == 20
    assert opened == []
    put(workspace, "r-3", "failed", 3)
    assert {run.run: run.state for run in book.read().all}["r-3"] == "failed"
    assert opened == ["status.json"]


def test_the_last_words_of_a_failed_run_are_those_of_its_crash(workspace: Workspace) -> None:
    run = put(workspace, "r", "failed")
    crash = ["Traceback (most recent call last):", '  File "x.py"', "RuntimeError: no \x1b[31mluck"]
    run.log.write_text("\n".join(["[10:00:00] step 1", *crash, "[10:00:01] run failed", ""]))
    assert RunBook(workspace).read().last_words == {"r": crash}
    write_status(run, Status("r", "done", started=1))
    assert RunBook(workspace).read().last_words == {}


def test_folders_that_are_no_runs_are_passed_over(workspace: Workspace) -> None:
    assert RunBook(workspace).read().all == []
    make_private_dir(workspace.logs)
    (workspace.logs / "empty").mkdir()
    (workspace.logs / "broken").mkdir()
    (workspace.logs / "broken/status.json").write_text("{")
    (workspace.logs / "file").touch()
    os.mkfifo(workspace.logs / "fifo")
    put(workspace, "good", "done")
    assert [run.run for run in RunBook(workspace).read().all] == ["good"]
