"""Models on disk: the folder that transformers calls GPT2LMHeadModel, written and read without it.

The parameters have the same names on both sides; transformers keeps the weights of a block's
linear layers as Conv1D does, (in, out), and always has query, key and value biases.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gptcore.errors import UserError
from gptengine.model import GPT, GPTConfig

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
GENERATION_FILE = "generation_config.json"

#: Our key in config.json; transformers carries keys it does not know along.
OWN_KEY = "gptstudio"

_PREFIX = "transformer."
_HEAD = "lm_head.weight"
_CONV1D = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")
#: Causal masks that old versions of transformers stored beside the weights.
_MASKS = (".attn.bias", ".attn.masked_bias")
#: What `GPT` is built for: the value, and further spellings of it.
_FIXED: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
}


def to_hf_state_dict(model: GPT) -> dict[str, Tensor]:
    """The weights as GPT2LMHeadModel names and lays them out; the tied head is left out.

    Returns:
        Contiguous tensors on the CPU that share nothing with one another.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        turned = value.t() if name.endswith(_CONV1D) else value
        tensors[_PREFIX + name] = turned.detach().cpu().contiguous()
    if not model.config.qkv_bias:
        for layer in range(model.config.n_layers):
            zeros = model.wte.weight.new_zeros(3 * model.config.emb_dim, device="cpu")
            tensors[f"{_PREFIX}h.{layer}.attn.c_attn.bias"] = zeros.detach()
    return tensors


def hf_config(config: GPTConfig, *, eos_id: int | None, pad_id: int | None) -> dict[str, Any]:
    """What config.json says of a model of this shape.

    Args:
        config: The shape.
        eos_id: Id of the token that ends (and begins) a text.
        pad_id: Id of the padding token, if there is one.
    """
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.emb_dim,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": None,
        **{name: values[0] for name, values in _FIXED.items()},
        "resid_pdrop": config.drop_rate,
        "embd_pdrop": config.drop_rate,
        "attn_pdrop": config.drop_rate,
        "initializer_range": 0.02,
        "tie_word_embeddings": True,
        "use_cache": True,
        "bos_token_id": eos_id,
        "eos_token_id": eos_id,
        "pad_token_id": pad_id,
        "dtype": "float32",
        OWN_KEY: {"qkv_bias": config.qkv_bias},
    }


def save_model(model: GPT, folder: Path, *, eos_id: int | None, pad_id: int | None) -> None:
    """Write config.json, model.safetensors and generation_config.json into `folder`.

    Args:
        model: What to save.
        folder: Exists already; `gptcore.workspace.new_dir` makes one that appears whole.
        eos_id: As in `hf_config`.
        pad_id: As in `hf_config`.
    """
    tensors = to_hf_state_dict(model)
    config = hf_config(model.config, eos_id=eos_id, pad_id=pad_id)
    config["dtype"] = str(model.wte.weight.dtype).removeprefix("torch.")
    generation = {"bos_token_id": eos_id, "eos_token_id": eos_id, "pad_token_id": pad_id}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    _write_json(folder / CONFIG_FILE, config)
    _write_json(folder / GENERATION_FILE, generation)


def load_model(
    folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> GPT:
    """The GPT in a local folder, ours or any that transformers wrote for a GPT-2.

    Args:
        folder: Holds config.json and model.safetensors (or its shards and their index).
        device: Where the weights go.
        dtype: Their type; as stored if nothing is given.

    Returns:
        The model, in evaluation mode.

    Raises:
        UserError: The folder or a file is missing or damaged, or it is not a GPT-2 of this kind.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(
            "there is no such model folder", where=str(folder), fix="name a folder in models/"
        )
    settings = _read_json(folder / CONFIG_FILE)
    tensors = _read_tensors(folder)
    config = _read_config(settings, tensors, folder)
    with torch.device("meta"):
        model = GPT(config)
    state = _own_state(model, tensors, folder)
    for name, value in state.items():
        # Into memory of torch's own: the order of sums in a product, and so the last bit of a
        # resumed run, can hang on the alignment, which a mapped file does not keep.
        laid = value.t() if name.endswith(_CONV1D) else value
        fresh = torch.empty(laid.shape, dtype=dtype or laid.dtype, device=device)
        state[name] = fresh.copy_(laid)
    model.load_state_dict(state, assign=True)
    return model.requires_grad_().eval()


def gpt_of_shape(settings: Mapping[str, Any]) -> GPT | None:
    """A GPT, weights unset, that can hold those of a model that transformers has loaded.

    Args:
        settings: The model's config, as a mapping.

    Returns:
        It, with biases of query, key and value; None where `GPT` cannot be such a model.
    """
    biased = {name: value for name, value in settings.items() if name != OWN_KEY}
    try:
        config = _read_config(biased, {}, Path())
    except UserError:
        return None
    if not settings.get("tie_word_embeddings", True):
        return None
    return GPT(config)


@torch.no_grad()
def copy_weights(model: GPT, weights: Mapping[str, Tensor]) -> None:
    """Overwrite the weights of a GPT.

    Args:
        model: From `gpt_of_shape`.
        weights: Named and laid out as GPT2LMHeadModel has them; the tied head may be left out.

    Raises:
        KeyError: One is missing.
    """
    for name, value in model.state_dict().items():
        given = weights[_PREFIX + name]
        value.copy_(given.t() if name.endswith(_CONV1D) else given)


def _read_config(
    settings: Mapping[str, Any], tensors: dict[str, Tensor], folder: Path
) -> GPTConfig:
    """The shape by config.json, after checking that it is a GPT-2 that `GPT` can be."""
    where = str(folder / CONFIG_FILE)
    if settings.get("model_type") != "gpt2":
        raise UserError(
            f"the model is of type {settings.get('model_type')!r}, not 'gpt2'",
            where=where,
            fix="fine-tuning takes other causal models; this needs a GPT-2",
        )
    width = settings.get("n_embd", 768)
    allowed: dict[str, tuple[Any, ...]] = {**_FIXED}
    if isinstance(width, int):
        allowed["n_inner"] = (None, 4 * width)
    for name, values in allowed.items():
        if name in settings and settings[name] not in values:
            raise UserError(
                f"{name} is {settings[name]!r}; only {values[0]!r} can be read",
                where=where,
                fix="choose a GPT-2 of the usual kind",
            )
    # A model tuned in transformers may have learnt the biases that ours were written without.
    own = settings.get(OWN_KEY)
    biased = not (isinstance(own, dict) and own.get("qkv_bias") is False) or any(
        bool(value.any()) for name, value in tensors.items() if name.endswith(".c_attn.bias")
    )
    try:
        return GPTConfig(
            vocab_size=settings.get("vocab_size", 50257),
            context_length=settings.get("n_positions", 1024),
            emb_dim=width,
            n_heads=settings.get("n_head", 12),
            n_layers=settings.get("n_layer", 12),
            drop_rate=settings.get("resid_pdrop", 0.1),
            qkv_bias=biased,
        )
    except UserError as error:
        raise UserError(error.what, where=where, fix="fetch or export the model again") from error


def _own_state(model: GPT, tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The tensors that `model` wants, of the right shapes, still laid out as transformers does."""
    wanted = model.state_dict()
    head = tensors.pop(_HEAD, None)
    if head is not None and not torch.equal(head, tensors.get("wte.weight", head)):
        raise UserError(
            "the head differs from the token embedding; only tied models can be read",
            where=str(folder),
            fix="choose a GPT-2 with tie_word_embeddings = true",
        )
    missing = sorted(wanted.keys() - tensors.keys())
    if missing:
        raise _damaged(folder, f"{len(missing)} weights are missing, {missing[0]} the first")
    extra = sorted(
        name
        for name in tensors.keys() - wanted.keys()
        # Zero biases of a model without them; `_read_config` has seen to the others.
        if not name.endswith((".c_attn.bias", *_MASKS))
    )
    if extra:
        raise _damaged(folder, f"{len(extra)} unknown weights, {extra[0]} the first")
    for name, value in wanted.items():
        shape = tuple(value.shape[::-1] if name.endswith(_CONV1D) else value.shape)
        if tuple(tensors[name].shape) != shape:
            raise _damaged(
                folder, f"{name} has shape {tuple(tensors[name].shape)}, config.json says {shape}"
            )
    return {name: tensors[name] for name in wanted}


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """All weights in the folder by name, without transformers' prefix, on the CPU."""
    files = [WEIGHTS_FILE]
    if not (folder / WEIGHTS_FILE).exists() and (folder / INDEX_FILE).exists():
        weight_map = _read_json(folder / INDEX_FILE).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise _damaged(folder / INDEX_FILE, "the index has no weight_map")
        files = sorted({str(name) for name in weight_map.values()})
    tensors: dict[str, Tensor] = {}
    for name in files:
        path = folder / name
        if Path(name).name != name:
            raise _damaged(folder / INDEX_FILE, f"the index names a file outside: {name}")
        if not path.is_file():
            raise UserError(
                f"the model has no {name}",
                where=str(folder),
                fix="only safetensors are read; save the model with save_pretrained",
            )
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                for key in file.keys():  # noqa: SIM118 - it is no mapping
                    tensors[key.removeprefix(_PREFIX)] = file.get_tensor(key)
        except SafetensorError as error:
            raise _damaged(path, f"not a whole safetensors file: {error}") from error
    return tensors


def _damaged(where: Path, what: str) -> UserError:
    return UserError(what, where=str(where), fix="fetch or export the model again")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"the model has no {path.name}",
            where=str(path.parent),
            fix="name the folder that holds config.json and model.safetensors",
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise _damaged(path, "not a JSON object")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
