"""Where a tokenizer or model came from: ``gptstudio.json`` in its folder."""

from pathlib import Path
from typing import Any

import msgspec

from gptcore.errors import UserError
from gptcore.workspace import Workspace

FILE_NAME = "gptstudio.json"


class DataFile(msgspec.Struct, frozen=True):
    """An input file: its path under ``datasets/``, size in bytes, SHA-256."""

    file: str
    bytes: int
    sha256: str


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `gptstudio.json` holds.

    Attributes:
        stage: The stage that made it.
        run: The run it was made in.
        pipeline: Name of the profile.
        fingerprint: Hash of inputs and settings, see `gptcore.stages`.
        made: Wall time, seconds since the epoch.
        parents: Name of a parent (`tokenizer`, `model`) to its folder in the workspace.
        data: The files it learned from.
        settings: The settings that mattered, by dotted key.
        scores: What was measured, for example `val_loss`.
        versions: Of the libraries at work.
        training: Steps, tokens, seconds, device and the like.
    """

    stage: str
    run: str
    pipeline: str
    fingerprint: str
    made: float
    parents: dict[str, str] = {}
    data: list[DataFile] = []
    settings: dict[str, Any] = {}
    scores: dict[str, float | None] = {}
    versions: dict[str, str] = {}
    training: dict[str, Any] = {}
    format: int = 1


def write_lineage(folder: Path, lineage: Lineage) -> None:
    """Write `lineage` into `folder`, for people to read too."""
    raw = msgspec.json.format(msgspec.json.encode(lineage), indent=2)
    (folder / FILE_NAME).write_bytes(raw + b"\n")


def read_lineage(folder: Path) -> Lineage | None:
    """The lineage of the thing in `folder`; None where there is none or it cannot be read."""
    try:
        return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=Lineage)
    except (OSError, msgspec.DecodeError):
        return None


def results(folder: Path) -> list[tuple[Path, Lineage]]:
    """Tokenizers or models in `folder` with their lineage, the newest first."""
    if not folder.is_dir():
        return []
    found = [
        (path, lineage)
        for path in folder.iterdir()
        if not path.name.startswith(".") and (lineage := read_lineage(path)) is not None
    ]
    return sorted(found, key=lambda item: item[1].made, reverse=True)


def find_model(workspace: Workspace, name: str) -> Path:
    """The folder of a model or checkpoint that the person named.

    Args:
        workspace: Where to look.
        name: ``latest``, a model's name, a run's name (its model, else its newest checkpoint), or
            a path.

    Raises:
        UserError: There is none; the message lists what there is.
    """
    models = [(path, made) for path, made in results(workspace.models) if made.stage != "reward"]
    if name == "latest" and models:
        return models[0][0]
    for path in (Path(name), workspace.root / name, workspace.models / name):
        if (path / "config.json").is_file():
            return path.resolve()
    for path, lineage in models:
        if lineage.run == name:
            return path
    checkpoints = sorted(
        (workspace.root / "checkpoints" / name).glob("*/step-*"),
        key=lambda path: path.stat().st_mtime,
    )
    if checkpoints and "/" not in name:
        return checkpoints[-1]
    names = ", ".join(path.name for path, _ in models[:8]) or "none yet"
    raise UserError(
        f"no model is called {name!r}",
        where=f"{workspace.models} holds: {names}",
        fix="name one of these, a run, or a folder; or train one with gptstudio run",
    )


def find_parent(workspace: Workspace, name: str) -> Path:
    """The folder of a model or tokenizer to start from, named as in `pipeline.parent`.

    Raises:
        UserError: There is none with a tokenizer; the message lists what there is.
    """
    for folder in (workspace.root, workspace.models, workspace.tokenizers):
        if (folder / name / "tokenizer.json").is_file():
            return folder / name
    there = [*results(workspace.models), *results(workspace.tokenizers)]
    names = ", ".join(path.name for path, _ in there[:8]) or "none yet"
    raise UserError(
        f"no model or tokenizer is called {name!r}",
        where=f"{workspace.root} holds: {names}",
        fix="name a folder in models/ or tokenizers/ with --from",
    )
