"""What of a pipeline is up to date, what is stale and why; the engine must agree."""

import json
import os
import time
from pathlib import Path

import msgspec
import pytest

from gptcore.digests import file_digest
from gptcore.evaluation import FILE_NAME, Details, Evaluation, write_evaluation
from gptcore.inputs import Pipeline, parent_file, stage_inputs
from gptcore.lineage import DataFile, Lineage, write_lineage
from gptcore.profile import Profile, check_profile, read_profile
from gptcore.stages import STAGES, fingerprint, settings_that_matter
from gptcore.workspace import Workspace
from gptstudio.services.stage_states import StageState, setting_changes, stage_states
from tests.conftest import SMOKE, Runs, write_corpus

PROFILE = check_profile({"name": "demo"}, where="here")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    write_corpus(tmp_path / "datasets")
    return Workspace(tmp_path)


def changed(**tables: dict[str, object]) -> Profile:
    return check_profile({"name": "demo", **tables}, where="here")


def corpus(workspace: Workspace) -> list[DataFile]:
    paths = sorted(workspace.datasets.rglob("*.txt"))
    return [
        DataFile(path.name, path.stat().st_size, file_digest(path, workspace.cache))
        for path in paths
    ]


def make(workspace: Workspace, stage: str, name: str, profile: Profile = PROFILE) -> Path:
    """A result as the engine leaves it, of the data as they are now."""
    known = STAGES[stage]
    folder = workspace.root / known.makes / name
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(f"merges of {name}")
    data, parents, digests = corpus(workspace), {}, {}
    if stage == "pretrain":
        (tokenizer,) = workspace.tokenizers.iterdir()
        parents = {"tokenizer": workspace.relative(tokenizer)}
        digests["tokenizer"] = file_digest(parent_file(tokenizer, "tokenizer"), workspace.cache)
    lineage = Lineage(
        stage=stage,
        run=name,
        pipeline=profile.name,
        fingerprint=fingerprint(known, profile, stage_inputs(data, digests)),
        made=time.time(),
        parents=parents,
        data=data,
        settings=settings_that_matter(known, profile),
    )
    write_lineage(folder, lineage)
    return folder


def look(workspace: Workspace, profile: Profile = PROFILE) -> tuple[StageState, StageState]:
    tokenizer, pretrain = stage_states(workspace, profile)
    return tokenizer, pretrain


def both(workspace: Workspace) -> None:
    make(workspace, "tokenizer", "demo-1")
    make(workspace, "pretrain", "demo-1-pretrain")


def test_never_run_then_up_to_date(workspace: Workspace) -> None:
    tokenizer, pretrain = look(workspace)
    assert (tokenizer.condition, pretrain.condition) == ("never run", "never run")
    assert pretrain.reasons == ("it has no tokenizer yet",)
    make(workspace, "tokenizer", "demo-1")
    tokenizer, pretrain = look(workspace)
    assert (tokenizer.condition, tokenizer.result) == ("up to date", "tokenizers/demo-1")
    assert (pretrain.condition, pretrain.reasons) == ("never run", ())
    make(workspace, "pretrain", "demo-1-pretrain")
    _, pretrain = look(workspace)
    assert (pretrain.condition, pretrain.result) == ("up to date", "models/demo-1-pretrain")
    assert pretrain.reasons == ()


def test_another_pipelines_results_count_where_they_are_the_same(workspace: Workspace) -> None:
    both(workspace)
    other = look(workspace, check_profile({"name": "other"}, where="here"))
    assert [state.condition for state in other] == ["up to date", "up to date"]
    more = check_profile({"name": "other", "model": {"n_layers": 3}}, where="here")
    tokenizer, pretrain = look(workspace, more)
    assert (tokenizer.condition, pretrain.condition) == ("up to date", "never run")


def test_a_setting_makes_its_stage_stale_and_is_named(workspace: Workspace) -> None:
    both(workspace)
    tokenizer, pretrain = look(workspace, changed(pretrain={"lr": 0.001, "log_interval": 7}))
    assert tokenizer.condition == "up to date"
    assert pretrain.condition == "stale"
    assert pretrain.result == "models/demo-1-pretrain"
    assert pretrain.reasons == ("pretrain.lr 0.0006 -> 0.001",)


def test_files_that_are_new_changed_or_gone_are_named(workspace: Workspace) -> None:
    for name in "abc":
        (workspace.datasets / f"{name}.txt").write_text(name)
    both(workspace)
    (workspace.datasets / "a.txt").write_text("another")
    (workspace.datasets / "b.txt").unlink()
    for name in "vwxyz":
        (workspace.datasets / f"{name}\x1b.txt").write_text(name)
    tokenizer, pretrain = look(workspace)
    expected = (
        "5 files new: v\\x1b.txt, w\\x1b.txt, x\\x1b.txt and 2 more",
        "1 file changed: a.txt",
        "1 file gone: b.txt",
    )
    assert (tokenizer.condition, tokenizer.reasons) == ("stale", expected)
    assert (pretrain.condition, pretrain.reasons) == (
        "stale",
        ("its tokenizer is stale", *expected),
    )


def test_a_tokenizer_made_anew_makes_the_model_stale(workspace: Workspace) -> None:
    both(workspace)
    bigger = changed(model={"vocab_size": 1000})
    tokenizer, pretrain = look(workspace, bigger)
    assert tokenizer.reasons == ("model.vocab_size 50257 -> 1000",)
    assert pretrain.reasons == ("its tokenizer is stale",)
    make(workspace, "tokenizer", "demo-2", bigger)
    tokenizer, pretrain = look(workspace, bigger)
    assert tokenizer.condition == "up to date"
    assert pretrain.reasons == ("its tokenizer was tokenizers/demo-1, now tokenizers/demo-2",)


def test_no_text_and_a_missing_parent_are_said(workspace: Workspace) -> None:
    both(workspace)
    (workspace.datasets / "text.txt").unlink()
    for state in look(workspace):
        assert state.condition == "stale"
        assert state.reasons == ("there is no text to train on",)
    write_corpus(workspace.datasets)
    started = changed(pipeline={"only": "pretrain", "parent": "gone"})
    tokenizer, pretrain = look(workspace, started)
    assert (tokenizer.performed, pretrain.performed) == (False, True)
    assert pretrain.reasons[0] == "no model or tokenizer is called 'gone'"


def test_a_named_parent_counts_in_place_of_the_pipelines_tokenizer(workspace: Workspace) -> None:
    both(workspace)
    started = changed(pipeline={"only": "pretrain", "parent": "tokenizers/demo-1"})
    assert look(workspace, started)[1].condition == "up to date"


def test_what_is_read_is_told_and_the_second_look_reads_nothing(workspace: Workspace) -> None:
    path = workspace.datasets / "text.txt"
    os.utime(path, (1e9, 1e9))
    told: list[tuple[int, int]] = []
    stage_states(workspace, PROFILE, lambda done, total: told.append((done, total)))
    size = path.stat().st_size
    assert told[-1] == (size, size)
    told.clear()
    stage_states(workspace, PROFILE, lambda done, total: told.append((done, total)))
    assert told == [(0, size)]


def test_many_settings_are_counted_and_long_values_cut() -> None:
    before = {f"pretrain.s{number}": 0 for number in range(6)} | {"data.weights": {}}
    now = {f"pretrain.s{number}": 1 for number in range(6)} | {"data.x": "y" * 100}
    reasons = setting_changes(before, now)
    assert reasons[0] == "pretrain.s0 0 -> 1"
    assert len(reasons) == 4
    assert reasons[-1] == "and 4 more settings"
    [long] = setting_changes({}, {"data.x": "y" * 100})
    assert long.startswith("data.x absent -> yyy")
    assert len(long) < 70
    assert setting_changes({"a": {}, "b": None}, {}) == []


@pytest.mark.slow
def test_the_engine_skips_just_what_is_said_to_be_up_to_date(
    workspace: Workspace, runs: Runs
) -> None:
    def conditions(*overrides: str) -> list[str]:
        return [each.condition for each in stage_states(workspace, read_profile(SMOKE, overrides))]

    assert conditions() == ["never run", "never run"]
    assert runs.to_the_end("first").state == "done"
    assert conditions() == ["up to date", "up to date"]
    other = "pretrain.lr=2e-3"
    assert conditions(other) == ["up to date", "stale"]
    again = runs.create("second")
    runs.supervise(again)
    assert runs.finish(again).outputs.keys() == {"tokenizer", "pretrain"}
    assert [path.name for path in workspace.models.iterdir()] == ["first-pretrain"]
    assert runs.to_the_end("third", other).state == "done"
    assert conditions(other) == conditions() == ["up to date", "up to date"]
    assert [path.name for path in workspace.tokenizers.iterdir()] == ["first"]


def test_an_evaluation_is_stale_where_model_data_or_settings_are_others(
    workspace: Workspace,
) -> None:
    def judged(**settings: object) -> Profile:
        pipeline = {"stages": ["eval"], "parent": "models/m"}
        return changed(pipeline=pipeline, eval=settings)

    def state(profile: Profile) -> StageState:
        [found] = stage_states(workspace, profile)
        return found

    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    held_out = workspace.datasets / "held-out.jsonl"
    held_out.write_text(json.dumps(row))
    folder = workspace.models / "m"
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    write_lineage(folder, Lineage("finetune", "m", "demo", "f", time.time()))
    profile, stage = judged(max_prompts=10), STAGES["eval"]
    assert state(profile).condition == "never run"
    pipeline = Pipeline(workspace, profile)
    evaluation = Evaluation(
        model="models/m",
        fingerprint=pipeline.fingerprint(stage),
        made=time.time(),
        data=pipeline.data(stage),
        loss=1.0,
        perplexity=2.7,
        bits_per_byte=1.0,
        tokens=1,
        conversations=1,
        settings=settings_that_matter(stage, profile),
    )
    write_evaluation(folder / FILE_NAME, evaluation)
    assert state(profile).condition == "stale"  # it cannot be held against another
    details = Details(held_out="", verdicts={}, nats="", tokens="")
    evaluation = msgspec.structs.replace(evaluation, details=details)
    write_evaluation(folder / FILE_NAME, evaluation)
    assert (state(profile).condition, state(profile).result) == ("up to date", "models/m")
    assert state(judged(max_prompts=20)).reasons == ("eval.max_prompts 10 -> 20",)
    held_out.write_text(json.dumps(row) + "\n" + json.dumps(row))
    assert state(profile).reasons == ("1 file changed: held-out.jsonl",)
    (folder / "model.safetensors").write_text("other weights")
    assert state(profile).condition == "stale"
