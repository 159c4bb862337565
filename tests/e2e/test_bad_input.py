"""Input that cannot be used, through the real command line: what is said, and what is left."""

import os
import subprocess

import pytest

from gptcore.devices import list_devices
from gptcore.lineage import read_lineage
from gptcore.profile import read_profile
from gptcore.workspace import Workspace
from tests.conftest import ended, steps_of, wait_for
from tests.e2e.conftest import Done, gptstudio

pytestmark = pytest.mark.slow

SMOKE = ("run", "--profile", "smoke", "--set", "engine.threads=1", "--name", "r")


def is_refused(workspace: Workspace, done: Done, *parts: str) -> None:
    """Exit status 2; what, where and what to do; no model."""
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    for part in (*parts, "where:", "to do:"):
        assert part in said
    assert "Traceback" not in said
    assert not workspace.models.exists()


def assert_nothing_half_written(workspace: Workspace) -> None:
    assert list(workspace.root.rglob("*.tmp*")) == []


def test_no_data(workspace: Workspace) -> None:
    text = workspace.datasets / "text.txt"
    text.unlink()
    is_refused(workspace, gptstudio(workspace, *SMOKE), "no text to train on", "gptstudio init .")
    workspace.datasets.rmdir()
    done = gptstudio(workspace, *SMOKE)
    is_refused(workspace, done, "the datasets folder does not exist", "gptstudio init .")
    assert str(workspace.datasets) in done.stderr
    assert os.listdir(workspace.root) == []


def test_text_that_is_shorter_than_a_block(workspace: Workspace) -> None:
    (workspace.datasets / "text.txt").write_text("the cat sat on a mat\n")
    done = gptstudio(workspace, *SMOKE)
    is_refused(workspace, done, "model.context_length", "r failed in GPT-2 pretraining")
    assert_nothing_half_written(workspace)


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("model.n_heads=3", ("emb_dim 32 is not a multiple of n_heads 3", "n_heads = 2")),
        ("model.emb_dim=1000000000001", ("model.emb_dim = 1000000000001", "65536")),
        ("pretrain.micro_batch=3", ("batch_size 8 is not a multiple of micro_batch 3",)),
        ("model.vocab_size=100", ("model.vocab_size = 100", "266")),
        ("engine.device=cuda:1 engine.processes=2", ("engine.device cuda:1", "engine.processes 2")),
    ],
)
def test_settings_that_cannot_be(
    workspace: Workspace, setting: str, parts: tuple[str, ...]
) -> None:
    changes = [word for each in setting.split() for word in ("--set", each)]
    is_refused(workspace, gptstudio(workspace, *SMOKE, *changes), *parts)
    assert os.listdir(workspace.root) == ["datasets"]


@pytest.mark.skipif(bool(list_devices()), reason="there is a GPU")
def test_a_gpu_that_is_not_there(workspace: Workspace) -> None:
    done = gptstudio(workspace, *SMOKE, "--set", "engine.device=cuda")
    is_refused(workspace, done, "no NVIDIA GPU", "--set engine.device=cpu")
    assert os.listdir(workspace.root) == ["datasets"]


def test_what_can_be_read_is_learned_and_the_rest_is_told(workspace: Workspace) -> None:
    with (workspace.datasets / "latin.txt").open("wb") as file:
        file.write(b"caf\xe9 na\xefve r\xe9sum\xe9\n" * 3)
    steps = ("--set", "pretrain.max_steps=6", "--set", "model.vocab_size=20000")
    done = gptstudio(workspace, *SMOKE, *steps)
    assert done.returncode == 0, done.stderr
    [invalid] = [line for line in done.stdout.splitlines() if "are not UTF-8" in line]
    assert invalid.startswith("warning: ")
    assert "latin.txt" in invalid
    assert ": 12 bytes" in invalid
    assert "of the 20,000 tokens of model.vocab_size" in done.stdout
    made = read_lineage(workspace.tokenizers / "r")
    assert made is not None
    size = int(made.scores["vocab_size"] or 0)
    assert f"the data gave {size:,} of" in done.stdout
    assert f'"vocab_size": {size}' in (workspace.models / "r-pretrain/config.json").read_text()
    assert_nothing_half_written(workspace)

    before = sorted(workspace.root.rglob("*"))
    for words, said in (
        (SMOKE, "already a run called r"),
        (("resume", "r"), "has finished"),
        (("resume", "r", "--set", "pretrain.lr=1e-4"), "has finished"),
    ):
        refused = gptstudio(workspace, *words)
        assert refused.returncode == 2
        for part in (said, "where:", "to do:"):
            assert part in refused.stderr
        assert "Traceback" not in refused.stderr
    assert sorted(workspace.root.rglob("*")) == before


def test_a_run_at_work_and_after(workspace: Workspace) -> None:
    run = workspace.run("r")
    started = gptstudio(workspace, *SMOKE, "--set", "pretrain.max_steps=100000", "--detach")
    assert started.returncode == 0, started.stderr
    wait_for(lambda: steps_of(run) > 3, 60, run)
    settings = ("--set", "pretrain.max_steps=1", "--set", "pretrain.log_interval=2")
    is_refused(workspace, gptstudio(workspace, "resume", "r"), "r is running", "attach r")
    is_refused(workspace, gptstudio(workspace, "resume", "r", *settings), "gptstudio stop r")
    assert gptstudio(workspace, "stop", "r").returncode == 0
    wait_for(lambda: ended(run), 30, run)
    is_refused(
        workspace,
        gptstudio(workspace, "resume", "r", *settings, "--set", "model.n_layers=3"),
        "model.n_layers cannot change",
    )
    assert read_profile(run.profile).pretrain.max_steps == 100000
    more = steps_of(run) + 5
    resumed = gptstudio(workspace, "resume", "r", "--set", f"pretrain.max_steps={more}")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert f"goes on from step {more - 5}" in resumed.stdout
    assert steps_of(run) == more
    assert_nothing_half_written(workspace)


def read_only(workspace: Workspace) -> tuple[str, ...]:
    """What to put before a command so that it finds the workspace read-only."""
    if os.geteuid() != 0:
        workspace.root.chmod(0o500)
        return ()
    # root may write whatever the mode says: a file system of its own says no to it too
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'
    words = ("unshare", "--mount", "sh", "-c", script, str(workspace.root))
    try:
        tried = subprocess.run(
            [*words, "sh", "-c", "! touch x"], capture_output=True, timeout=20, check=False
        )
    except FileNotFoundError:
        pytest.skip("root may write everywhere, and there is no unshare")
    if tried.returncode != 0:
        pytest.skip("root may write everywhere, and may not mount here")
    return words


def test_a_workspace_that_cannot_be_written(workspace: Workspace) -> None:
    before = read_only(workspace)
    try:
        for words in (SMOKE, ("init", ".")):
            done = gptstudio(workspace, *words, before=before)
            is_refused(workspace, done, "workspace")
    finally:
        workspace.root.chmod(0o700)
    assert os.listdir(workspace.root) == ["datasets"]
