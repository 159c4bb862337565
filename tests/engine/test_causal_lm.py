"""Models from elsewhere: what is in their folder is data, never a program."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gptcore.errors import UserError
from gptengine.causal_lm import context_length_of, load_causal_lm, read_config
from gptengine.chat_tokenizer import ForeignTokenizer
from tests.engine.tiny_models import make_model

CODE = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"


@pytest.mark.parametrize("load", [read_config, context_length_of, load_causal_lm, ForeignTokenizer])
def test_code_in_a_folder_is_neither_run_nor_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Callable[[Path], Any]
) -> None:
    own = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": own}))
    (tmp_path / "tokenizer.json").write_text("{}")
    tokenizer = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks"))
    with pytest.raises(UserError) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_it_computes_what_transformers_does_and_is_saved_as_it_was(tmp_path: Path) -> None:
    folder = make_model("gpt2", tmp_path / "m")
    ids = torch.arange(40)[None]
    model = load_causal_lm(folder)
    with torch.inference_mode():
        wanted = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
        torch.testing.assert_close(model(ids).logits, wanted, atol=1e-5, rtol=1e-5)
    model.save_pretrained(tmp_path / "saved")
    assert read_config(tmp_path / "saved").activation_function == "gelu_new"


def test_broken_weights_are_a_word_not_a_crash(tmp_path: Path) -> None:
    folder = make_model("gpt2", tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_causal_lm(folder)
