"""Bad input: exit status 2, what, where and what to do, and nothing left behind."""

import pytest
from typer.testing import CliRunner, Result

from gptcore.workspace import Workspace
from gptstudio.command_line import app


def call(*words: str) -> Result:
    return CliRunner().invoke(app, words)


@pytest.fixture(autouse=True)
def in_workspace(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.root)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("run", "-p", "tinny"), ("no profile is called 'tinny'", "did you mean tiny?", "to do")),
        (("run", "-p", "./no.toml"), ("the profile does not exist", "./no.toml", "profiles list")),
        (("run", "-p", "tiny", "--set", "pretrain.lrr=1"), ("did you mean pretrain.lr?",)),
        (("run", "-p", "tiny", "--set", "x"), ("section.key=value", "--set pretrain.lr=3e-4")),
        (("run", "-p", "tiny", "--stage", "pretrian"), ("did you mean pretrain?", "tokenizer")),
        (("run", "-p", "tiny", "--name", "../x"), ("cannot be called '../x'", "letters, digits")),
        (("run", "-p", "tiny", "--name", ".x"), ("cannot be called",)),
        (("run", "-p", "tiny", "--name", "training.log"), ("cannot be called",)),
        (("run", "-p", "tiny", "--name", "a\x1b[31m"), ("\\x1b[31m",)),
        (
            ("run", "-p", "tiny", "--set", "engine.device=cuda:7"),
            ("cuda:7", "--set engine.device=cpu"),
        ),
        (
            ("run", "-p", "tiny", "--set", "engine.python=no-such-python"),
            ("'no-such-python'", "engine.python"),
        ),
        (("run", "-p", "tiny", "--set", 'data.pretrain.include=["*.no"]'), ("where: ", "to do: ")),
        (("run", "-p", "tiny", "--stage", "pretrain"), ("has no tokenizer yet", "--stage all")),
        (("run", "-p", "tiny", "--stage", "pretrain", "--from", "no"), ("called 'no'", "to do")),
        (("run", "-p", "tiny", "--from", "x"), ("starts from text alone",)),
        (("attach", "nobody"), ("no run is called 'nobody'", "gptstudio run")),
        (("attach",), ("there is no run yet",)),
        (("stop", "../../etc"), ("no run is called",)),
        (("resume", "nobody"), ("no run is called",)),
        (("generate", "nobody", "--prompt", "x"), ("no model is called 'nobody'", "to do")),
        (("profiles", "show", "nobody"), ("no profile is called", "tiny")),
        (("profiles", "check", "nobody"), ("no profile is called",)),
        (("runs", "--workspace", "/no/such"), ("the workspace does not exist", "gptstudio init")),
        (("doctor", "--workspace", "/no/such"), ("the workspace does not exist",)),
        (("init", "datasets/a.txt"), ("datasets/a.txt", "to do")),
        (("generate", "m", "--prompt", "x", "--top-p", "2"), ("--top-p",)),
        (("generate", "m", "--prompt", "x", "--device", "gpu"), ("--device", "'gpu'", "cuda:N")),
        (("generate", "m", "--prompt", "x", "--device", "cuda:"), ("--device",)),
    ],
)
def test_bad_input(workspace: Workspace, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    before = sorted(workspace.root.rglob("*"))
    result = call(*words)
    assert result.exit_code == 2, result.output
    for part in parts:
        assert part in result.stderr
    assert result.stdout == ""
    assert "\x1b" not in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(workspace.root.rglob("*")) == before


def test_all_mistakes_of_a_profile_are_listed(workspace: Workspace) -> None:
    path = workspace.profiles / "bad.toml"
    path.write_text('[model]\nemb_dim = -1\nn_layer = 3\n[pretrain]\nlr = "[bold]fast"\n')
    for words in (("profiles", "check", "bad"), ("run", "-p", str(path))):
        result = call(*words)
        assert result.exit_code == 2
        for part in ("model.emb_dim", "model.n_layers", "[bold]fast", str(path)):
            assert part in result.stderr
    assert "BROKEN" in call("profiles", "list").stdout


def test_a_run_that_was_never_started_is_the_same_to_every_command(workspace: Workspace) -> None:
    workspace.run("half").folder.mkdir(parents=True)
    lines = [("run", "-p", "tiny", "--name", "half")]
    lines += [(command, "half") for command in ("resume", "attach", "stop")]
    for words in lines:
        result = call(*words)
        assert result.exit_code == 2
        assert "the run half was never started" in result.stderr
        assert "remove the folder; or choose another --name" in result.stderr
    assert list(workspace.run("half").folder.iterdir()) == []


def test_data_that_cannot_be_read_is_named_before_the_run(workspace: Workspace) -> None:
    for number in range(7):
        (workspace.datasets / f"gone-{number}.txt").symlink_to("nowhere")
    (workspace.datasets / "odd\x1b.txt").symlink_to("nowhere")
    (workspace.datasets / "left-out.md").symlink_to("nowhere")
    result = call("run", "-p", "tiny", "--set", 'data.pretrain.exclude=["left*"]')
    assert result.exit_code == 0
    warnings = result.stderr.splitlines()
    reason = "cannot be read: No such file or directory; it is left out"
    assert warnings[0] == f"warning: datasets/gone-0.txt {reason}"
    assert len(warnings) == 6
    assert warnings[-1] == "warning: 3 more files or folders are left out"
    assert "\x1b" not in result.stderr
