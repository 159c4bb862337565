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
#: Where a row shall be that no mix names: held-out rows never get among those that are learned.
_HOMES: dict[str, tuple[Mix, ...]] = {"text": ("pretrain",), "data": ("eval", "finetune")}


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
        self._globs = {mix: _Globs(mix, getattr(profile.data, mix)) for mix in readers if profile}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mixes):
            return NotImplemented
        return (self._readers, self._globs) == (other._readers, other._globs)

    __hash__ = None  # type: ignore[assignment]

    def of(self, holds: str) -> tuple[Mix, ...]:
        """The mixes that stages of this pipeline read and that take text, or rows."""
        return tuple(mix for mix in self._readers if bool(FORMS[mix]) == (holds == "data"))

    def takers(self, path: str, holds: str) -> tuple[Taker, ...]:
        """The stages that take a file, by its name.

        Args:
            path: Under `datasets/`.
            holds: `text` or `data`.
        """
        found: tuple[Taker, ...] = ()
        for mix in self.of(holds):
            if not self._globs[mix].refusal(path):
                found += self._readers[mix]
        return found

    def refusals(self, path: str, holds: str) -> list[str]:
        """Why mixes do not take a file; empty: each takes it.

        Args:
            path: Under `datasets/`.
            holds: `text` or `data`.
        """
        if not self._is_known:
            return ["there is no profile to say"]
        mixes = self.of(holds)
        if not mixes:
            what = "rows" if holds == "data" else "text"
            return [f"no stage of this pipeline ({', '.join(self._pipeline)}) takes {what}"]
        return [why for mix in mixes if (why := self._globs[mix].refusal(path))]

    def home(self, path: str, holds: str) -> Mix | None:
        """The mix that a file belongs into which is in none; None: no stage would read it.

        That of evaluation where its name says so: held-out rows must not be learned.
        """
        mixes = [mix for mix in _HOMES[holds] if mix in self._readers]
        named = (mix for mix in mixes if self._globs[mix].includes(path))
        return next(named, mixes[-1] if mixes else None)


class _Globs:
    """What a mix takes in and leaves out."""

    def __init__(self, mix: Mix, settings: Any) -> None:
        self._mix = mix
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

    def refusal(self, path: str) -> str:
        """Why a file is not in the mix; empty where it is."""
        if not self._include.fullmatch(path):
            return f"not in data.{self._mix}.include"
        if not self._exclude.fullmatch(path):
            return ""
        glob = next(glob for glob, fits in self._each if fits.fullmatch(path))
        return f"left out by data.{self._mix}.exclude: {glob}"
