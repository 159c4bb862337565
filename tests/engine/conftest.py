"""Fixtures for tests that train."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.engine.tiny_models import KINDS, make_model


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread of torch's: models this small are the slower for more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models as they are before fine-tuning, with dropout where that is in the name."""
    made = {kind: make_model(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}
    for kind in ("gpt2", "llama"):
        folder = tmp_path_factory.mktemp(f"{kind}-dropout")
        made[f"{kind} dropout"] = make_model(kind, folder, drop_rate=0.1)
    return made
