"""Puts a file into or out of the mixes of a profile; the layout of its TOML and comments stay."""

import tomllib
from collections.abc import Iterable, MutableMapping, MutableSequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptcore.errors import UserError
from gptcore.formats import UNTEXTUAL_NAME, any_glob, is_text_name
from gptcore.profile import Profile, check_profile, differences
from gptcore.stages import Mix
from gptcore.workspace import Workspace, make_private_dir, write_atomic
from gptstudio.services.mixes import Mixes, Taker

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_BY_HAND = "change that in the profile: e on Train"


def toggle(
    workspace: Workspace, profile: Path, path: str, holds: str, forms: Iterable[str] = ()
) -> str:
    """Put a file out of every mix that takes it, or back into those that it was put out of.

    A profile that comes with gptstudio is copied into the workspace first.

    Args:
        workspace: Whose profiles may be written.
        profile: The settings file.
        path: Of the data file, under `datasets/`.
        holds: `text` or `data`.
        forms: What its rows are; none: not known, or it holds no rows.

    Returns:
        What was done, in words.

    Raises:
        UserError: The profile is broken, no stage would take the file, or a glob for several files
            decides about it.
        OSError: The profile cannot be written.
    """
    from tomlkit import parse
    from tomlkit.exceptions import TOMLKitError

    if not is_text_name(path):
        raise UserError(f"it {UNTEXTUAL_NAME}", where=path)
    text = _read(profile)
    before = _settings(text, profile)
    mixes = Mixes(before)
    forms = tuple(forms)
    takers = mixes.takers(path, holds, forms)
    wanted = (
        _put_out(before, path, {taker.mix for taker in takers})
        if takers
        else _put_in(before, mixes, path, holds, forms)
    )
    try:
        document = parse(text)
        for (mix, key), globs in wanted.items():
            _set(document, mix, key, globs)
        made = document.as_string()
    except (TOMLKitError, TypeError, ValueError, KeyError) as error:
        raise UserError(
            f"its layout is beyond what can be changed here: {error}",
            where=str(profile),
            fix=_BY_HAND,
        ) from None
    after = _settings(made, profile)
    changed = set(differences(after, before))
    if changed != {f"data.{mix}.{key}" for mix, key in wanted} or takers == Mixes(after).takers(
        path, holds, forms
    ):
        raise UserError("it would not come out as meant", where=str(profile), fix=_BY_HAND)
    said = _said(path, takers, Mixes(after).takers(path, holds, forms))
    return f"{said}; {_write(workspace, profile, made)}"


def own_glob(path: str) -> str:
    """The glob that fits one file under `datasets/` and no other."""
    escaped = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)
    return escaped if "/" in path else f"/{escaped}"  # else it would fit at any depth


_Globs = dict[tuple[Mix, str], list[str]]


def _put_out(profile: Profile, path: str, mixes: set[Mix]) -> _Globs:
    """What the lists of these mixes must be so that they do not take the file."""
    wanted: _Globs = {}
    own = own_glob(path)
    for mix in mixes:
        settings = getattr(profile.data, mix)
        others = [glob for glob in settings.include if glob != own]
        if any_glob(others).fullmatch(path):
            wanted[mix, "exclude"] = [*settings.exclude, own]
        else:
            wanted[mix, "include"] = others
    return wanted


def _put_in(
    profile: Profile, mixes: Mixes, path: str, holds: str, forms: tuple[str, ...]
) -> _Globs:
    """What lists must be so that the file is taken by the mixes it was put out of, or its own."""
    home = mixes.home(path, holds, forms)
    if home is None:
        raise UserError("; ".join(mixes.refusals(path, holds, forms)), where=path)
    own = own_glob(path)
    wanted: _Globs = {}
    for mix in mixes.of(holds, forms):
        settings = getattr(profile.data, mix)
        if own in settings.exclude and any_glob(settings.include).fullmatch(path):
            wanted[mix, "exclude"] = [glob for glob in settings.exclude if glob != own]
    if not wanted:
        settings = getattr(profile.data, home)
        if not any_glob(settings.include).fullmatch(path):
            wanted[home, "include"] = [*settings.include, own]
        if own in settings.exclude:
            wanted[home, "exclude"] = [glob for glob in settings.exclude if glob != own]
    for mix in {mix for mix, _ in wanted} or {home}:
        left = [glob for glob in getattr(profile.data, mix).exclude if glob != own]
        decides = next((glob for glob in left if any_glob([glob]).fullmatch(path)), None)
        if decides is not None:
            raise UserError(
                f"it is left out by data.{mix}.exclude: {decides}, with whatever else that fits",
                where=path,
                fix=_BY_HAND,
            )
    return wanted


def _set(document: "TOMLDocument", mix: Mix, key: str, globs: list[str]) -> None:
    """Bring a list to hold these globs, touching no others."""
    import tomlkit

    table: MutableMapping[str, Any] = document
    for name in ("data", mix):
        if name not in table:
            table[name] = tomlkit.table(is_super_table=name == "data")
        table = table[name]
    if key not in table:
        table[key] = globs
        return
    found: MutableSequence[Any] = table[key]
    for glob in [glob for glob in found if glob not in globs]:
        found.remove(glob)
    for glob in globs:
        if glob not in found:
            found.append(glob)


def _said(path: str, was: tuple[Taker, ...], now: tuple[Taker, ...]) -> str:
    stages = ", ".join(dict.fromkeys(taker.stage for taker in now or was))
    return f"{path} is {'in the mix of' if now else 'out of the mix of'} {stages}"


def _read(profile: Path) -> str:
    try:
        return profile.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the profile cannot be read: {error}", where=str(profile)) from error


def _settings(text: str, profile: Path) -> Profile:
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"the profile is not TOML: {error}", where=str(profile)) from None
    return check_profile({"name": profile.stem, **settings}, where=str(profile))


def _write(workspace: Workspace, profile: Path, text: str) -> str:
    """Write the workspace's own profile; where that is, in words."""
    own = workspace.profiles / profile.name
    mode = 0o600
    if profile.parent == workspace.profiles:
        own, mode = profile.resolve(), profile.stat().st_mode & 0o777
        write_atomic(own, text, mode=mode)
        return f"{workspace.relative(profile)} says so"
    make_private_dir(workspace.profiles)
    if own.exists():
        raise UserError("the workspace has a profile of that name", where=str(own))
    write_atomic(own, text, mode=mode)
    return f"the profile came with gptstudio: its copy {workspace.relative(own)} says so"
