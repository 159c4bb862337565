"""What goes into a fingerprint; results made before must still be found."""

from pathlib import Path

import pytest

from gptcore.errors import UserError
from gptcore.inputs import parent_digests, parent_file, result_with, stage_inputs, taken_from
from gptcore.lineage import DataFile, Lineage, write_lineage
from gptcore.profile import Profile
from gptcore.stages import STAGES, fingerprint
from gptcore.workspace import Workspace

DATA = [DataFile("a.txt", 3, "aa"), DataFile("b/c.md", 5, "cc")]


def test_inputs_are_as_the_first_results_were_made_with() -> None:
    files = [["a.txt", "aa"], ["b/c.md", "cc"]]
    assert stage_inputs(DATA) == {"files": files}
    both = {"tokenizer": "tt", "model": "mm"}
    assert stage_inputs(DATA, both) == {"files": files, "tokenizer": "tt", "model": "mm"}


def test_a_parent_stands_for_its_weights_or_its_merges(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tokenizer has no"):
        parent_file(tmp_path, "tokenizer")
    (tmp_path / "tokenizer.json").touch()
    assert taken_from(tmp_path, STAGES["pretrain"]) == ("tokenizer",)
    with pytest.raises(UserError, match="starts from a model"):
        taken_from(tmp_path, STAGES["finetune"])
    (tmp_path / "config.json").touch()
    (tmp_path / "model.safetensors.index.json").touch()
    assert taken_from(tmp_path, STAGES["pretrain"]) == ("tokenizer", "model")
    assert parent_file(tmp_path, "tokenizer").name == "tokenizer.json"
    assert parent_file(tmp_path, "model").name == "model.safetensors.index.json"
    (tmp_path / "model.safetensors").touch()
    assert parent_file(tmp_path, "model").name == "model.safetensors"


def test_the_newest_result_with_a_fingerprint_is_found(tmp_path: Path) -> None:
    wanted = fingerprint(STAGES["tokenizer"], Profile(), stage_inputs(DATA))
    assert result_with(tmp_path / "nowhere", wanted) is None
    for name, made, mark in (("old", 1.0, wanted), ("new", 2.0, wanted), ("other", 3.0, "x")):
        (tmp_path / name).mkdir()
        write_lineage(tmp_path / name, Lineage("tokenizer", name, "p", mark, made))
    assert result_with(tmp_path, wanted) == tmp_path / "new"
    assert result_with(tmp_path, "none") is None


def test_a_model_in_shards_stands_for_all_of_them(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    shard = tmp_path / "model-00001-of-00001.safetensors"
    digests = []
    for weights in (b"base", b"instruct", b"base"):
        shard.unlink(missing_ok=True)
        shard.write_bytes(weights)
        digests.append(parent_digests(workspace, {"model": tmp_path})["model"])
    assert digests[0] == digests[2] != digests[1]
