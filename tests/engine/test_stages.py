"""What the stages do beside the libraries they call."""

from pathlib import Path

import pytest

from gptcore.events import EventReader, Warn
from gptcore.workspace import RunPaths
from gptengine.report import Report
from gptengine.stages import tokenizer
from gptengine.trouble import is_out_of_memory, system_number


def test_words_that_hardly_repeat_end_the_reading_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Report(RunPaths("r", tmp_path), "tokenizer")
    texts = ["some text"] * 5
    assert list(tokenizer.within_memory(iter(texts), report)) == texts
    monkeypatch.setattr(tokenizer, "WORDS_BYTES", -(1 << 40))
    assert list(tokenizer.within_memory(iter(texts), report)) == texts[:1]
    [event] = EventReader(tmp_path / "events.jsonl").read()
    payload = event.payload()
    assert isinstance(payload, Warn)
    assert "hardly repeat" in payload.message


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ..."), True),
        (RuntimeError("shape mismatch"), False),
        (OSError(28, "full"), False),
    ],
)
def test_what_an_error_means(error: BaseException, memory: bool) -> None:
    assert is_out_of_memory(error) is memory
    assert system_number(error) == (28 if isinstance(error, OSError) else None)
