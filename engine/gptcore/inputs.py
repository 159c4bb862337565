"""What a stage's result depends on besides the settings: files and parents, by their content.

The engine plans with it, the studio tells with it what is up to date; they must never differ.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gptcore.errors import UserError
from gptcore.lineage import DataFile, results

#: By the kind of a parent: the file whose content stands for it, the first that is there.
_PARENT_FILES = {
    "tokenizer": ("tokenizer.json",),
    "model": ("model.safetensors", "model.safetensors.index.json"),
}


def stage_inputs(
    data: Iterable[DataFile], parents: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The inputs of a stage as `gptcore.stages.fingerprint` takes them.

    Args:
        data: The files it learns from, in their order.
        parents: Kind of each parent to its SHA-256.
    """
    return {"files": [[item.file, item.sha256] for item in data], **(parents or {})}


def parent_kinds(folder: Path) -> tuple[str, ...]:
    """What a stage that starts from `folder` takes from it."""
    return ("tokenizer", "model") if (folder / "config.json").is_file() else ("tokenizer",)


def parent_file(folder: Path, kind: str) -> Path:
    """The file whose digest stands for a parent of that kind.

    Raises:
        UserError: There is none in `folder`.
    """
    names = _PARENT_FILES[kind]
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        raise UserError(
            f"the {kind} has no {names[0]}",
            where=str(folder),
            fix="name another folder in models/ or tokenizers/ with --from",
        )
    return file


def result_with(folder: Path, fingerprint: str) -> Path | None:
    """The newest tokenizer or model in `folder` that carries `fingerprint`."""
    return next((path for path, made in results(folder) if made.fingerprint == fingerprint), None)
