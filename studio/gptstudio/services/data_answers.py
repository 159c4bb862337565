"""What the studio hears from `gptstudio.services.data_client`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gptstudio.services.counting import Counts
    from gptstudio.services.stage_states import StageState


class Counted(msgspec.Struct, frozen=True, gc=False):
    """What is in a file; there may be tens of thousands that the garbage collector need not see.

    Attributes:
        path: Under `datasets/`.
        counts: Of the file as it was found.
    """

    path: str
    counts: "Counts"


@dataclass(frozen=True, slots=True)
class StagesFound:
    """How the stages of the profile asked about last stand."""

    stages: "tuple[StageState, ...]"


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a long answer is.

    Args:
        path: Of the file that is counted, under `datasets/`; None: the stages are looked at.
        done: Bytes read.
        total: Bytes to read.
    """

    path: str | None
    done: int
    total: int


class Failure(msgspec.Struct, frozen=True, gc=False):
    """There is no answer.

    Attributes:
        path: Of the file that was to be counted, under `datasets/`; None: the stages.
        reason: Why, in words, harmless.
    """

    path: str | None
    reason: str


Answer = Counted | StagesFound | Reading | Failure
