"""What an engine process does before torch is there."""

import os

import pytest

from gptcore.settings import EngineSettings
from gptengine.__main__ import see_one_device


@pytest.mark.parametrize(
    ("before", "device", "after", "called"),
    [
        (None, "auto", "0", "auto"),
        (None, "cuda:2", "2", "cuda"),
        ("4,5,6", "cuda", "4", "cuda"),
        ("4,5,6", "cuda:1", "5", "cuda"),
        ("4", "cuda:1", "4", "cuda:1"),  # there is none: left to say so
        ("4", "cpu", "4", "cpu"),
        ("", "auto", "", "auto"),  # hidden on purpose
    ],
)
def test_a_stage_of_one_device_sees_no_other(
    monkeypatch: pytest.MonkeyPatch, before: str | None, device: str, after: str, called: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if before is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", before)
    assert see_one_device(EngineSettings(device=device)).device == called
    assert os.environ["CUDA_VISIBLE_DEVICES"] == after
