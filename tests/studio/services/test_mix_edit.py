"""A file in or out of the mix: the profile's TOML is changed there alone, and as it is meant."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptcore.errors import UserError
from gptcore.formats import any_glob
from gptcore.profile import differences, read_profile
from gptcore.workspace import Workspace
from gptstudio.resources import shipped
from gptstudio.services.mix_edit import own_glob, toggle
from gptstudio.services.mixes import Mixes

WHOLE = """# My own settings.
name = "mine"   # a name

[pipeline]
stages = ["tokenizer", "pretrain", "finetune", "eval"]  # all of them

[data.pretrain]
include = ["**"]                     # every text ...
exclude = [
    "README*",   # ... but what explains
    "*held-out*",
]

[model]
n_heads = 12  # heads
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/mine.toml").write_text(WHOLE)
    return Workspace(tmp_path)


def stages(path: Path, name: str, holds: str = "text") -> list[str]:
    return [taker.stage for taker in Mixes(read_profile(path)).takers(name, holds)]


def test_a_text_goes_out_and_in_again_and_nothing_else_changes(workspace: Workspace) -> None:
    path = workspace.profiles / "mine.toml"
    path.chmod(0o640)
    before = read_profile(path)
    said = toggle(workspace, path, "a.txt", "text")
    assert said == "a.txt is out of the mix of tokenizer, pretrain; profiles/mine.toml says so"
    assert stages(path, "a.txt") == []
    assert stages(path, "b/a.txt") == ["tokenizer", "pretrain"]  # another file of that name
    text = path.read_text()
    for comment in ("# My own settings.", "# a name", "# all", "# every", "# ... but", "# heads"):
        assert comment in text
    assert set(differences(read_profile(path), before)) == {"data.pretrain.exclude"}
    assert "in the mix of tokenizer, pretrain" in toggle(workspace, path, "a.txt", "text")
    assert tomllib.loads(path.read_text()) == tomllib.loads(WHOLE)
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(workspace.profiles.iterdir()) == [path]


def test_rows_go_out_of_what_takes_them_and_back_there(workspace: Workspace) -> None:
    path = workspace.profiles / "mine.toml"
    for name, takers in (
        ("chat/rows.jsonl", ["tokenizer", "finetune"]),
        ("rows-held-out.jsonl", ["eval"]),
    ):
        assert stages(path, name, "data") == takers
        toggle(workspace, path, name, "data")
        assert stages(path, name, "data") == []
        toggle(workspace, path, name, "data")
        assert stages(path, name, "data") == takers
    # The defaults that were spelled out are the defaults still.
    assert not set(differences(read_profile(path))) & {"data.finetune.exclude", "data.eval.exclude"}


def test_what_no_glob_names_is_named_and_taken_back(workspace: Workspace) -> None:
    path = workspace.profiles / "mine.toml"
    path.write_text(WHOLE.replace('include = ["**"]', 'include = ["books/"]'))
    toggle(workspace, path, "a.txt", "text")
    assert read_profile(path).data.pretrain.include == ("books/", "/a.txt")
    toggle(workspace, path, "a.txt", "text")
    assert read_profile(path).data.pretrain.include == ("books/",)


@pytest.mark.parametrize(
    ("name", "holds", "part"),
    [
        ("README.md", "text", "left out by data.pretrain.exclude: README*"),
        ("x-held-out.txt", "text", r"\*held-out\*"),
        ("bad\udcff.txt", "text", "not UTF-8"),
    ],
)
def test_what_decides_about_several_files_is_left_to_the_person(
    workspace: Workspace, name: str, holds: str, part: str
) -> None:
    path = workspace.profiles / "mine.toml"
    with pytest.raises(UserError, match=part):
        toggle(workspace, path, name, holds)
    assert path.read_text() == WHOLE


def test_preferences_go_where_they_are_learned_from(workspace: Workspace) -> None:
    path = workspace.profiles / "mine.toml"
    rows, forms = "pairs.jsonl", ["preference"]
    mixes = '[data.orpo]\ninclude = ["pairs/"]\n[data.rgpo]\ninclude = []\n'
    path.write_text(WHOLE.replace('"eval"]', '"orpo", "rgpo"]') + mixes)
    # By its name alone fine-tuning would have it; its rows are not for that.
    assert stages(path, rows, "data") == ["tokenizer", "finetune"]
    said = toggle(workspace, path, rows, "data", forms)
    assert said.startswith("pairs.jsonl is in the mix of tokenizer, orpo;")
    assert read_profile(path).data.orpo.include == ("pairs/", "/pairs.jsonl")
    assert "out of the mix" in toggle(workspace, path, rows, "data", forms)
    assert read_profile(path).data.orpo.include == ("pairs/",)
    with pytest.raises(UserError, match="takes problem rows"):
        toggle(workspace, path, rows, "data", ["problem"])


def test_rows_that_no_stage_reads_are_not_put_anywhere(workspace: Workspace) -> None:
    path = workspace.profiles / "mine.toml"
    path.write_text("")
    with pytest.raises(UserError, match="no stage of this pipeline"):
        toggle(workspace, path, "rows.jsonl", "data")
    assert path.read_text() == ""


def test_a_shipped_profile_is_copied_first(tmp_path: Path) -> None:
    workspace, source = Workspace(tmp_path), shipped("profiles") / "demo.toml"
    before = source.read_bytes()
    said = toggle(workspace, source, "a.txt", "text")
    assert "its copy profiles/demo.toml says so" in said
    assert source.read_bytes() == before
    copy = tmp_path / "profiles/demo.toml"
    assert set(differences(read_profile(copy), read_profile(source))) == {"data.pretrain.exclude"}
    comments = [line.partition("#")[2] for line in source.read_text().splitlines()]
    assert [line.partition("#")[2] for line in copy.read_text().splitlines()] == comments


def test_a_broken_profile_is_left_alone(workspace: Workspace) -> None:
    path = workspace.profiles / "mine.toml"
    for text in ("[model", "[model]\nn_heads = -1\n", "[data]\npretrain = 3\n"):
        path.write_text(text)
        with pytest.raises(UserError):
            toggle(workspace, path, "a.txt", "text")
        assert path.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data.pretrain.exclude = []\n",
        'data = {pretrain = {exclude = ["README*"], held_out = 0.1}}  # one line\n',
        "[data.finetune]\nheld_out = 0.2\n[model]\nn_heads = 12\n[data.pretrain]\nheld_out=0.3\n",
        "[data]\n[data.pretrain]\n# nothing\n",
    ],
)
def test_any_layout_of_toml_will_do(workspace: Workspace, text: str) -> None:
    path = workspace.profiles / "mine.toml"
    path.write_text(text)
    before = read_profile(path)
    toggle(workspace, path, "a.txt", "text")
    assert stages(path, "a.txt") == []
    toggle(workspace, path, "a.txt", "text")
    assert read_profile(path) == before


def test_a_linked_profile_stays_a_link(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.toml").write_text(WHOLE)
    path = workspace.profiles / "linked.toml"
    path.symlink_to(tmp_path / "elsewhere.toml")
    toggle(workspace, path, "a.txt", "text")
    assert path.is_symlink()
    assert os.readlink(path) == str(tmp_path / "elsewhere.toml")  # noqa: PTH115 - as it was written
    assert stages(tmp_path / "elsewhere.toml", "a.txt") == []


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.text(min_size=1).filter(lambda t: "/" not in t), min_size=1, max_size=3))
@example(parts=["[a]*?.txt"])
@example(parts=["[!a]", "\\", "^"])
def test_a_files_own_glob_fits_it_and_no_other(parts: list[str]) -> None:
    path = "/".join(parts)
    fits = any_glob([own_glob(path)])
    assert fits.fullmatch(path)
    assert not fits.fullmatch(f"x/{path}")
    assert not fits.fullmatch(f"x{path}")
    assert not fits.fullmatch(f"{path}x")
