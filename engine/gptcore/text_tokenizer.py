"""A tokenizer for spans of text alone, made from a whole one: nothing in them is ever control.

Works on the `tokenizer.json` of Hugging Face's tokenizers, so that both sides encode alike.
"""

import json
from typing import Any

#: What control tokens are called in the vocabulary instead: nobody writes this.
_UNWRITTEN = "\ue000\ue001control\ue001\ue000"


def text_only(content: str) -> str:
    """The `tokenizer.json` of the tokenizer for spans.

    Added tokens are not looked for, nor found as pieces of the vocabulary; no span counts as the
    first of a text, for a control token is always before it; none is cut or filled up.

    Args:
        content: The `tokenizer.json` of the whole tokenizer.

    Raises:
        ValueError: It is none.
    """
    parts: dict[str, Any] = json.loads(content)
    control = {token["content"] for token in parts.get("added_tokens") or () if token["special"]}
    parts |= {"added_tokens": [], "truncation": None, "padding": None, "post_processor": None}
    before = parts.get("pre_tokenizer") or {}
    for step in [before, *before.get("pretokenizers", ())]:
        if step.get("prepend_scheme") == "first":
            step["prepend_scheme"] = "never"
    model = parts["model"]
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        model["vocab"] = {_renamed(token, control): index for token, index in vocab.items()}
    elif isinstance(vocab, list):  # Unigram: pieces with their scores
        model["vocab"] = [[_renamed(piece, control), score] for piece, score in vocab]
    if isinstance(model.get("unk_token"), str):
        model["unk_token"] = _renamed(model["unk_token"], control)
    return json.dumps(parts)


def _renamed(token: str, control: set[str]) -> str:
    return _UNWRITTEN + token if token in control else token
