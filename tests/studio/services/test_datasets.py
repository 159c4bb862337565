"""The tree of `datasets/`: the same files as a run would learn from, and why not the others."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.errors import UserError
from gptcore.formats import Problem, find_files
from gptcore.formats.files import Kind
from gptcore.lineage import DataFile, Lineage, write_lineage
from gptcore.profile import Profile
from gptcore.settings import (
    DataSettings,
    EvalDataSettings,
    PipelineSettings,
    PretrainDataSettings,
    RowsDataSettings,
)
from gptcore.stages import Mix
from gptcore.workspace import Workspace
from gptstudio.services.datasets import (
    DatasetFile,
    DatasetTree,
    bytes_per_token,
    form_of,
    guess_bytes_per_token,
    scan,
)

PROFILE = Profile()
WHOLE = Profile(pipeline=PipelineSettings(stages=("tokenizer", "pretrain", "finetune", "eval")))


def with_mixes(include: tuple[str, ...], exclude: tuple[str, ...]) -> Profile:
    """Every stage, and the same globs for each mix."""
    data = DataSettings(
        pretrain=PretrainDataSettings(include=include, exclude=exclude),
        finetune=RowsDataSettings(include=include, exclude=exclude),
        eval=EvalDataSettings(include=include, exclude=exclude),
    )
    return WHOLE.model_copy(update={"data": data})


def put(root: Path, *names: str, text: str = "some text") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def files_of(tree: DatasetTree) -> dict[str, DatasetFile]:
    return {file.path: file for file in tree.files()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "datasets").mkdir()
    return tmp_path / "datasets"


def test_every_file_has_its_form_and_its_reason(tmp_path: Path, place: Path) -> None:
    put(place, "a.txt", "b/c.MD", "README.md", "d.jsonl", "e.parquet", "f.json.gz", "g.jsonl.zst")
    put(place, "h.txt.gz", "i.png", ".hidden.txt", ".git/config", "no-suffix")
    put(place, "empty.txt", text="")
    files = files_of(scan(Workspace(tmp_path), PROFILE))
    assert {path for path, file in files.items() if file.in_mix} == {"a.txt", "b/c.MD"}
    assert {path for path, file in files.items() if file.form == "data"} == {
        "d.jsonl", "e.parquet", "f.json.gz", "g.jsonl.zst"
    }  # fmt: skip
    assert files["README.md"].reason == "left out by data.pretrain.exclude: README*"
    assert "no stage of this pipeline (tokenizer, pretrain) takes rows" in files["d.jsonl"].reason
    assert "compressed" in files["h.txt.gz"].reason
    assert "hidden" in files[".hidden.txt"].reason
    assert files["empty.txt"].reason == "empty"
    assert files["a.txt"].size == 9
    assert files["a.txt"].mtime_ns == (place / "a.txt").stat().st_mtime_ns
    assert ".git/config" not in files
    assert not any(file.is_problem for file in files.values())


def test_folders_sum_up_what_is_below(tmp_path: Path, place: Path) -> None:
    put(place, "a.txt", "b/c.txt", "b/d/e.txt", "b/d/f.jsonl", ".git/x.txt")
    tree = scan(Workspace(tmp_path), PROFILE)
    root, b = tree.root, tree.folders["b"]
    assert root.folders == [".git", "b"]
    assert (root.num_files, root.num_in_mix, root.bytes, root.bytes_in_mix) == (4, 3, 36, 27)
    assert (b.num_files, b.num_in_mix, b.name) == (3, 2, "b")
    assert "hidden" in tree.folders[".git"].reason
    assert tree == scan(Workspace(tmp_path), PROFILE)


def test_include_decides_and_without_a_profile_nothing_is_in(tmp_path: Path, place: Path) -> None:
    put(place, "a.txt", "books/b.txt")
    files = files_of(scan(Workspace(tmp_path), with_mixes(("books/**",), ())))
    assert files["books/b.txt"].in_mix
    assert files["a.txt"].reason == "not in data.pretrain.include"
    assert not any(file.in_mix for file in scan(Workspace(tmp_path), None).files())


def test_no_folder_and_one_that_may_not_be_listed(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not exist" in scan(Workspace(tmp_path / "elsewhere"), PROFILE).problem
    put(place, "good.txt", "closed/x.txt")
    real = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    tree = scan(Workspace(tmp_path), PROFILE)
    assert tree.folders["closed"].is_problem
    assert tree.folders["closed"].reason == "cannot be listed: permission denied"
    assert list(files_of(tree)) == ["good.txt"]


@pytest.mark.timeout(20)
def test_links_pipes_and_loops(tmp_path: Path, place: Path) -> None:
    put(tmp_path, "outside/far.txt")
    put(place, "z/own.txt")
    (place / "loop").symlink_to(place)
    (place / "a.txt").symlink_to(place / "z" / "own.txt")
    (place / "other").symlink_to(tmp_path / "outside")
    (place / "broken.txt").symlink_to(place / "nowhere.txt")
    (place / "broken.png").symlink_to(place / "nowhere.png")
    os.mkfifo(place / "pipe.txt")
    tree = scan(Workspace(tmp_path), PROFILE)
    files = files_of(tree)
    assert {path for path in files if files[path].in_mix} == {"other/far.txt", "z/own.txt"}
    assert {path for path in files if files[path].is_problem} == {"broken.txt", "pipe.txt"}
    assert "already" in files["a.txt"].reason
    assert "already" in tree.folders["loop"].reason


names = st.sampled_from(["a", "b", "c.txt", "d.md", "README.md", ".h.txt", "e.jsonl", "f.TXT"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
entries = st.lists(
    st.tuples(st.sampled_from(["file", "file", "empty", "folder", "link"]), paths, paths),
    max_size=12,
)
globs = st.lists(st.sampled_from(["**", "README*", "a/*", "*.md", "b/"]), max_size=2).map(tuple)


def build(root: Path, wanted: list[tuple[str, str, str]]) -> None:
    for kind, path, target in wanted:
        try:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if kind == "folder":
                (root / path).mkdir()
            elif kind == "link":
                (root / path).symlink_to(root / target)
            else:
                (root / path).write_text("text" if kind == "file" else "")
        except OSError:
            pass  # something is there already, or a file stands in the way


@settings(max_examples=300, deadline=None)
@given(wanted=entries, include=globs, exclude=globs)
def test_the_mix_is_what_a_run_would_learn_from(
    wanted: list[tuple[str, str, str]],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("ws")
    place = root / "datasets"
    place.mkdir()
    build(place, wanted)
    tree = scan(Workspace(root), with_mixes(include, exclude))
    listed = tree.files()
    problems: list[Problem] = []
    mixes: tuple[tuple[Mix, Kind], ...] = (
        ("pretrain", "text"), ("finetune", "data"), ("eval", "data")
    )  # fmt: skip
    for mix, kind in mixes:
        try:
            found = find_files(place, kind, include, exclude, problems)
        except UserError:
            found = []
        taken = [each.path for each in listed if mix in {taker.mix for taker in each.takers}]
        assert taken == [str(path.relative_to(place)) for path in found]
    assert {file.path for file in listed if file.is_problem} == {
        str(problem.file.relative_to(place)) for problem in problems
    }


def test_each_stage_takes_what_its_mixes_name(tmp_path: Path, place: Path) -> None:
    put(place, "a.txt", "rows.jsonl", "rows-held-out.jsonl", "README.md", "README.json")
    tree = scan(Workspace(tmp_path), WHOLE)
    files = files_of(tree)
    assert files["a.txt"].stages() == ("tokenizer", "pretrain")
    assert files["rows.jsonl"].stages() == ("tokenizer", "finetune")
    assert files["rows-held-out.jsonl"].stages() == ("eval",)
    assert files["rows.jsonl"].stages(["preference"]) == ()
    assert files["rows.jsonl"].stages(["preference", "tools"]) == ("tokenizer", "finetune")
    assert files["README.json"].reason == (
        "left out by data.finetune.exclude: README*; not in data.eval.include"
    )
    assert tree.mixes.refusals("rows.jsonl", "data") == ["not in data.eval.include"]
    assert tree.mixes.home("x-held-out.json", "data") == "eval"
    assert tree.mixes.home("x.json", "data") == "finetune"
    assert tree.mixes.home("x.txt", "text") == "pretrain"
    assert scan(Workspace(tmp_path), PROFILE).mixes.home("x.json", "data") is None


def test_every_stage_takes_its_rows_and_no_others(tmp_path: Path, place: Path) -> None:
    put(place, "rows.jsonl", "rows-held-out.jsonl")
    everything = ("tokenizer", "pretrain", "finetune", "reward", "ppo", "orpo", "rgpo", "eval")
    profile = Profile(pipeline=PipelineSettings(stages=everything))
    tree = scan(Workspace(tmp_path), profile)
    rows = files_of(tree)["rows.jsonl"]
    assert rows.stages(["preference"]) == ("tokenizer", "reward", "orpo")
    assert rows.stages(["tools"]) == ("tokenizer", "finetune", "ppo", "rgpo")
    assert rows.stages(["prompt"]) == ("tokenizer", "ppo", "rgpo")
    assert files_of(tree)["rows-held-out.jsonl"].stages(["tools"]) == ("eval",)
    mixes = tree.mixes
    assert mixes.refusals("x-held-out.jsonl", "data", ["preference"]) == [
        "left out by data.reward.exclude, data.orpo.exclude: *held-out*"
    ]
    assert mixes.home("x.jsonl", "data") == "finetune"
    assert mixes.home("x.jsonl", "data", ["preference"]) == "orpo"
    assert mixes.home("x.jsonl", "data", ["prompt"]) == "rgpo"
    assert mixes.home("x-held-out.jsonl", "data", ["tools"]) == "eval"


def test_rows_that_no_stage_takes_have_no_home(tmp_path: Path, place: Path) -> None:
    put(place, "rows.jsonl")
    mixes = scan(Workspace(tmp_path), WHOLE).mixes
    assert mixes.home("x.jsonl", "data", ["preference"]) is None
    (why,) = mixes.refusals("x.jsonl", "data", ["preference"])
    assert why.endswith("takes preference rows")
    judged = Profile(pipeline=PipelineSettings(stages=("tokenizer", "pretrain", "reward")))
    mixes = scan(Workspace(tmp_path), judged).mixes
    assert mixes.home("x.jsonl", "data", ["preference"]) == "reward"


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("a/b.txt", "text"),
        ("B.TXT", "text"),
        ("x.md", "text"),
        ("x.jsonl", "data"),
        ("x.parquet.zst", "data"),
        ("x.txt.gz", "ignored"),
        ("x.gz", "ignored"),
        ("txt", "ignored"),
        ("a.txt/b", "ignored"),
    ],
)
def test_forms_go_by_the_name(path: str, form: str) -> None:
    assert form_of(path)[0] == form


def test_bytes_per_token_are_measured_or_guessed(tmp_path: Path) -> None:
    workspace, profile = Workspace(tmp_path), Profile(name="demo")
    guess = bytes_per_token(workspace, profile)
    assert guess == guess_bytes_per_token(profile.model.vocab_size)
    assert 3.5 < guess < 5
    assert 2 < guess_bytes_per_token(1024) < 3.5
    folder = tmp_path / "models/demo-1"
    folder.mkdir(parents=True)
    data = [DataFile("a.txt", 3000, "0")]
    training = {"train_tokens": 900, "held_out_tokens": 100}
    made = Lineage("pretrain", "demo-1", "demo", "f", 1.0, data=data, training=training)
    write_lineage(folder, made)
    assert bytes_per_token(workspace, profile) == 3.0
    assert bytes_per_token(workspace, Profile(name="other")) == guess
