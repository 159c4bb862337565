import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gptcore.errors import UserError
from gptengine.generate import Sampling, stream_ids
from gptengine.hf import load_model, save_model
from gptengine.model import GPT

transformers = pytest.importorskip("transformers")

TINY = {
    "vocab_size": 97,
    "context_length": 80,
    "emb_dim": 32,
    "n_heads": 4,
    "n_layers": 2,
}


def _tiny(qkv_bias=False):
    model = GPT({**TINY, "qkv_bias": qkv_bias}, generator=torch.Generator().manual_seed(4))
    # Far from the initial weights, so that nothing that is left out would go unseen.
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def _theirs(**settings):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=97,
        n_positions=80,
        n_embd=32,
        n_head=4,
        n_layer=2,
        bos_token_id=0,
        eos_token_id=0,
        **settings,
    )
    model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture
def saved(tmp_path):
    model = _tiny()
    save_model(model, tmp_path, eos_id=0, pad_id=1)
    return tmp_path, model


@pytest.mark.parametrize("qkv_bias", [False, True])
def test_transformers_reads_ours(tmp_path, qkv_bias):
    model = _tiny(qkv_bias)
    save_model(model, tmp_path, eos_id=0, pad_id=1)
    theirs, report = transformers.GPT2LMHeadModel.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ids = torch.randint(0, 97, (3, 40))
    with torch.no_grad():
        torch.testing.assert_close(model(ids), theirs.eval()(ids).logits, rtol=1e-4, atol=1e-4)
    assert theirs.generation_config.pad_token_id == 1


def test_greedy_ids_equal_those_of_transformers(saved):
    folder, model = saved
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    prompt = [5, 17, 3, 80]
    expected = theirs.generate(
        torch.tensor([prompt]),
        do_sample=False,
        max_new_tokens=60,
        eos_token_id=-1,
    )[0, 4:].tolist()
    ours = list(stream_ids(model, prompt, Sampling(max_tokens=60, temperature=0)))
    assert ours == expected
    assert len(set(ours)) > 1


@pytest.mark.parametrize("sharded", [False, True])
def test_reads_what_transformers_wrote(tmp_path, sharded):
    theirs = _theirs()
    theirs.save_pretrained(tmp_path, max_shard_size="20KB" if sharded else "5GB")
    assert (tmp_path / "model.safetensors").exists() is not sharded
    ours = load_model(tmp_path)
    assert ours.config.qkv_bias
    ids = torch.randint(0, 97, (3, 40))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4)


def test_reads_names_without_prefix(tmp_path):
    theirs = _theirs()
    theirs.transformer.save_pretrained(tmp_path)
    ids = torch.randint(0, 97, (1, 9))
    with torch.no_grad():
        torch.testing.assert_close(
            load_model(tmp_path)(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("qkv_bias", [False, True])
def test_round_trip_is_exact(tmp_path, qkv_bias):
    model = _tiny(qkv_bias)
    save_model(model, tmp_path, eos_id=0, pad_id=None)
    again = load_model(tmp_path)
    assert again.config == model.config
    assert not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert all(parameter.requires_grad for parameter in again.parameters())
    assert load_model(tmp_path, dtype=torch.bfloat16).wte.weight.dtype == torch.bfloat16


def test_biases_learnt_in_transformers_are_kept(saved):
    folder, _ = saved
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    with torch.no_grad():
        theirs.transformer.h[1].attn.c_attn.bias += 0.5
    theirs.save_pretrained(folder)
    ours, ids = load_model(folder), torch.randint(0, 97, (1, 9))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(ids).logits, rtol=1e-4, atol=1e-4)


def test_own_flag_survives_transformers(saved):
    folder, _ = saved
    transformers.GPT2LMHeadModel.from_pretrained(folder).save_pretrained(folder)
    assert load_model(folder).config.qkv_bias is False


def _edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model_type": "llama"}, "llama"),
        ({"vocab_size": 98}, "shape"),
        ({"n_layer": 3}, "missing"),
        ({"n_layer": 1}, "unknown"),
        ({"n_head": 5}, "multiple"),
        ({"activation_function": "relu"}, "activation_function"),
        ({"scale_attn_by_inverse_layer_idx": True}, "inverse_layer"),
    ],
)
def test_config_that_does_not_fit(saved, change, word):
    folder, _ = saved
    _edit_config(folder, **change)
    with pytest.raises(UserError, match=word) as error:
        load_model(folder)
    assert str(folder) in error.value.where


def test_missing_and_damaged_files(saved, tmp_path):
    folder, _ = saved
    with pytest.raises(UserError, match="no such model folder"):
        load_model(tmp_path / "nowhere")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"\xff" * 100):
        weights.write_bytes(damaged)
        with pytest.raises(UserError, match="not a whole safetensors"):
            load_model(folder)
    weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config\.json"):
        load_model(folder)


def test_index_cannot_name_files_elsewhere(saved):
    folder, _ = saved
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"wte.weight": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="outside"):
        load_model(folder)


def test_untied_head_is_refused(tmp_path):
    theirs = _theirs(tie_word_embeddings=False)
    theirs.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="tied"):
        load_model(tmp_path)


def test_saving_and_loading_need_no_transformers(tmp_path):
    code = (
        "import sys; from pathlib import Path; from gptengine.hf import *;"
        "from gptengine.model import GPT;"
        f"model = GPT({TINY!r}); folder = Path({str(tmp_path)!r});"
        "save_model(model, folder, eos_id=0, pad_id=1); load_model(folder);"
        "assert 'transformers' not in sys.modules"
    )
    root = Path(__file__).parents[2] / "engine"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
