"""The Unsloth backend for real, on the CPU: in an environment that has it (`make test-unsloth`)."""

import importlib.util
from pathlib import Path

import pytest
from benchmarks.backends import compare

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("unsloth") is None, reason="needs Unsloth: make test-unsloth"
)


@pytest.mark.slow
def test_unsloth_learns_as_peft_does(tmp_path: Path) -> None:
    measured = compare(tmp_path, steps=40)
    peft, unsloth = measured["peft"], measured["unsloth"]
    assert (peft["backend"], unsloth["backend"]) == ("peft", "unsloth")
    assert any("by unsloth" in note for note in unsloth["notes"])
    assert unsloth["losses"][-1] < 0.7 * unsloth["losses"][0]
    assert unsloth["losses"] == pytest.approx(peft["losses"], abs=1e-3)
    assert (tmp_path / "models/unsloth-finetune/adapter/adapter_model.safetensors").is_file()
