"""How a model did on held-out data: ``evaluation.json`` in its folder."""

from pathlib import Path
from typing import Any

import msgspec

from gptcore.lineage import DataFile
from gptcore.workspace import write_atomic

FILE_NAME = "evaluation.json"


class Share(msgspec.Struct, frozen=True):
    """How many of how many were right."""

    right: int
    total: int

    @property
    def value(self) -> float | None:
        """From 0 to 1; None of nothing."""
        return self.right / self.total if self.total else None


class Transcript(msgspec.Struct, frozen=True):
    """A prompt and what the model made of it.

    Attributes:
        text: The conversation as it was rendered, the model's turns included.
        problems: What was wrong; empty: all was right.
        row: Where the prompt came from, as `file:row`.
    """

    text: str
    problems: list[str]
    row: str


class Details(msgspec.Struct, frozen=True):
    """What each prompt and each conversation came to, in their order.

    So two evaluations by the same data can be held against each other pair by pair.

    Attributes:
        held_out: SHA-256 of the conversations and prompts; where two evaluations have the same,
            so are the places in what follows.
        verdicts: By the name of a score, a character for each prompt: `1` right, `0` wrong,
            `-` not counted.
        nats: Cross entropy of what the assistant wrote in each conversation, apart by spaces.
        tokens: How many counted in each, apart by spaces.
    """

    held_out: str
    verdicts: dict[str, str]
    nats: str
    tokens: str


class Change(msgspec.Struct, frozen=True):
    """How a measure differs from that of the stage before.

    Attributes:
        value: The difference, in the measure's own unit: shares from -1 to 1.
        low: Where its 95 % interval begins.
        high: Where it ends.
        is_clear: Whether the interval leaves out 0.
    """

    value: float
    low: float
    high: float
    is_clear: bool


class StageScores(msgspec.Struct, frozen=True):
    """How the model of one stage did, and what has changed since the stage before.

    Attributes:
        stage: The stage that made it; `BASE` where none of ours did.
        model: Path of the model.
        loss: As in `Evaluation`.
        perplexity: As in `Evaluation`.
        bits_per_byte: As in `Evaluation`.
        tools: As in `Evaluation`.
        changes: By `loss`, `perplexity` or the name of a score; of the first stage, and where the
            two were not judged by the same, none.
    """

    stage: str
    model: str
    loss: float | None
    perplexity: float | None
    bits_per_byte: float | None
    tools: dict[str, Share] = {}
    changes: dict[str, Change] = {}

    def value(self, measure: str) -> float | None:
        """A measure by its name in `MEASURES`; None where nothing was counted."""
        if measure in ("loss", "perplexity"):
            return self.loss if measure == "loss" else self.perplexity
        share = self.tools.get(measure)
        return None if share is None else share.value


class Evaluation(msgspec.Struct, frozen=True):
    """What was measured.

    Attributes:
        model: Path of the model.
        fingerprint: Hash of inputs and settings, see `gptcore.stages`; empty: not of a stage.
        made: Wall time, seconds since the epoch.
        data: The files it was judged by.
        loss: Mean cross entropy of what an assistant wrote, nats a token.
        perplexity: Its exponential.
        bits_per_byte: The same loss in bits over the bytes of that text; comparable between
            tokenizers.
        tokens: How many counted.
        conversations: They are from so many.
        tools: By the name of a score in `TOOL_SCORES`: how often it was right.
        by_function: By the function that was right: how often the calls were exactly right.
        unusable: Rows that could not be used.
        settings: The settings that mattered, by dotted key; of a stage.
        transcripts: A few, the first one with a call that was right where there is one.
        details: What each prompt came to; None: made before there were any.
        comparison: The stages that the model has come through, the first one first, itself the
            last; of a stage.
    """

    model: str
    fingerprint: str
    made: float
    data: list[DataFile]
    loss: float | None
    perplexity: float | None
    bits_per_byte: float | None
    tokens: int
    conversations: int
    tools: dict[str, Share] = {}
    by_function: dict[str, Share] = {}
    unusable: int = 0
    settings: dict[str, Any] = {}
    transcripts: list[Transcript] = []
    details: Details | None = None
    comparison: list[StageScores] = []


#: The scores on tool data, and what they are for people.
TOOL_SCORES = {
    "exact": "exactly right calls",
    "function": "right functions, where some are",
    "json": "arguments can be read",
    "schema": "arguments satisfy the schema",
    "arguments": "right arguments, of right functions",
    "no_call": "no call, where none is right",
    "answer": "right answer from the results",
}

#: What is compared between stages, in order.
MEASURES = (*TOOL_SCORES, "loss", "perplexity")
#: In place of a stage: the model came from elsewhere.
BASE = "base"


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write the report, for people to read too."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(evaluation), indent=2) + b"\n")


def read_evaluation(folder: Path) -> Evaluation | None:
    """The report on the model in `folder`; None where there is none or it cannot be read."""
    try:
        return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=Evaluation)
    except (OSError, msgspec.DecodeError):
        return None


def measure_words(measure: str, value: float | None) -> str:
    """A measure for people, in six characters at most: `94.0%`, `0.250`; `-` of nothing."""
    if value is None:
        return "-"
    return f"{value:.1%}" if measure in TOOL_SCORES else _short(value)


def change_words(measure: str, change: Change) -> str:
    """A change with its interval, shares in points of 100; starred where it is clear."""
    scale = 100.0 if measure in TOOL_SCORES else 1.0
    words = [
        f"{round(part * scale, 1) + 0.0:.1f}" if measure in TOOL_SCORES else _short(part)
        for part in (change.value, change.low, change.high)
    ]
    sign = "" if words[0].startswith("-") else "+"
    return f"{sign}{words[0]} [{words[1]}, {words[2]}]{'*' if change.is_clear else ''}"


def _short(value: float) -> str:
    size = abs(value)
    digits = next((n for n, top in ((3, 10.0), (2, 100.0), (1, 1000.0)) if size < top), 0)
    # Adding 0 makes 0 of -0.
    return f"{round(value, digits) + 0.0:.{digits}f}" if size < 1e5 else f"{value:.0e}"
