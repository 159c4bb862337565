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


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write the report, for people to read too."""
    write_atomic(path, msgspec.json.format(msgspec.json.encode(evaluation), indent=2) + b"\n")


def read_evaluation(folder: Path) -> Evaluation | None:
    """The report on the model in `folder`; None where there is none or it cannot be read."""
    try:
        return msgspec.json.decode((folder / FILE_NAME).read_bytes(), type=Evaluation)
    except (OSError, msgspec.DecodeError):
        return None
