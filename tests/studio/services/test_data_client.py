"""The data worker and its client: order, cancelling, deaths, and that it never outlives anybody."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gptcore.profile import Profile, read_profile, write_profile
from gptcore.workspace import Workspace
from gptstudio.services import data_protocol as protocol
from gptstudio.services.data_answers import Answer, Counted, Failure, Reading, StagesFound
from gptstudio.services.data_client import DataClient
from gptstudio.services.datasets import DatasetFile, scan
from tests.conftest import SMOKE

SEPARATOR = "<|endoftext|>"
PROFILE = Profile()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "datasets").mkdir()
    return Workspace(tmp_path)


@pytest.fixture
def client(workspace: Workspace) -> Iterator[DataClient]:
    made = DataClient(workspace)
    yield made
    made.close()


def files_of(workspace: Workspace, **contents: str | bytes) -> dict[str, DatasetFile]:
    """The files with that content, by their name without the suffix, as a scan finds them."""
    for name, content in contents.items():
        raw = content.encode() if isinstance(content, str) else content
        (workspace.datasets / f"{name}.txt").write_bytes(raw)
    return {file.name.removesuffix(".txt"): file for file in scan(workspace, PROFILE).files()}


def big_file(workspace: Workspace, name: str = "big") -> DatasetFile:
    """A sparse file that takes seconds to count."""
    with (workspace.datasets / f"{name}.txt").open("wb") as file:
        file.truncate(6 << 30)
    return next(file for file in scan(workspace, PROFILE).files() if file.path == f"{name}.txt")


def wait_for(client: DataClient, fits: Callable[[Answer], bool], timeout: float = 30) -> Answer:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        answer = client.wait(timeout=1)
        if answer is not None and fits(answer):
            return answer
    raise AssertionError("no such answer came")


def counted(client: DataClient, name: str) -> Counted:
    answer = wait_for(client, lambda it: isinstance(it, Counted) and it.path == f"{name}.txt")
    assert isinstance(answer, Counted)
    return answer


def worker_pid(client: DataClient) -> int:
    assert client._process is not None
    return client._process.pid


def test_a_file_is_counted_once_and_again_when_it_has_changed(
    workspace: Workspace, client: DataClient
) -> None:
    files = files_of(workspace, a=f"one\ntwo\n{SEPARATOR}three")
    assert client.count(files["a"], SEPARATOR) is None
    answer = counted(client, "a")
    assert (answer.counts.lines, answer.counts.documents) == (3, 2)
    assert client.count(files["a"], SEPARATOR) == answer
    assert client.wait(timeout=0.05) is None
    assert client.count(files["a"], "another") is None, "its documents are others"
    assert counted(client, "a").counts.documents == 1
    changed = files_of(workspace, a="only\none document now")["a"]
    assert client.count(changed, SEPARATOR) is None
    assert counted(client, "a").counts.documents == 1


def test_the_last_wish_comes_first_and_the_rest_in_order(
    workspace: Workspace, client: DataClient
) -> None:
    files = files_of(workspace, **{name: name for name in "abcdef"})
    client.count_all([files[name] for name in "abcd"], SEPARATOR)
    client.count(files["e"], SEPARATOR)
    client.count(files["f"], SEPARATOR)
    order = [answer.path[0] for _ in range(6) if isinstance(answer := client.wait(20), Counted)]
    assert "".join(order) == "feabcd"
    assert len(client.count_all(files.values(), SEPARATOR)) == 6


def test_answers_come_by_the_handful(workspace: Workspace, client: DataClient) -> None:
    files = files_of(workspace, **{f"f{number}": "text" for number in range(200)})
    client.count_all(files.values(), SEPARATOR)
    handfuls = []
    while sum(map(len, handfuls)) < 200:
        handfuls.append(client.wait_for_some(timeout=20))
    assert len(handfuls) < 50
    start = time.monotonic()
    assert client.wait_for_some(timeout=0.1, gather=5) == []
    assert time.monotonic() - start < 2


def test_what_takes_long_tells_how_far_it_is_and_gives_way(
    workspace: Workspace, client: DataClient
) -> None:
    big = big_file(workspace)
    small = files_of(workspace, small="text")["small"]
    client.count_all([big], SEPARATOR)
    first = wait_for(client, lambda it: isinstance(it, Reading) and it.path == "big.txt")
    assert isinstance(first, Reading)
    assert 0 < first.done < first.total == 6 << 30
    client.count(small, SEPARATOR)
    counted(client, "small")
    again = wait_for(client, lambda it: isinstance(it, Reading) and it.path == "big.txt")
    assert isinstance(again, Reading)
    assert again.done > first.done, "it goes on where it was left"
    client.count_all([], SEPARATOR)
    client.count(small, "other")
    counted(client, "small")
    assert client.wait(timeout=0.5) is None, "it was left"


def test_what_cannot_be_read_is_an_answer_with_a_reason(
    workspace: Workspace, client: DataClient
) -> None:
    files = files_of(workspace, gone="text", good="text")
    (workspace.datasets / "gone.txt").unlink()
    os.mkfifo(workspace.datasets / "pipe.txt")
    client.count(files["gone"], SEPARATOR)
    answer = wait_for(client, lambda it: isinstance(it, Failure))
    assert answer == Failure("gone.txt", "cannot be read: No such file or directory")
    client.count(DatasetFile("pipe.txt", 0, 0, "text"), SEPARATOR)
    answer = wait_for(client, lambda it: isinstance(it, Failure))
    assert answer == Failure("pipe.txt", "it is not a file")
    client.count(files["good"], SEPARATOR)
    counted(client, "good")


def test_names_that_are_no_utf8(workspace: Workspace, client: DataClient) -> None:
    path = Path(os.fsdecode(os.fsencode(workspace.datasets) + b"/\xff\n.txt"))
    path.write_text("text")
    [file] = scan(workspace, PROFILE).files()
    client.count(file, SEPARATOR)
    assert isinstance(wait_for(client, lambda it: isinstance(it, Counted)), Counted)


def test_a_worker_that_died_is_started_again(workspace: Workspace, client: DataClient) -> None:
    files = files_of(workspace, a="text", b="text")
    client.count(files["a"], SEPARATOR)
    counted(client, "a")
    first = worker_pid(client)
    os.kill(first, signal.SIGKILL)
    client.count(files["b"], SEPARATOR)
    counted(client, "b")
    assert worker_pid(client) != first


def test_a_file_that_kills_the_worker_twice_is_a_problem(
    workspace: Workspace, client: DataClient
) -> None:
    deadly = big_file(workspace, "deadly")
    good = files_of(workspace, good="text")["good"]
    client.count_all([deadly, good], SEPARATOR)
    kills = 0
    while not isinstance(answer := client.wait(20), Failure):
        if isinstance(answer, Reading):
            os.kill(worker_pid(client), signal.SIGKILL)
            kills += 1
    assert kills == 2
    assert answer.path == "deadly.txt"
    assert "SIGKILL" in answer.reason
    counted(client, "good")
    assert client.count(deadly, SEPARATOR) == answer, "it is not tried again"


def test_a_worker_that_cannot_be_started_is_said_and_not_tried_for_every_file(
    workspace: Workspace, tmp_path: Path
) -> None:
    files = files_of(workspace, **{f"f{number}": "text" for number in range(50)})
    marks = tmp_path / "starts"
    broken = tmp_path / "python"
    broken.write_text(f"#!/bin/sh\necho x >> {marks}\necho no such module >&2\nexit 3\n")
    broken.chmod(0o755)
    for python in (broken, tmp_path / "nowhere"):
        client = DataClient(workspace, str(python))
        client.count_all(files.values(), SEPARATOR)
        answers = [client.wait(20) for _ in files]
        assert all(
            isinstance(each, Failure) and "cannot be started" in each.reason for each in answers
        )
        client.close()
    assert marks.read_text() == "x\nx\n"


def test_stages_of_a_profile_in_a_file_and_as_text(
    workspace: Workspace, client: DataClient
) -> None:
    files_of(workspace, a="some text")
    client.stages(SMOKE)
    found = wait_for(client, lambda it: isinstance(it, StagesFound))
    assert isinstance(found, StagesFound)
    assert [(each.stage, each.condition) for each in found.stages] == [
        ("tokenizer", "never run"),
        ("pretrain", "never run"),
    ]
    client.stages(SMOKE, write_profile(read_profile(SMOKE)))
    assert wait_for(client, lambda it: isinstance(it, StagesFound)) == found
    client.stages(SMOKE, "[model]\nn_heads = 'many'\n")
    wrong = wait_for(client, lambda it: isinstance(it, Failure))
    assert isinstance(wrong, Failure)
    assert wrong.path is None
    assert "n_heads" in wrong.reason


def test_a_later_question_about_stages_takes_the_place_of_the_first(
    workspace: Workspace, client: DataClient
) -> None:
    big_file(workspace)
    client.stages(SMOKE)
    reading = wait_for(client, lambda it: isinstance(it, Reading))
    assert isinstance(reading, Reading)
    assert reading.path is None
    (workspace.datasets / "big.txt").unlink()
    files_of(workspace, a="text")
    client.stages(SMOKE)
    start = time.monotonic()
    wait_for(client, lambda it: isinstance(it, StagesFound))
    assert time.monotonic() - start < 5
    assert client.wait(timeout=0.2) is None


def test_closing_ends_the_worker_and_the_waiting(workspace: Workspace) -> None:
    client = DataClient(workspace)
    client.count_all([big_file(workspace)], SEPARATOR)
    wait_for(client, lambda it: isinstance(it, Reading))
    pid = worker_pid(client)
    client.close()
    assert client.wait() is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# --- the worker alone ----------------------------------------------------------------------------


@pytest.fixture
def worker(workspace: Workspace) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "gptstudio.data_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        cwd=workspace.root,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    yield process
    process.kill()
    process.wait()


def reply(worker: "subprocess.Popen[bytes]") -> protocol.Reply:
    assert worker.stdout is not None
    return protocol.decode_reply(worker.stdout.readline())


def test_the_worker_ignores_interrupts_and_ends_with_its_input(
    worker: "subprocess.Popen[bytes]", workspace: Workspace
) -> None:
    assert worker.stdin is not None
    assert isinstance(reply(worker), protocol.Ready)
    assert os.getpriority(os.PRIO_PROCESS, worker.pid) > os.getpriority(os.PRIO_PROCESS, 0)
    worker.send_signal(signal.SIGINT)
    path = os.fsencode(workspace.datasets / big_file(workspace).path)
    worker.stdin.write(protocol.encode(protocol.CountFile(1, path, SEPARATOR)))
    assert isinstance(reply(worker), protocol.Progress)
    start = time.monotonic()
    worker.stdin.close()
    assert worker.wait(timeout=10) == 0
    assert time.monotonic() - start < 2, "in the middle of a file"


def test_the_worker_answers_whatever_it_is_sent(worker: "subprocess.Popen[bytes]") -> None:
    assert worker.stdin is not None
    reply(worker)
    for line in (b"{\n", b'{"type":"nothing"}\n', b"\xff\n", b"[]\n"):
        worker.stdin.write(line)
        assert isinstance(reply(worker), protocol.Failed)
    worker.stdin.write(protocol.encode(protocol.CountFile(7, b"/dev/zero", "")))
    assert reply(worker) == protocol.Failed(7, "it is not a file")


def test_the_worker_and_its_client_import_nothing_heavy() -> None:
    code = (
        "import sys, gptstudio.data_worker, gptstudio.services.data_client\n"
        "heavy = {'torch', 'numpy', 'tokenizers', 'transformers', 'textual', 'pydantic', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_rows_of_data_are_counted_by_form_and_bad_ones_told(
    workspace: Workspace, client: DataClient
) -> None:
    rows = ['{"prompt": "a\\u001b[2J", "completion": "b"}', '{"instruction": "a", "output": "b"}']
    content = "\n".join([*rows, '{"prompt": "c", "completion": "d"}', "\x1b[31mbad", '{"x": 1}'])
    (workspace.datasets / "rows.jsonl").write_text(content)
    file = next(file for file in scan(workspace, PROFILE).files() if file.path == "rows.jsonl")
    client.count_all([file], SEPARATOR)
    answer = wait_for(client, lambda it: isinstance(it, Counted))
    assert isinstance(answer, Counted)
    counts = answer.counts
    assert (counts.rows, counts.bad_rows) == (5, 2)
    assert counts.forms == (("conversation", 2), ("instruction", 1))
    assert [each.line for each in counts.problems] == [4, 5]
    assert "no form that is known; it holds x" in counts.problems[1].reason
    assert all(each.reason.isprintable() for each in counts.problems)


def test_data_with_many_problems_tells_some_and_counts_the_rest(
    workspace: Workspace, client: DataClient
) -> None:
    (workspace.datasets / "bad.jsonl").write_text('{"x": 1}\n' * 300)
    file = next(file for file in scan(workspace, PROFILE).files() if file.path == "bad.jsonl")
    client.count_all([file], SEPARATOR)
    answer = wait_for(client, lambda it: isinstance(it, Counted))
    assert isinstance(answer, Counted)
    assert answer.counts.bad_rows == 300
    assert len(answer.counts.problems) == 101
    assert answer.counts.problems[-1].reason == "and 200 more rows"
