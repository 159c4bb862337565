"""What is up to date of a pipeline, what is stale and why.

Answers what the engine would find when it plans a run: the same files, the same digests, the same
fingerprints. That can mean reading gigabytes, so it runs in the data worker.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from gptcore.errors import UserError
from gptcore.evaluation import read_evaluation
from gptcore.inputs import OnBytes, Pipeline, parent_digests, results_of
from gptcore.lineage import DataFile, Lineage
from gptcore.stages import STAGES, ParentKind, Stage, settings_that_matter
from gptcore.text import clean
from gptcore.workspace import Workspace
from gptstudio.text import shorten

if TYPE_CHECKING:
    from gptcore.profile import Profile

Condition = Literal["never run", "up to date", "stale"]

#: How many files or settings a reason names; the rest are counted.
NAMED = 3
#: Longest value of a setting that is spelled out, in characters.
VALUE_LENGTH = 40


class StageState(msgspec.Struct, frozen=True):
    """Whether a stage need run.

    Attributes:
        stage: Its name.
        title: For people.
        condition: How its result stands to what there is now.
        performed: Whether a run of this profile performs it.
        result: The up-to-date result, else the newest of this pipeline, as a path in the
            workspace; empty where there is none.
        reasons: Why it is stale, or what it lacks, in words, harmless.
    """

    stage: str
    title: str
    condition: Condition
    performed: bool
    result: str = ""
    reasons: tuple[str, ...] = ()


def stage_states(
    workspace: Workspace, profile: "Profile", on_bytes: OnBytes = lambda done, total: None
) -> tuple[StageState, ...]:
    """How each stage of a pipeline stands, in order.

    Args:
        workspace: Where data and results are.
        profile: The pipeline.
        on_bytes: Told how much has been read; what is in the cache of digests is not read.
    """
    look = _Look(workspace, profile, on_bytes)
    return tuple(look.state(STAGES[name]) for name in profile.pipeline.stages)


class _Look:
    """One look at one pipeline; the data is read once for all stages."""

    def __init__(self, workspace: Workspace, profile: "Profile", on_bytes: OnBytes) -> None:
        self._workspace = workspace
        self._profile = profile
        self._pipeline = Pipeline(workspace, profile, on_bytes)

    def state(self, stage: Stage) -> StageState:
        data: list[DataFile] | None = None
        parents: Mapping[ParentKind, Path] = {}
        lacks = ""
        try:
            data = self._pipeline.data(stage)
            parents = self._pipeline.parents(stage)
            if (found := self._pipeline.current(stage)) is not None:
                return self._state(stage, "up to date", found)
        except UserError as error:
            lacks = error.what
        except OSError as error:
            lacks = _os_words(error)
        reasons = [lacks] if lacks else []
        newest = next(iter(results_of(self._workspace, stage, self._profile.name)), None)
        if newest is None:
            return self._state(stage, "never run", None, reasons)
        reasons += self._changes(stage, newest, parents, data)
        return self._state(stage, "stale", newest[0], reasons or ["made by another version"])

    def _state(
        self, stage: Stage, condition: Condition, result: Path | None, reasons: Sequence[str] = ()
    ) -> StageState:
        return StageState(
            stage=stage.name,
            title=stage.title,
            condition=condition,
            performed=stage.name in self._profile.pipeline.performed,
            result=clean(self._workspace.relative(result)) if result else "",
            reasons=tuple(clean(reason) for reason in reasons),
        )

    def _changes(
        self,
        stage: Stage,
        newest: tuple[Path, Lineage],
        parents: Mapping[ParentKind, Path],
        data: Sequence[DataFile] | None,
    ) -> list[str]:
        """What differs between then and now."""
        path, made = newest
        if stage.report:
            return self._changes_of_report(stage, path, parents, data)
        reasons = [
            reason
            for kind, parent in parents.items()
            if (reason := self._other_parent(kind, parent, made))
        ]
        if data is not None:
            reasons += data_changes(made.data, data)
        now = settings_that_matter(stage, self._profile)
        return reasons + setting_changes(made.settings, now)

    def _changes_of_report(
        self,
        stage: Stage,
        path: Path,
        parents: Mapping[ParentKind, Path],
        data: Sequence[DataFile] | None,
    ) -> list[str]:
        report = read_evaluation(path)
        model = parents.get("model")
        if model is not None and model != path:
            return [f"{self._workspace.relative(model)} has not been evaluated"]
        if report is None or data is None:
            return []
        now = settings_that_matter(stage, self._profile)
        return data_changes(report.data, data) + setting_changes(report.settings, now)

    def _other_parent(self, kind: ParentKind, path: Path, made: Lineage) -> str:
        before, now = made.parents.get(kind, ""), self._workspace.relative(path)
        if before == now:
            return ""
        folders = [self._workspace.root / before, path]
        try:
            then, there = (parent_digests(self._workspace, {kind: each})[kind] for each in folders)
            if then == there:
                return ""
        except (UserError, OSError):
            pass  # what it was made with has gone
        return f"its {kind} was {before or 'none'}, now {now}"


def data_changes(before: Sequence[DataFile], now: Sequence[DataFile]) -> list[str]:
    """Which files are new, changed or gone, a sentence for each kind."""
    then = {item.file: item.sha256 for item in before}
    there = {item.file: item.sha256 for item in now}
    kinds = {
        "new": [name for name in there if name not in then],
        "changed": [name for name in there if name in then and then[name] != there[name]],
        "gone": [name for name in then if name not in there],
    }
    return [
        f"{len(names)} file{'s' if len(names) > 1 else ''} {kind}: {_some(names)}"
        for kind, names in kinds.items()
        if names
    ]


def setting_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Which settings differ, one each, `pretrain.lr 0.003 -> 0.001`, the last ones counted."""
    differ = [
        key
        for key in dict.fromkeys([*now, *before])
        if before.get(key) != now.get(key)
        and not {json.dumps(before.get(key)), json.dumps(now.get(key))} <= {"{}", "null"}
    ]
    named = [f"{key} {_value(before, key)} -> {_value(now, key)}" for key in differ[:NAMED]]
    more = len(differ) - NAMED
    return [*named, f"and {more} more settings"] if more > 0 else named


def _value(settings: Mapping[str, Any], key: str) -> str:
    if key not in settings or settings[key] is None:
        return "absent"
    value = settings[key]
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shorten(said or '""', VALUE_LENGTH)


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _os_words(error: OSError) -> str:
    return f"{error.filename or 'a file'} cannot be read: {error.strerror or error}"
