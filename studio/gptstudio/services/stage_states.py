"""What is up to date of a pipeline, what is stale and why.

Answers what the engine would find when it plans a run: the same files, the same digests, the same
fingerprints. That can mean reading gigabytes, so it runs in the data worker.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from gptcore.digests import file_digest, file_digests
from gptcore.errors import UserError
from gptcore.formats import find_text_files
from gptcore.inputs import parent_file, parent_kinds, result_with, stage_inputs
from gptcore.lineage import DataFile, Lineage, find_parent, results
from gptcore.stages import STAGES, Stage, fingerprint, settings_that_matter
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


#: Called with bytes read so far and bytes in all; what it raises ends the reading.
Progress = Callable[[int, int], None]


def stage_states(
    workspace: Workspace, profile: "Profile", on_bytes: Progress = lambda done, total: None
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

    def __init__(self, workspace: Workspace, profile: "Profile", on_bytes: Progress) -> None:
        self._workspace = workspace
        self._profile = profile
        self._trouble = ""
        try:
            self._data = self._corpus(on_bytes)
        except UserError as error:
            self._data, self._trouble = [], error.what
        except OSError as error:
            self._data, self._trouble = [], _os_words(error)

    def state(self, stage: Stage) -> StageState:
        folder = self._workspace.root / stage.makes
        lacks = [self._trouble] if self._trouble else []
        parents: dict[str, Path] = {}
        digests: dict[str, str] = {}
        if stage.name == "pretrain" and not self._trouble:
            try:
                parents = self._parents(stage)
                digests = {kind: self._digest(path, kind) for kind, path in parents.items()}
            except UserError as error:
                lacks.append(error.what)
            except OSError as error:
                lacks.append(_os_words(error))
        if not lacks:
            wanted = fingerprint(stage, self._profile, stage_inputs(self._data, digests))
            if (found := result_with(folder, wanted)) is not None:
                return self._state(stage, "up to date", found)
        newest = next(
            (
                (path, made)
                for path, made in results(folder)
                if made.stage == stage.name and made.pipeline == self._profile.name
            ),
            None,
        )
        if newest is None:
            return self._state(stage, "never run", None, lacks)
        reasons = lacks + self._changes(stage, newest[1], parents, digests)
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

    def _corpus(self, on_bytes: Progress) -> list[DataFile]:
        datasets, mix = self._workspace.datasets, self._profile.data.pretrain
        paths = find_text_files(datasets, mix.include, mix.exclude)
        sizes = [path.stat().st_size for path in paths]
        total = sum(sizes)
        digests = file_digests(paths, self._workspace.cache, lambda done: on_bytes(done, total))
        names = [str(path.relative_to(datasets)) for path in paths]
        return [DataFile(*item) for item in zip(names, sizes, digests, strict=True)]

    def _parents(self, stage: Stage) -> dict[str, Path]:
        """What the stage would start from.

        Raises:
            UserError: It is not there, or the tokenizer is not up to date.
        """
        pipeline = self._profile.pipeline
        if pipeline.parent is not None and stage.name == pipeline.performed[0]:
            folder = find_parent(self._workspace, pipeline.parent)
            return dict.fromkeys(parent_kinds(folder), folder)
        tokenizer = STAGES["tokenizer"]
        wanted = fingerprint(tokenizer, self._profile, stage_inputs(self._data))
        found = result_with(self._workspace.tokenizers, wanted)
        if found is None:
            made = (made for _, made in results(self._workspace.tokenizers))
            there = any(each.pipeline == self._profile.name for each in made)
            raise UserError("its tokenizer is stale" if there else "it has no tokenizer yet")
        return {"tokenizer": found}

    def _digest(self, folder: Path, kind: str) -> str:
        return file_digest(parent_file(folder, kind), self._workspace.cache)

    def _changes(
        self, stage: Stage, made: Lineage, parents: Mapping[str, Path], digests: Mapping[str, str]
    ) -> list[str]:
        """What differs between then and now."""
        reasons = [
            reason
            for kind, path in parents.items()
            if (reason := self._other_parent(kind, path, made, digests))
        ]
        if not self._trouble:
            reasons += data_changes(made.data, self._data)
        now = settings_that_matter(stage, self._profile)
        return reasons + setting_changes(made.settings, now)

    def _other_parent(
        self, kind: str, path: Path, made: Lineage, digests: Mapping[str, str]
    ) -> str:
        before, now = made.parents.get(kind, ""), self._workspace.relative(path)
        if before == now:
            return ""
        try:
            if self._digest(self._workspace.root / before, kind) == digests[kind]:
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
