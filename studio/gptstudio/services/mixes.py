"""Which stages of a profile take a file of `datasets/`, by its name and what it holds; and why not.

A mix is a table `data.<name>` of the profile. Each takes documents of text or rows of some forms
(`gptcore.inputs.FORMS`), and each stage reads one or several (`gptcore.stages.mixes_of`).
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gptcore.formats.files import any_glob
from gptcore.inputs import FORMS
from gptcore.stages import STAGES, Mix, mixes_of

if TYPE_CHECKING:
    from gptcore.profile import Profile

#: What a file's name says that it holds.
Holds = Literal["text", "data"]
#: Where a file shall be that no mix names, the last that there is and that takes it: held-out rows
#: never get among those that are learned.
_HOMES: dict[str, tuple[Mix, ...]] = {
    "text": ("pretrain",),
    "data": ("eval", "reward", "orpo", "ppo", "rgpo", "finetune"),
}


class Taker(NamedTuple):
    """A stage that takes a file.

    Args:
        stage: Its name.
        mix: Through which of its mixes.
    """

    stage: str
    mix: Mix


def stages_of(takers: Iterable[Taker], forms: Iterable[str] = ()) -> tuple[str, ...]:
    """The stages among `takers`, without those that take no rows of these forms.

    Args:
        takers: By the file's name.
        forms: What its rows are; none: not known, or it holds no rows.
    """
    known = set(forms)
    fitting = (
        taker.stage
        for taker in takers
        if not known or not FORMS[taker.mix] or known & FORMS[taker.mix]
    )
    return tuple(dict.fromkeys(fitting))


class Mixes:
    """The mixes that the stages of a profile read.

    Args:
        profile: Its settings; None: nothing is taken.
    """

    def __init__(self, profile: "Profile | None" = None) -> None:
        self._is_known = profile is not None
        pipeline: Sequence[str] = profile.pipeline.stages if profile else ()
        self._pipeline = tuple(pipeline)
        readers: dict[Mix, list[Taker]] = {}
        for name in pipeline:
            for mix in mixes_of(STAGES[name], pipeline):
                readers.setdefault(mix, []).append(Taker(name, mix))
        self._readers = {mix: tuple(takers) for mix, takers in readers.items()}
        self._globs = {mix: _Globs(getattr(profile.data, mix)) for mix in readers if profile}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mixes):
            return NotImplemented
        return (self._readers, self._globs) == (other._readers, other._globs)

    __hash__ = None  # type: ignore[assignment]

    def of(self, holds: str, forms: Iterable[str] = ()) -> tuple[Mix, ...]:
        """The mixes that stages of this pipeline read and that take text, or rows.

        Args:
            holds: `text` or `data`.
            forms: What its rows are; none: not known, or it holds no rows.
        """
        known = set(forms)
        return tuple(
            mix
            for mix in self._readers
            if bool(FORMS[mix]) == (holds == "data") and (not known or known & FORMS[mix])
        )

    def takers(self, path: str, holds: str, forms: Iterable[str] = ()) -> tuple[Taker, ...]:
        """The stages that take a file, by its name.

        Args:
            path: Under `datasets/`.
            holds: `text` or `data`.
            forms: What its rows are; none: not known, or it holds no rows.
        """
        found: tuple[Taker, ...] = ()
        for mix in self.of(holds, forms):
            if self._globs[mix].refusal(path) is None:
                found += self._readers[mix]
        return found

    def refusals(self, path: str, holds: str, forms: Iterable[str] = ()) -> list[str]:
        """Why mixes do not take a file, those with one reason together; empty: each takes it.

        Args:
            path: Under `datasets/`.
            holds: `text` or `data`.
            forms: What its rows are; none: not known, or it holds no rows.
        """
        if not self._is_known:
            return ["there is no profile to say"]
        forms = tuple(forms)
        mixes = self.of(holds, forms)
        if not mixes:
            what = f"{', '.join(forms)} rows".lstrip() if holds == "data" else "text"
            return [f"no stage of this pipeline ({', '.join(self._pipeline)}) takes {what}"]
        reasons: dict[_Refusal, list[str]] = {}
        for mix in mixes:
            if (refusal := self._globs[mix].refusal(path)) is not None:
                reasons.setdefault(refusal, []).append(f"data.{mix}.{refusal.list_name}")
        return [f"{why.words} {', '.join(lists)}{why.glob}" for why, lists in reasons.items()]

    def home(self, path: str, holds: str, forms: Iterable[str] = ()) -> Mix | None:
        """The mix that a file belongs into which is in none; None: no stage would read it.

        That of evaluation where its name says so: held-out rows must not be learned.

        Args:
            path: Under `datasets/`.
            holds: `text` or `data`.
            forms: What its rows are; none: not known, or it holds no rows.
        """
        there = self.of(holds, forms)
        mixes = [mix for mix in _HOMES[holds] if mix in there]
        if "eval" in mixes and self._globs["eval"].includes(path):
            return "eval"
        return mixes[-1] if mixes else None


class _Refusal(NamedTuple):
    """Why a mix does not take a file.

    Args:
        words: In which way its list decides.
        list_name: Of the list.
        glob: The entry of it that does, behind a colon; empty: none.
    """

    words: str
    list_name: str
    glob: str = ""


class _Globs:
    """What a mix takes in and leaves out."""

    def __init__(self, settings: Any) -> None:
        self._texts = (tuple(settings.include), tuple(settings.exclude))
        self._include = any_glob(settings.include)
        self._exclude = any_glob(settings.exclude)
        self._each = [(glob, any_glob([glob])) for glob in settings.exclude]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Globs) and self._texts == other._texts

    __hash__ = None  # type: ignore[assignment]

    def includes(self, path: str) -> bool:
        """Whether it is named, be it left out again or not."""
        return self._include.fullmatch(path) is not None

    def refusal(self, path: str) -> _Refusal | None:
        """Why a file is not in the mix; None where it is."""
        if not self._include.fullmatch(path):
            return _Refusal("not in", "include")
        if not self._exclude.fullmatch(path):
            return None
        glob = next(glob for glob, fits in self._each if fits.fullmatch(path))
        return _Refusal("left out by", "exclude", f": {glob}")
