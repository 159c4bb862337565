"""The parts that need no process: text, profiles as text, starter files, checks."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from gptcore.devices import Device
from gptcore.errors import UserError
from gptcore.lineage import Lineage, write_lineage
from gptcore.profile import Profile, check_profile, differences
from gptcore.text import clean
from gptcore.workspace import Workspace
from gptstudio import preflight as checks
from gptstudio.doctor import Check, worst
from gptstudio.logout import check_logout
from gptstudio.names import check_run_name
from gptstudio.profile_text import describe_size, document
from gptstudio.requirements import satisfies
from gptstudio.starter import make_workspace
from gptstudio.text import human_bytes, human_count, human_time, quote_lines


def test_text_from_outside_is_shown_not_obeyed() -> None:
    assert clean("a\x1b[31mb\x07\x9b\u202ec\n\udcff") == "a\\x1b[31mb\\x07\\x9b\\u202ec\\n\\xff"
    assert clean("a\r\nb\tc", lines=True) == "a\nb    c"
    assert quote_lines("x\nerror: y") == "  | x\n  | error: y"


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (human_count(950), "950"),
        (human_count(12_345), "12.3k"),
        (human_count(124_000_000), "124M"),
        (human_bytes(512), "512 B"),
        (human_bytes(1.5 * 2**30), "1.5 GiB"),
        (human_time(59.6), "1 min 00 s"),
        (human_time(7500), "2 h 05 min"),
        (human_time(-1), "0 s"),
    ],
)
def test_numbers_are_readable(shown: str, text: str) -> None:
    assert shown == text


@pytest.mark.parametrize("name", ["a", "_x", "A.b-c_9", "9"])
def test_good_run_names(name: str) -> None:
    assert check_run_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "-a", "a/b", "a b", "é", "a\n", "x" * 81])
def test_bad_run_names(name: str) -> None:
    with pytest.raises(UserError):
        check_run_name(name)


PROFILES = [
    {},
    {"name": "x", "description": 'a "b" \\ [c]\n\x1b é'},
    {"pipeline": {"only": "pretrain", "parent": "tokenizers/t"}, "engine": {"device": "cuda:1"}},
    {"data": {"pretrain": {"weights": {"a/*.md": 3, 'q"': 2}, "include": ["a", "b\n"]}}},
    {"pretrain": {"lr": 1e-05, "min_lr": 0.0, "gradient_checkpointing": True}},
]


@pytest.mark.parametrize("settings", PROFILES)
def test_a_shown_profile_reads_back(settings: dict[str, object]) -> None:
    profile = check_profile(settings, where="test")
    text = document(profile)
    assert check_profile(tomllib.loads(text), where="shown") == profile
    marked = sum("  # (default: " in line for line in text.splitlines())
    assert marked >= bool(differences(profile))


def test_a_shown_profile_says_meaning_and_bounds() -> None:
    text = document(Profile())
    assert "# Share of the documents that is never trained on, only evaluated." in text
    assert "[at least 0, below 1]" in text
    assert "[auto, fp32, bf16," in text
    assert "124" in describe_size(Profile()) or "125" in describe_size(Profile())


def test_init_is_idempotent_and_keeps_what_is_there(tmp_path: Path) -> None:
    root = tmp_path / "deep/ws"
    (root / "profiles").mkdir(parents=True)
    (root / "datasets").mkdir()
    (root / "datasets/pydoc_topics.txt").write_text("mine")
    (root / "datasets/the_terminal.md").symlink_to("nowhere")
    made = make_workspace(root)
    assert made.kept == 2
    assert (root / "datasets/pydoc_topics.txt").read_text() == "mine"
    assert "datasets/README.md" in made.files
    assert not list((root / "datasets").glob("**/*.py"))
    before = {path: path.stat().st_mtime_ns for path in (root / "datasets").glob("*.txt")}
    again = make_workspace(root)
    assert (again.files, again.folders) == ([], [])
    assert again.kept == len(made.files) + 2
    assert {path: path.stat().st_mtime_ns for path in (root / "datasets").glob("*.txt")} == before


def test_topics_are_documents(tmp_path: Path) -> None:
    make_workspace(tmp_path)
    text = (tmp_path / "datasets/pydoc_topics.txt").read_text()
    documents = text.split("<|endoftext|>\n")
    assert len(documents) > 60
    assert not re.search(r"^\*{3,}$", text, re.MULTILINE)
    assert len(text) > 300_000


def gpu(gib: float) -> Device:
    return Device(0, "Test GPU", memory_total=int(gib * 2**30))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/a.txt").write_text("text")
    return Workspace(tmp_path)


@pytest.mark.parametrize(
    ("gib", "settings", "fix"),
    [
        (24, {}, ""),
        (8, {"pretrain": {"micro_batch": 32}}, "--set pretrain.micro_batch="),
        (4, {"model": {"context_length": 6000}}, "gradient_checkpointing=true"),
        (3.5, {"model": {"context_length": 65536}}, "--set model.context_length="),
        (2, {}, "--set engine.device=cpu"),
    ],
)
def test_a_run_that_cannot_fit_is_told_what_to_change(
    monkeypatch: pytest.MonkeyPatch,
    workspace: Workspace,
    gib: float,
    settings: dict[str, dict[str, int]],
    fix: str,
) -> None:
    monkeypatch.setattr("gptcore.devices.list_devices", lambda: [gpu(gib)])
    profile = check_profile({"engine": {"device": "cuda"}, **settings}, where="test")
    if not fix:
        checks.preflight(workspace, profile)
        return
    with pytest.raises(UserError) as caught:
        checks.preflight(workspace, profile)
    assert fix in caught.value.fix
    changes = [part.partition("=") for part in caught.value.fix.split() if "=" in part]
    data = profile.model_dump()
    for key, _, value in changes:
        table, name = key.split(".")
        data[table][name] = tomllib.loads(f"v = {value}")["v"] if value != "cpu" else "cpu"
    checks.preflight(workspace, check_profile(data, where="fixed"))  # the remedy is one


@pytest.mark.parametrize(
    ("settings", "library"),
    [({"backend": "unsloth"}, "unsloth"), ({"method": "qlora"}, "bitsandbytes")],
)
def test_what_fine_tuning_lacks_is_said_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
    workspace: Workspace,
    settings: dict[str, str],
    library: str,
) -> None:
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    (workspace.datasets / "talk.jsonl").write_text(json.dumps(row))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    stages = ["tokenizer", "pretrain", "finetune"]
    tables = {"pipeline": {"stages": stages}, "finetune": settings}
    with pytest.raises(UserError, match=f"{library} is not installed") as caught:
        checks.preflight(workspace, check_profile(tables, where="test"))
    assert "--set finetune." in caught.value.fix
    tables["engine"] = {"python": "/another/python"}
    checks.preflight(workspace, check_profile(tables, where="test"))


def rl_profile(workspace: Workspace, stage: str, **tables: object) -> Profile:
    """A pipeline that ends with `stage`, and rows for it."""
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (workspace.datasets / "talk.jsonl").write_text(json.dumps({"messages": messages}))
    pair = {"prompt": "a", "chosen": "b", "rejected": "c"}
    (workspace.datasets / "pairs.jsonl").write_text(json.dumps(pair))
    stages = ["tokenizer", "pretrain", stage]
    return check_profile({"pipeline": {"stages": stages}, **tables}, where="test")


@pytest.mark.parametrize(
    ("stage", "settings", "lacking", "fix"),
    [
        ("reward", {}, "trl", "pip install"),
        ("ppo", {"method": "full"}, "trl", "pip install"),
        ("orpo", {}, "peft", "pip install"),
        ("rgpo", {"method": "qlora"}, "bitsandbytes", "--set rgpo.method=lora"),
    ],
)
def test_every_stage_that_tunes_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
    workspace: Workspace,
    stage: str,
    settings: dict[str, str],
    lacking: str,
    fix: str,
) -> None:
    profile = rl_profile(workspace, stage, **{stage: settings})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == lacking else name)
    with pytest.raises(UserError, match=f"{lacking} is not installed") as caught:
        checks.preflight(workspace, profile)
    assert stage in caught.value.where
    assert fix in caught.value.fix


@pytest.mark.parametrize("stage", ["orpo", "rgpo"])
def test_our_own_trainings_of_all_weights_lack_nothing(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace, stage: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    checks.preflight(workspace, rl_profile(workspace, stage, **{stage: {"method": "full"}}))


@pytest.mark.parametrize("stage", ["finetune", "reward", "ppo", "orpo", "rgpo"])
def test_a_stage_that_cannot_fit_names_its_own_table(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace, stage: str
) -> None:
    monkeypatch.setattr("gptcore.devices.list_devices", lambda: [gpu(24)])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    large = {"micro_batch": 256, "batch_size": 256, "method": "full"}
    engine, pretrain = {"device": "cuda"}, {"micro_batch": 1}
    tables = {"engine": engine, "pretrain": pretrain, stage: large}
    profile = rl_profile(workspace, stage, **tables)
    with pytest.raises(UserError, match="GPU memory") as caught:
        checks.preflight(workspace, profile)
    assert f"{stage}.micro_batch" in caught.value.where
    assert f"--set {stage}.gradient_checkpointing=true" in caught.value.fix
    assert f"--set {stage}.method=lora" in caught.value.fix
    assert "finetune" not in caught.value.fix or stage == "finetune"


@pytest.mark.parametrize(
    ("settings", "only", "what"),
    [
        ({"reward_model": "nobody"}, None, "no reward model is called 'nobody'"),
        ({"functions": ["mine.py:brevity"]}, None, "mine.py is code"),
        ({}, "rgpo", "no model from the stage reward yet"),
        ({}, None, ""),
    ],
)
def test_rewards_are_looked_for_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
    workspace: Workspace,
    settings: dict[str, object],
    only: str | None,
    what: str,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(workspace.root / "state"))
    rl_profile(workspace, "rgpo")
    stages = ["tokenizer", "pretrain", "reward", "rgpo"]
    pipeline = {"stages": stages, "only": only}
    profile = check_profile({"pipeline": pipeline, "rgpo": settings}, where="test")
    if only:
        made = workspace.models / "before"
        made.mkdir(parents=True)
        write_lineage(made, Lineage("pretrain", "r", profile.name, "f", 1.0))
    if not what:
        checks.preflight(workspace, profile)
        return
    with pytest.raises(UserError, match=what):
        checks.preflight(workspace, profile)


def test_the_size_of_every_stage_is_described() -> None:
    stages = ("tokenizer", "pretrain", "finetune", "reward", "ppo", "orpo", "rgpo")
    tables = {"pipeline": {"stages": stages}, "rgpo": {"context_length": 512}}
    said = describe_size(check_profile(tables, where="test"))
    for noun in ("pretraining", "fine-tuning", "the reward model", "PPO", "ORPO", "RGPO"):
        assert f"{noun} takes about" in said
    assert said.endswith("micro-batch 16, context 512)")


@pytest.mark.parametrize(
    ("device", "visible", "fix"),
    [
        ("cuda:1", None, "--set engine.device=cuda:0"),
        ("cuda", "", "--set engine.device=cpu"),
        ("cuda", "-1", "--set engine.device=cpu"),
        ("cuda:0", "0", ""),
        ("auto", "", ""),
    ],
)
def test_devices_are_looked_for(
    monkeypatch: pytest.MonkeyPatch,
    workspace: Workspace,
    device: str,
    visible: str | None,
    fix: str,
) -> None:
    monkeypatch.setattr("gptcore.devices.list_devices", lambda: [gpu(80)])
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    profile = check_profile({"engine": {"device": device}}, where="test")
    if not fix:
        checks.preflight(workspace, profile)
        return
    with pytest.raises(UserError) as caught:
        checks.preflight(workspace, profile)
    assert fix in caught.value.fix


def test_processes_are_counted_against_the_gpus(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    for device in ("auto", "cuda"):
        profile = check_profile(
            {"engine": {"device": device, "processes": 2}, "pretrain": {"batch_size": 16}},
            where="test",
        )
        monkeypatch.setattr("gptcore.devices.list_devices", lambda: [gpu(80)])
        with pytest.raises(UserError, match="wants 2 GPUs") as caught:
            checks.preflight(workspace, profile)
        assert "--set engine.processes=1" in caught.value.fix
        monkeypatch.setattr("gptcore.devices.list_devices", lambda: [gpu(80), gpu(80)])
        checks.preflight(workspace, profile)
    monkeypatch.setattr("gptcore.devices.list_devices", list)
    on_cpu = check_profile({"engine": {"processes": 2}}, where="test")
    checks.preflight(workspace, on_cpu)


@pytest.mark.parametrize(
    ("files", "killed"),
    [
        ({}, False),
        ({"etc/systemd/logind.conf": "[Login]\n#KillUserProcesses=no\n"}, False),
        ({"etc/systemd/logind.conf": "[Login]\n#KillUserProcesses=yes\n"}, True),
        ({"etc/systemd/logind.conf": "KillUserProcesses=yes\nKillExcludeUsers=root ann\n"}, False),
        ({"etc/systemd/logind.conf": "KillUserProcesses=yes\nKillOnlyUsers=bob\n"}, False),
        (
            {
                "etc/systemd/logind.conf": "KillUserProcesses=no\n",
                "etc/systemd/logind.conf.d/x.conf": "[Login]\nKillUserProcesses=1\n",
            },
            True,
        ),
    ],
)
def test_logout(tmp_path: Path, files: dict[str, str], killed: bool) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    detail, fix = check_logout(tmp_path, "ann")
    assert bool(fix) == killed
    if killed:
        assert "enable-linger" in fix
        assert "systemd-run --user --scope" in fix
        assert "KillUserProcesses" in detail


@pytest.mark.parametrize(
    ("version", "bounds", "fits"),
    [
        ("2.14.3", ">=2.9,<3", True),
        ("3.0.0", ">=2.9,<3", False),
        ("9", ">=9.0", True),
        ("8.1", "<9,>=8.2", False),
    ],
)
def test_versions(version: str, bounds: str, fits: bool) -> None:
    assert satisfies(version, bounds) is fits


def test_the_worst_level_counts() -> None:
    assert worst([Check("a", "ok", ""), Check("b", "warn", "")]) == "warn"
    assert worst([Check("a", "fail", ""), Check("b", "warn", "")]) == "fail"
    assert worst([]) == "ok"
