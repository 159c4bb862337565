"""Whose code may be run."""

import json
import stat
from pathlib import Path

import pytest

from gptcore.errors import UserError
from gptcore.trust import (
    distrust,
    is_trusted,
    require_trust,
    trust,
    trusted_file,
    trusted_workspaces,
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "ws"
    (made / "inner").mkdir(parents=True)
    return made


def test_nobody_is_trusted_until_asked_for_and_no_longer_when_taken_back(root: Path) -> None:
    assert not is_trusted(root)
    with pytest.raises(UserError, match=r"rewards\.py is code") as caught:
        require_trust(root, "rewards.py")
    assert "gptstudio trust" in caught.value.fix
    assert trust(root)
    assert not trust(root)
    require_trust(root, "rewards.py")
    assert trusted_workspaces() == [root]
    assert distrust(root)
    assert not distrust(root)
    assert not is_trusted(root)


def test_neither_a_folder_within_nor_the_one_around_is_trusted(root: Path) -> None:
    trust(root)
    assert not is_trusted(root / "inner")
    assert not is_trusted(root.parent)
    trust(root / "inner")
    distrust(root)
    assert is_trusted(root / "inner")


def test_it_is_the_folder_that_is_trusted_not_a_link_that_led_there(
    root: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    link = tmp_path / "link"
    link.symlink_to(root)
    trust(link)
    assert is_trusted(link)
    assert is_trusted(root)
    link.unlink()
    link.symlink_to(other)
    assert not is_trusted(link)


def test_the_list_is_the_users_alone(root: Path, state: Path) -> None:
    trust(root)
    assert trusted_file() == state / "gptstudio" / "trusted"
    assert stat.S_IMODE(trusted_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(trusted_file().parent.stat().st_mode) == 0o700
    assert [path.name for path in trusted_file().parent.iterdir()] == ["trusted"]


@pytest.mark.parametrize(
    "broken", [b"", b"{", b"\xff\xfe", b'"/"', b"[1]", b"null", b"[" * 100_000, b'{"a": 1}']
)
def test_a_broken_list_trusts_nobody_and_can_be_begun_again(root: Path, broken: bytes) -> None:
    trust(root)
    trusted_file().write_bytes(broken)
    assert not is_trusted(root)
    trust(root)
    assert is_trusted(root)


def test_half_a_list_trusts_nobody(root: Path) -> None:
    trust(root)
    written = trusted_file().read_bytes()
    trusted_file().write_bytes(written[: len(written) // 2])
    assert not is_trusted(root)


def test_odd_names_are_told_apart(tmp_path: Path) -> None:
    odd = [tmp_path / name for name in ("a\nb", "ü", b"\xff".decode(errors="surrogateescape"))]
    for path in odd:
        path.mkdir()
        trust(path)
    assert all(is_trusted(path) for path in odd)
    assert not is_trusted(tmp_path / "a")
    assert len(json.loads(trusted_file().read_text())) == 3


def test_without_the_variable_it_is_in_the_home_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value in ("", "relative/state"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert trusted_file() == tmp_path / "home/.local/state/gptstudio/trusted"
    trust(root)
    assert is_trusted(root)
