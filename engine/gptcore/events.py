"""The typed records that cross from the engine to the studio, one JSON object a line.

The envelope is the same for all; the payload is decoded when asked for, so a million lines can be
passed over quickly and a kind that this version does not know is no error.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from gptcore.journal import JournalReader

VERSION = 1


class RunChange(msgspec.Struct, omit_defaults=True):
    """Kind `run`: the run's state changed.

    Attributes:
        state: The new state.
        attempt: How often the run has been started, from 1.
        message: Why, for people.
        micro_batch: The micro-batch from here on, where memory ran out.
    """

    state: str
    attempt: int = 1
    message: str = ""
    micro_batch: int | None = None


class StageChange(msgspec.Struct, omit_defaults=True):
    """Kind `stage`: a stage started, ended, was skipped or was stopped.

    Attributes:
        phase: Which of these.
        message: Why, for people.
        output: What it made, a path in the workspace.
        total_steps: Optimiser steps to come in all, where it has steps.
        scores: What was measured at the end.
        details: Facts about the start: tokens, parameters, device.
    """

    phase: Literal["start", "end", "skipped", "stopped"]
    message: str = ""
    output: str = ""
    total_steps: int = 0
    scores: dict[str, float | None] = {}
    details: dict[str, Any] = {}


class Resume(msgspec.Struct):
    """Kind `resume`: training goes on after `step`; later steps of older attempts do not count."""

    attempt: int
    step: int


class Progress(msgspec.Struct):
    """Kind `progress`: work without optimiser steps, such as tokenizing."""

    what: str
    done: float
    total: float
    unit: str = ""


class Step(msgspec.Struct, omit_defaults=True):
    """Kind `step`: one optimiser step.

    Attributes:
        loss: Mean cross entropy, nats a token; None where it was not finite.
        lr: Learning rate of the step.
        grad_norm: Before clipping; None where it was not finite.
        tokens: Trained on so far.
        tokens_per_s: Over the last steps.
        mfu: Share of the device's peak arithmetic, where the peak is known.
        memory: Peak bytes on the device, or of the process on a CPU.
        eta_s: Seconds to go.
        skipped: Whether the step was not applied, being not finite.
    """

    loss: float | None
    lr: float
    grad_norm: float | None
    tokens: int
    tokens_per_s: float = 0.0
    mfu: float | None = None
    memory: int = 0
    eta_s: float | None = None
    skipped: bool = False


class Eval(msgspec.Struct, omit_defaults=True):
    """Kind `eval`: held-out data; loss in nats a token."""

    val_loss: float | None
    tokens: int = 0
    best: bool = False


class Reward(msgspec.Struct, omit_defaults=True):
    """Kind `reward`: how the answers of a step, or a batch of preferences, fared.

    Attributes:
        mean: Of the rewards, weighted and added up; None where there are preferences alone.
        std: Their spread.
        parts: Mean of each reward by its name, before weighting.
        kl: Divergence from the model it started from, nats an answer.
        entropy: Of the draw, nats a token.
        clip_fraction: Share of the tokens whose ratio was clipped.
        value_loss: Of PPO's value model.
        length: Tokens of an answer, on average.
        guidance: Weight of RGPO's guidance at this step.
        accuracy: Share of the pairs whose better answer is the likelier, or better rewarded.
        margin: By how much, on average.
        held_out: Whether it is about data that is not learned from.
        prompts: On how many prompts or pairs.
    """

    mean: float | None = None
    std: float | None = None
    parts: dict[str, float] = {}
    kl: float | None = None
    entropy: float | None = None
    clip_fraction: float | None = None
    value_loss: float | None = None
    length: float | None = None
    guidance: float | None = None
    accuracy: float | None = None
    margin: float | None = None
    held_out: bool = False
    prompts: int = 0


class Sample(msgspec.Struct):
    """Kind `sample`: a text of the model in training."""

    prompt: str
    text: str


class Checkpoint(msgspec.Struct):
    """Kind `checkpoint`: one was published at `path` in the workspace."""

    path: str
    why: str


class Warn(msgspec.Struct):
    """Kind `warning`."""

    message: str


class Note(msgspec.Struct):
    """Kind `note`: something to know that is no warning, such as which library is at work."""

    message: str


class Failure(msgspec.Struct, omit_defaults=True):
    """Kind `error`: what failed, where, what to do; `cause` is `input`, `memory` or `crash`."""

    what: str
    where: str = ""
    fix: str = ""
    cause: str = "crash"


class Answer(msgspec.Struct, omit_defaults=True):
    """Kind `command`: what became of a command from `gptcore.control`."""

    id: str
    command: str
    outcome: Literal["done", "refused"]
    message: str = ""


Payload = (
    RunChange
    | StageChange
    | Resume
    | Progress
    | Step
    | Eval
    | Reward
    | Sample
    | Checkpoint
    | Warn
    | Note
    | Failure
    | Answer
)

KINDS: dict[str, type[Payload]] = {
    "run": RunChange,
    "stage": StageChange,
    "resume": Resume,
    "progress": Progress,
    "step": Step,
    "eval": Eval,
    "reward": Reward,
    "sample": Sample,
    "checkpoint": Checkpoint,
    "warning": Warn,
    "note": Note,
    "error": Failure,
    "command": Answer,
}
_KIND_OF = {payload: kind for kind, payload in KINDS.items()}
_DECODERS = {kind: msgspec.json.Decoder(payload) for kind, payload in KINDS.items()}


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """The envelope.

    Attributes:
        kind: Which payload `data` holds.
        time: Wall time, seconds since the epoch.
        run: Name of the run.
        stage: The stage, where it belongs to one.
        step: Optimiser steps done, where it belongs to one.
        data: The payload, still encoded.
        v: Version of this form.
    """

    kind: str
    time: float
    run: str
    stage: str = ""
    step: int | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")
    v: int = VERSION

    def payload(self) -> Payload | None:
        """The decoded payload; None where this version does not know the kind or its form."""
        decoder = _DECODERS.get(self.kind)
        if decoder is None:
            return None
        try:
            return decoder.decode(self.data)
        except (msgspec.DecodeError, RecursionError):
            return None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


def encode(
    payload: Payload, *, time: float, run: str, stage: str = "", step: int | None = None
) -> bytes:
    """One line of the events file."""
    kind = _KIND_OF[type(payload)]
    data = msgspec.Raw(_encoder.encode(payload))
    return _encoder.encode(Event(kind, time, run, stage, step, data))


def decode(line: bytes) -> Event | None:
    """The event of a line; None for a line that was torn."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class EventReader:
    """Follows the events of a run.

    Args:
        path: The events file; it may not exist yet.
        offset: Byte to start at.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._journal = JournalReader(path, offset)

    @property
    def offset(self) -> int:
        """Where the next read starts."""
        return self._journal.offset

    def read(self) -> Iterator[Event]:
        """What came since the last call, oldest first; broken lines are passed over."""
        for line in self._journal.read():
            if (event := decode(line)) is not None:
                yield event


#: Kinds that tell of one step of a training, so that going back to an earlier step undoes them.
OF_A_STEP = frozenset({"step", "eval", "reward", "sample"})


def drop_superseded(events: Iterable[Event]) -> list[Event]:
    """Without what a resume from an earlier step undid: steps, evaluations, rewards, samples."""
    kept: list[Event] = []
    for event in events:
        if event.kind == "resume" and event.step is not None:
            undone = event.step
            kept = [
                old
                for old in kept
                if old.stage != event.stage
                or old.kind not in OF_A_STEP
                or old.step is None
                or old.step <= undone
            ]
        kept.append(event)
    return kept
