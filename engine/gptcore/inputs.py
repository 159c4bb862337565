"""What a stage's result depends on besides the settings: files and parents, by their content.

The engine plans with it, the studio tells with it what is up to date; they must never differ.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptcore.digests import file_digest, file_digests
from gptcore.errors import UserError
from gptcore.evaluation import read_evaluation
from gptcore.formats.files import Kind, any_glob, find_files
from gptcore.formats.problems import Problem
from gptcore.formats.reading import RecordReader
from gptcore.formats.records import Form
from gptcore.lineage import DataFile, Lineage, find_parent, read_lineage, results
from gptcore.stages import STAGES, Mix, ParentKind, Stage, fingerprint, mixes_of
from gptcore.workspace import Workspace

if TYPE_CHECKING:
    from gptcore.profile import Profile

#: By the kind of a parent: the file whose content stands for it, the first that is there.
_PARENT_FILES = {
    "tokenizer": ("tokenizer.json",),
    "model": ("model.safetensors", "model.safetensors.index.json"),
    "reward": ("model.safetensors", "model.safetensors.index.json"),
}

_TALKS: frozenset[Form] = frozenset(("instruction", "conversation", "tools"))
#: What each mix takes: documents, or rows of these forms.
FORMS: Mapping[Mix, frozenset[Form]] = {
    "pretrain": frozenset(),
    "finetune": _TALKS,
    "reward": frozenset(("preference",)),
    "ppo": _TALKS | {"prompt"},
    "orpo": frozenset(("preference",)),
    "rgpo": _TALKS | {"prompt"},
    "eval": _TALKS,
}

#: Rows at the start of a file that tell which forms it holds.
PEEKED_ROWS = 100

#: Called with bytes read so far and bytes in all; what it raises ends the reading.
OnBytes = Callable[[int, int], None]


class Pipeline:
    """What the stages of a profile would read and make, as things are now.

    Args:
        workspace: Where data and results are.
        profile: The pipeline.
        on_bytes: Told how much has been read; what is in the cache of digests is not read.

    Attributes:
        problems: Files and folders met that look like data and could not be read.
    """

    def __init__(
        self,
        workspace: Workspace,
        profile: "Profile",
        on_bytes: OnBytes = lambda done, total: None,
    ) -> None:
        self._workspace = workspace
        self._profile = profile
        self._on_bytes = on_bytes
        self._mixes: dict[Mix, list[Path]] = {}
        self._files: dict[str, DataFile] = {}
        self.problems: list[Problem] = []

    def mix_files(self, mix: Mix) -> list[Path]:
        """The files that a mix takes, by their names and, where they hold rows, by their form.

        Raises:
            UserError: There are none.
        """
        if mix in self._mixes:
            return self._mixes[mix]
        settings, forms = getattr(self._profile.data, mix), FORMS[mix]
        folder = self._workspace.datasets
        kind: Kind = "data" if forms else "text"
        problems: list[Problem] = []
        paths = find_files(folder, kind, settings.include, settings.exclude, problems)
        self.problems += [problem for problem in problems if problem not in self.problems]
        taken = [path for path in paths if not forms or _feeds(path, forms)]
        if not taken:
            raise UserError(
                f"none of the {len(paths)} data files holds what the stage {mix} takes:"
                f" {', '.join(sorted(forms))}",
                where=str(folder),
                fix=f"look with gptstudio data list, or change data.{mix}.include",
            )
        self._mixes[mix] = taken
        return taken

    def files(self, stage: Stage) -> list[Path]:
        """The files under `datasets/` that `stage` would read, each once.

        Raises:
            UserError: One of its mixes is empty.
        """
        found: dict[Path, None] = {}
        for mix in mixes_of(stage, self._profile.pipeline.stages):
            found |= dict.fromkeys(self.mix_files(mix))
        return list(found)

    def data(self, stage: Stage) -> list[DataFile]:
        """The files that `stage` would learn from.

        Raises:
            UserError: There are none.
            OSError: One of them cannot be read.
        """
        datasets = self._workspace.datasets
        names = [str(path.relative_to(datasets)) for path in self.files(stage)]
        if unread := [name for name in names if name not in self._files]:
            found = digested(self._workspace, unread, self._on_bytes)
            self._files |= dict(zip(unread, found, strict=True))
        return [self._files[name] for name in names]

    def parents(self, stage: Stage) -> dict[ParentKind, Path]:
        """What `stage` would start from.

        Raises:
            UserError: It is not there, or not up to date.
        """
        if not stage.parents:
            return {}
        folder = named_parent(self._workspace, self._profile, stage)
        if folder is None:
            before = stage_before(self._profile, stage)
            folder = self.current(before)
            if folder is None:
                noun = "tokenizer" if before.makes == "tokenizers" else f"model of {before.name}"
                there = results_of(self._workspace, before, self._profile.name)
                raise UserError(f"its {noun} is stale" if there else f"it has no {noun} yet")
        found: dict[ParentKind, Path] = dict.fromkeys(taken_from(folder, stage), folder)
        if (reward := reward_model_of(self._workspace, self._profile, stage)) is not None:
            found["reward"] = reward
        elif takes_reward_model(self._profile, stage):
            reward = self.current(STAGES["reward"])
            if reward is None:
                raise UserError("it has no reward model that is up to date")
            found["reward"] = reward
        return found

    def fingerprint(self, stage: Stage) -> str:
        """The hash of all that the result of `stage` would depend on.

        Raises:
            UserError: Data or parents are missing.
        """
        digests = parent_digests(self._workspace, self.parents(stage))
        return fingerprint(stage, self._profile, stage_inputs(self.data(stage), digests))

    def current(self, stage: Stage) -> Path | None:
        """The result of `stage` that is up to date.

        Raises:
            UserError: Data or parents are missing.
        """
        folder = self._workspace.root / stage.makes
        parent = self.parents(stage).get("model") if stage.report else None
        return result_with(folder, self.fingerprint(stage), parent)


# --- files ---------------------------------------------------------------------------------------


def _feeds(path: Path, forms: frozenset[Form]) -> bool:
    """Whether a file holds rows of one of `forms`, or none that can be told."""
    seen: set[Form] = set()
    for number, item in enumerate(RecordReader(path)):
        if number >= PEEKED_ROWS:
            break
        if not isinstance(item, Problem):
            seen.add(item.record.form)
    return not seen or bool(seen & forms)


def digested(workspace: Workspace, names: Sequence[str], on_bytes: OnBytes) -> list[DataFile]:
    """Files under `datasets/` with their size and digest.

    Raises:
        OSError: One of them cannot be read.
    """
    paths = [workspace.datasets / name for name in names]
    sizes = [path.stat().st_size for path in paths]
    total = sum(sizes)
    digests = file_digests(paths, workspace.cache, lambda done: on_bytes(done, total))
    return [DataFile(*item) for item in zip(names, sizes, digests, strict=True)]


def weights_of(weights: dict[str, int], names: Iterable[str]) -> list[int]:
    """How many times an epoch goes through each file; where globs overlap the last one counts."""
    globs = [(any_glob([glob]), times) for glob, times in reversed(weights.items())]
    return [next((times for glob, times in globs if glob.fullmatch(name)), 1) for name in names]


def stage_inputs(
    data: Iterable[DataFile], parents: Mapping[ParentKind, str] | None = None
) -> dict[str, Any]:
    """The inputs of a stage as `gptcore.stages.fingerprint` takes them.

    Args:
        data: The files it learns from, in their order.
        parents: Kind of each parent to its SHA-256.
    """
    inputs: dict[str, Any] = {"files": [[item.file, item.sha256] for item in data]}
    return inputs | dict(parents or {})


# --- parents -------------------------------------------------------------------------------------


def named_parent(workspace: Workspace, profile: "Profile", stage: Stage) -> Path | None:
    """What `--from` names, for the first stage of the run; None for others.

    Raises:
        UserError: There is no such thing.
    """
    pipeline = profile.pipeline
    if pipeline.parent is None or stage.name != pipeline.performed[0]:
        return None
    return find_parent(workspace, pipeline.parent)


def stage_before(profile: "Profile", stage: Stage) -> Stage:
    """The stage whose result `stage` starts from.

    Raises:
        UserError: It is the first of its pipeline.
    """
    names = profile.pipeline.stages
    before = [name for name in names[: names.index(stage.name)] if not STAGES[name].aside]
    if not before:
        raise UserError(
            f"the stage {stage.name} has nothing to start from: it is the first of the pipeline",
            where="pipeline.stages",
            fix="name a model or tokenizer with --from",
        )
    return STAGES[before[-1]]


def takes_reward_model(profile: "Profile", stage: Stage) -> bool:
    """Whether `stage` is rewarded by what the stage `reward` of its pipeline makes."""
    names = profile.pipeline.stages
    auto = getattr(getattr(profile, stage.name, None), "reward_model", "none") == "auto"
    return auto and "reward" in names[: names.index(stage.name)]


def reward_model_of(workspace: Workspace, profile: "Profile", stage: Stage) -> Path | None:
    """The reward model that the settings of `stage` name; None: they name none.

    Raises:
        UserError: There is no such reward model.
    """
    name = getattr(getattr(profile, stage.name, None), "reward_model", "none")
    if name in ("auto", "none"):
        return None
    for folder in (workspace.models / name, workspace.root / name):
        lineage = read_lineage(folder)
        if lineage is not None and lineage.stage == "reward":
            return folder
    there = [path.name for path, made in results(workspace.models) if made.stage == "reward"]
    raise UserError(
        f"no reward model is called {name!r}",
        where=f"{stage.name}.reward_model",
        fix=f"there are: {', '.join(there[:8]) or 'none yet; the stage reward makes one'}",
    )


def results_of(workspace: Workspace, stage: Stage, pipeline: str) -> list[tuple[Path, Lineage]]:
    """What a stage of a pipeline has made, the newest first."""
    return [
        (path, made)
        for path, made in results(workspace.root / stage.makes)
        if made.pipeline == pipeline
        and (made.stage == stage.name or (stage.report and read_evaluation(path) is not None))
    ]


def nothing_before(workspace: Workspace, before: Stage, pipeline: str) -> UserError:
    """The error of a stage whose parent has not been made."""
    noun = "tokenizer" if before.makes == "tokenizers" else f"model from the stage {before.name}"
    return UserError(
        f"the pipeline {pipeline} has no {noun} yet",
        where=str(workspace.root / before.makes),
        fix="--stage all makes one first; or name one with --from",
    )


def taken_from(folder: Path, stage: Stage) -> tuple[ParentKind, ...]:
    """What `stage` takes from the folder it starts from.

    Raises:
        UserError: It is a tokenizer, or a reward model, and the stage needs a model that writes.
    """
    lineage = read_lineage(folder)
    if lineage is not None and lineage.stage == "reward":
        raise UserError(
            "a reward model judges, it does not write: nothing can be trained from it",
            where=str(folder),
            fix=f"name it as {stage.name}.reward_model; and another model with --from",
        )
    if (folder / "config.json").is_file():
        return ("tokenizer", "model")
    if "model" in stage.parents:
        raise UserError(
            f"the stage {stage.name} starts from a model, and this is none",
            where=str(folder),
            fix="name a folder in models/ with --from",
        )
    return ("tokenizer",)


def parent_digests(
    workspace: Workspace, parents: Mapping[ParentKind, Path]
) -> dict[ParentKind, str]:
    """The SHA-256 that stands for each parent.

    Raises:
        UserError: Its file is missing.
    """
    return {kind: _parent_digest(workspace, path, kind) for kind, path in parents.items()}


def _parent_digest(workspace: Workspace, folder: Path, kind: ParentKind) -> str:
    """Of one file its own; of a model in shards that of the index and all shards together."""
    file = parent_file(folder, kind)
    if not file.name.endswith(".index.json"):
        return file_digest(file, workspace.cache)
    files = [file, *sorted(folder.glob("*.safetensors"))]
    return hashlib.sha256("".join(file_digests(files, workspace.cache)).encode()).hexdigest()


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


def result_with(folder: Path, fingerprint: str, parent: Path | None = None) -> Path | None:
    """The newest tokenizer or model in `folder` that carries `fingerprint`.

    Args:
        folder: Where results of the kind are.
        fingerprint: Wanted.
        parent: For a stage that adds a report to its parent: that, where the report carries it.
    """
    if parent is not None:
        report = read_evaluation(parent)
        if report is None or report.details is None:  # made before reports could be compared
            return None
        return parent if report.fingerprint == fingerprint else None
    return next((path for path, made in results(folder) if made.fingerprint == fingerprint), None)
