"""Settings that change when an ended run goes on."""

import json

import pytest

from gptcore.profile import read_profile
from gptcore.status import read_status, write_status
from gptcore.workspace import Workspace
from gptstudio.changes import change_named
from tests.studio.conftest import Cli


@pytest.mark.parametrize(
    ("fix", "change"),
    [
        ("resume with a lower pretrain.lr, a longer pretrain.warmup_steps", "pretrain.lr=..."),
        ("--set pretrain.micro_batch=1", "pretrain.micro_batch=1"),
        (
            "set pretrain.gradient_checkpointing = true, model.n_layers = 2",
            "pretrain.gradient_checkpointing=true",
        ),
        ("--set engine.device=cpu, or see gptstudio doctor", "engine.device=cpu"),
        ("use fewer model.n_layers or a smaller pretrain.batch_size", ""),
        ("read the log, then gptstudio resume r", ""),
    ],
)
def test_the_change_that_a_remedy_names(fix: str, change: str) -> None:
    assert change_named(fix) == change


def test_a_failed_run_goes_on_with_what_its_summary_says(cli: Cli, workspace: Workspace) -> None:
    failed = cli("run", "-p", "tiny", "--name", "r", mode="fail")
    said = "gptstudio resume r --set pretrain.micro_batch=1\n"
    assert f"  to change:  {said}" in failed.stdout
    assert "  then:       gptstudio resume r\n" in failed.stdout
    run = workspace.run("r")
    status = read_status(run)
    assert status is not None
    status.micro_batch = 4  # what memory had come down to gives way to what the person says
    write_status(run, status)
    again = cli(*said.split()[1:], "-s", "pretrain.lr=1e-4")
    assert again.returncode == 0, again.stderr
    profile = read_profile(run.profile)
    assert (profile.pretrain.micro_batch, profile.pretrain.lr) == (1, 1e-4)
    assert not list(run.folder.glob(".*.tmp"))
    status = read_status(run)
    assert status is not None
    assert status.micro_batch == 0
    finished = cli("resume", "r", "--set", "pretrain.lr=1e-3")
    assert finished.returncode == 2
    assert "has finished" in finished.stderr
    assert read_profile(run.profile) == profile


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("name=other", "name cannot change"),
        ("pipeline.only=pretrain", "pipeline.only cannot change"),
        ("data.pretrain.held_out=0.5", "gptstudio run"),
        ("data.pretrain.weights={a = 2}", "data.pretrain.weights"),
        ("tokenizer.max_train_mb=3", "tokenizer.max_train_mb cannot change"),
        ("model.n_layers=3", "--set model.n_layers=3"),
        ("pretrain.seed=3", "pretrain.seed cannot change"),
        ("pretrain.batch_size=64", "pretrain.batch_size cannot change"),
        ("pretrain={batch_size = 64}", "pretrain.batch_size cannot change"),
        ("pretrain.lrr=1", "did you mean pretrain.lr?"),
        ("pretrain.lr=-1", "pretrain.lr"),
        ("engine.python=no-such-python", "'no-such-python'"),
        ("x", "section.key=value"),
    ],
)
def test_what_cannot_change_leaves_all_as_it_was(
    cli: Cli, workspace: Workspace, setting: str, said: str
) -> None:
    run = workspace.run("r")
    run.folder.mkdir(parents=True)
    run.profile.write_text((workspace.profiles / "tiny.toml").read_text() + "[data]\n")
    status = {"run": "r", "state": "stopped", "stages": ["pretrain"], "attempt": 1}
    run.status.write_text(json.dumps(status))
    before = {path: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}
    refused = cli("resume", "r", "--set", "pretrain.lr=1e-4", "--set", setting)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert read_status(run) is not None
    assert not run.events.exists()


def test_a_live_run_refuses_changes(cli: Cli, workspace: Workspace) -> None:
    cli("run", "-p", "tiny", "--detach", "--name", "r", mode="wait")
    before = workspace.run("r").profile.read_bytes()
    refused = cli("resume", "r", "--set", "pretrain.lr=1e-4")
    assert refused.returncode == 2
    assert "gptstudio stop r" in refused.stderr
    assert workspace.run("r").profile.read_bytes() == before
    cli("stop", "r")
