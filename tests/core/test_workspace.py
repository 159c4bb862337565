"""Files that are there whole or not at all, and finding what a person named."""

import os
from pathlib import Path

import pytest

from gptcore.errors import UserError
from gptcore.lineage import Lineage, find_model, read_lineage, results, write_lineage
from gptcore.memory import estimate_training, largest_micro_batch, num_parameters
from gptcore.profile import read_profile
from gptcore.settings import ModelSettings
from gptcore.workspace import Workspace, new_dir, replace_link, write_atomic


def test_write_atomic_leaves_the_old_file_on_failure(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "status.json"
    write_atomic(path, "old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["status.json"]


def test_new_dir_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    final = tmp_path / "models" / "m"
    with pytest.raises(RuntimeError), new_dir(final) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert os.listdir(tmp_path / "models") == []
    with new_dir(final) as folder:
        (folder / "whole").write_text("x")
        assert not final.exists()
    assert os.listdir(tmp_path / "models") == ["m"]
    assert (final.stat().st_mode & 0o777) == 0o700


def test_replace_link_follows_the_newest(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log").write_text(name)
        replace_link(tmp_path / "training.log", tmp_path / name / "log")
        assert (tmp_path / "training.log").read_text() == name


def test_locate_prefers_the_argument_then_the_variable(tmp_path: Path, monkeypatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("GPTSTUDIO_WORKSPACE", str(tmp_path))
    assert Workspace.locate(other).root == other
    assert Workspace.locate().root == tmp_path
    with pytest.raises(UserError, match="does not exist"):
        Workspace.locate(tmp_path / "none")


def lineage(run: str, made: float) -> Lineage:
    return Lineage("pretrain", run, "p", "f", made)


def test_models_are_found_by_name_run_path_and_latest(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(UserError, match="no model is called 'latest'"):
        find_model(workspace, "latest")
    for made, run in enumerate(("one", "two")):
        folder = workspace.models / f"{run}-pretrain"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        write_lineage(folder, lineage(run, made))
    (workspace.models / "broken").mkdir()
    (workspace.models / "broken" / "gptstudio.json").write_text("{")
    assert read_lineage(workspace.models / "broken") is None
    assert [path.name for path, _ in results(workspace.models)] == ["two-pretrain", "one-pretrain"]
    assert find_model(workspace, "latest").name == "two-pretrain"
    assert find_model(workspace, "one").name == "one-pretrain"
    assert find_model(workspace, "one-pretrain").name == "one-pretrain"
    assert find_model(workspace, "models/one-pretrain").name == "one-pretrain"
    with pytest.raises(UserError, match="'three'"):
        find_model(workspace, "three")


def test_a_run_in_training_is_found_by_its_newest_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2):
        folder = tmp_path / "checkpoints" / "r" / "pretrain" / f"step-{step:08d}"
        folder.mkdir(parents=True)
        os.utime(folder, (step, step))
    assert find_model(Workspace(tmp_path), "r").name == "step-00000002"


def test_reference_size_and_memory() -> None:
    small = ModelSettings()
    assert num_parameters(small) == 125_161_728
    settings = read_profile(Path(__file__).parents[2] / "profiles" / "gpt2-small.toml").pretrain
    need = estimate_training(small, micro_batch=settings.micro_batch).total
    assert need < 7.2 * 2**30  # what an 8 GB GPU leaves to a program
    assert estimate_training(small, micro_batch=8).total > need
    cheaper = estimate_training(small, micro_batch=4, gradient_checkpointing=True)
    assert cheaper.activations < estimate_training(small, micro_batch=4).activations / 4
    assert cheaper.total == sum(cheaper.parts().values())
    assert largest_micro_batch(small, 8 * 2**30) >= 4
    assert largest_micro_batch(small, 2**30) == 0
