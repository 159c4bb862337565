"""The commands through their front door, the engine being a stand-in."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gptcore.status import observe
from gptcore.workspace import Workspace

GPTSTUDIO = [sys.executable, "-m", "gptstudio.cli"]
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def state(workspace: Workspace, run: str) -> str:
    status = observe(workspace.run(run))
    return status.state if status else "none"


def test_run_follows_to_the_end_and_tells_what_next(cli: Cli, workspace: Workspace) -> None:
    result = cli("run", "--profile", "tiny", "--set", "pretrain.lr=1e-3")
    assert result.returncode == 0, result.stderr
    out = result.stdout
    assert "run tiny-1: tokenizer, pretrain, with profile tiny" in out
    assert "step 20: validation loss 2.2500 (best so far)" in out
    assert "(parameters 1,234,567)" in out
    assert "warning: low on [red]disk" in out
    assert "  | The [bold]cat\\x1b[2J\\x1b]0;owned\\x07" in out
    assert "\x1b" not in out
    assert "tiny-1 is done" in out
    assert "models/m" in out
    assert 'gptstudio generate m --prompt "The "' in out
    run = workspace.run("tiny-1")
    assert stat.S_IMODE(run.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(run.log.stat().st_mode) == 0o600
    assert "lr = 0.001" in run.profile.read_text()


def test_attach_to_an_ended_run_sums_up_at_once(cli: Cli) -> None:
    cli("run", "-p", "tiny", "--name", "one")
    result = cli("attach", "one")
    assert result.returncode == 0
    assert result.stdout.startswith("one is done")
    assert "sample" not in result.stdout


def test_failed_run_says_what_where_remedy_and_log(cli: Cli) -> None:
    result = cli("run", "-p", "tiny", mode="fail")
    assert result.returncode == 1
    for part in (
        "tiny-1 failed in GPT-2 pretraining",
        "memory ran out",
        "--set pretrain.micro_batch=1",
        "logs/tiny-1/training.log",
        "  | RuntimeError: \\x1b[31mout of memory",
        "gptstudio resume tiny-1",
    ):
        assert part in result.stdout


def test_lost_run_is_reported_with_the_way_on(cli: Cli) -> None:
    result = cli("run", "-p", "tiny", mode="die")
    assert result.returncode == 1
    assert "tiny-1 is lost" in result.stdout
    assert "gptstudio resume tiny-1" in result.stdout
    again = cli("resume", "tiny-1")
    assert again.returncode == 0, again.stderr
    assert "tiny-1 is done" in again.stdout
    finished = cli("resume", "tiny-1")
    assert finished.returncode == 2
    assert "has finished" in finished.stderr


def test_supervisor_that_dies_early_shows_its_log_and_leaves_nothing(
    cli: Cli, workspace: Workspace
) -> None:
    result = cli("run", "-p", "tiny", mode="silent")
    assert result.returncode == 2
    assert "ImportError: no [red]torch here" in result.stderr
    assert "gptstudio doctor" in result.stderr
    assert not workspace.logs.exists()


def test_detached_run_takes_commands(cli: Cli, workspace: Workspace) -> None:
    started = cli("run", "-p", "tiny", "--detach", "--name", "bg", mode="wait")
    assert started.returncode == 0
    assert "gptstudio attach bg" in started.stdout
    assert state(workspace, "bg") in ("starting", "running")
    taken = cli("run", "-p", "tiny", "--name", "bg")
    assert taken.returncode == 2
    assert "already a run called bg" in taken.stderr
    running = cli("resume", "bg")
    assert running.returncode == 2
    assert "gptstudio attach bg" in running.stderr
    assert cli("checkpoint", "bg").stdout == "bg: checkpoint: at step 0\n"
    assert cli("sample", "--no-wait").stdout == "bg: sample sent\n"
    assert cli("stop").stdout == "bg: stop: at step 0\n"
    wait_for(lambda: state(workspace, "bg") == "stopped")
    ended = cli("pause", "bg")
    assert ended.returncode == 2
    assert "gptstudio resume bg" in ended.stderr
    listed = json.loads(cli("runs", "--json").stdout)
    assert [(run["run"], run["state"], run["exit_code"]) for run in listed] == [
        ("bg", "stopped", 3)
    ]
    summed_up = cli("attach")
    assert summed_up.returncode == 3
    assert "gptstudio resume bg" in summed_up.stdout


def test_refusal_is_an_error(cli: Cli) -> None:
    cli("run", "-p", "tiny", "-d", mode="wait")
    cli("stop")
    cli("run", "-p", "tiny", "-d", "--set", "pretrain.seed=2", mode="refuse")
    refused = cli("pause", "tiny-2")
    assert refused.returncode == 2
    assert "refused to pause" in refused.stderr


def start_watching(workspace: Workspace, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*GPTSTUDIO, *words],
        cwd=workspace.root,
        env={**os.environ, "FAKE_ENGINE": "wait"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until_steps(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert any(line.startswith("step 0/") for line in process.stdout)


def test_interrupt_stops_a_run_but_only_detaches_a_watcher(workspace: Workspace) -> None:
    owner = start_watching(workspace, "run", "-p", "tiny", "--name", "fg")
    read_until_steps(owner)
    watcher = start_watching(workspace, "attach", "fg")
    third = start_watching(workspace, "attach", "fg")
    read_until_steps(watcher)
    read_until_steps(third)
    watcher.send_signal(signal.SIGINT)
    out, _ = watcher.communicate(timeout=10)
    assert watcher.returncode == 130
    assert "gptstudio attach fg" in out
    third.send_signal(signal.SIGHUP)
    out, err = third.communicate(timeout=10)
    assert third.returncode == 129
    assert "detached" not in out + err
    assert state(workspace, "fg") == "running"
    owner.send_signal(signal.SIGINT)
    out, err = owner.communicate(timeout=10)
    assert owner.returncode == 130, err
    assert "a checkpoint is written first" in out
    assert "gptstudio resume fg" in out
    assert state(workspace, "fg") == "stopped"


def test_a_closed_pipe_is_quiet(cli: Cli, workspace: Workspace) -> None:
    cli("run", "-p", "tiny")
    line = f"{' '.join(GPTSTUDIO)} profiles show | head -n 1"
    result = subprocess.run(
        line, shell=True, cwd=workspace.root, capture_output=True, text=True, check=False
    )
    assert result.stderr == ""


def test_generate_hands_on_everything(cli: Cli, workspace: Workspace) -> None:
    model = workspace.models / "m"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    lineage = {"stage": "pretrain", "run": "r", "pipeline": "tiny", "fingerprint": "", "made": 1}
    (model / "gptstudio.json").write_text(json.dumps(lineage))
    run = workspace.run("r")
    run.folder.mkdir(parents=True)
    run.profile.write_text((workspace.profiles / "tiny.toml").read_text())
    result = cli("generate", "m", "--prompt", "--x", "--seed", "3", "--top-k", "5", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [
        *("generate", str(model), "--prompt=--x", "--max-tokens", "200"),
        *(
            "--temperature",
            "0.8",
            "--top-k",
            "5",
            "--top-p",
            "1.0",
            "--seed",
            "3",
            "--device",
            "auto",
        ),
        "--json",
    ]
    assert cli("generate", "latest", "--prompt", "x", mode="fail").returncode == 7


def test_overview_shows_what_there_is(cli: Cli, workspace: Workspace) -> None:
    assert "next: gptstudio run --profile demo" in cli().stdout
    cli("run", "-p", "tiny")
    out = cli("--workspace", str(workspace.root)).stdout
    assert "tiny-1" in out
    assert "tiny" in out
    elsewhere = cli("-w", str(workspace.root), "runs")
    assert "tiny-1  done" in elsewhere.stdout


def test_doctor_lists_checks(cli: Cli) -> None:
    result = cli("doctor", "--json", "--profile", "tiny")
    checks = {check["name"]: check for check in json.loads(result.stdout)}
    assert {"python", "engine", "ram", "disk", "workspace", "logout", "packages"} <= set(checks)
    assert checks["engine"]["level"] == "ok"
    assert "torch 9.9" in checks["engine"]["detail"]
    failing = any(check["level"] == "fail" for check in checks.values())
    assert result.returncode == int(failing)


@pytest.mark.parametrize("words", [("--show-completion", "bash"), ("--version",)])
def test_small_things_work(cli: Cli, words: tuple[str, ...]) -> None:
    result = cli(*words)
    assert result.returncode == 0
    assert "gptstudio" in result.stdout


def test_unwritable_folder_is_an_error_that_names_it(
    cli: Cli, workspace: Workspace, tmp_path: Path
) -> None:
    workspace.logs.write_text("in the way")
    result = cli("run", "-p", "tiny")
    assert result.returncode == 2
    assert str(workspace.logs) in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("mode", "live", "summed_up"),
    [
        ("rewards", "reward 0.", "reward 0.80, KL 1.20"),
        ("preferences", "accuracy 91%", "accuracy 91%, held-out accuracy 88%, loss 0.1000"),
    ],
)
def test_a_run_that_learns_from_rewards_says_how_it_fares(
    cli: Cli, mode: str, live: str, summed_up: str
) -> None:
    result = cli("run", "-p", "tiny", "--name", "r", mode=mode)
    assert result.returncode == 0
    assert live in result.stdout
    assert summed_up in result.stdout
    assert "a call" in result.stdout
    assert "\x1b" not in result.stdout
