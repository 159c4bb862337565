"""The tokenizer of a model that converses: ours, or one from elsewhere with our control tokens."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from gptcore.chat_template import chat_template
from gptcore.conversation import END_OF_TEXT, END_OF_TURN, PAD, SPECIAL_TOKENS
from gptcore.encoding import TextEncoder
from gptcore.errors import UserError
from gptcore.text_tokenizer import text_only
from gptengine.tokenizer import BPETokenizer

#: What holds a tokenizer, of ours or of transformers'.
TOKENIZER_FILE = "tokenizer.json"


class ChatTokenizer(TextEncoder, Protocol):
    """What training and chatting need of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids."""

    def save(self, folder: Path, model_max_length: int | None = None) -> None:
        """Write it in the Hugging Face layout, chat template included."""


class ForeignTokenizer:
    """A tokenizer that came with a model, with the control tokens it lacked added.

    Text is never control here either: special tokens spelled in it, the model's own as well as
    ours, are encoded as plain text.

    Args:
        folder: A local Hugging Face folder with a `tokenizer.json`.

    Raises:
        UserError: There is none, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        if not (folder / TOKENIZER_FILE).is_file():
            raise UserError(
                f"the model has no {TOKENIZER_FILE}",
                where=str(folder),
                fix="save it with transformers: AutoTokenizer.from_pretrained(...).save_pretrained",
            )
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # `tokenizers` raises nothing more special
            said = str(error).strip().splitlines()
            raise UserError(
                f"the tokenizer cannot be read: {said[0] if said else type(error).__name__}",
                where=str(folder),
                fix="fetch the model again, or save its tokenizer with transformers",
            ) from error
        known = tokenizer.get_vocab()
        #: Control tokens that the model has never seen.
        self.added = [token for token in SPECIAL_TOKENS if token not in known]
        tokenizer.add_special_tokens(
            {"extra_special_tokens": list(SPECIAL_TOKENS)},
            replace_extra_special_tokens=False,
        )
        tokenizer.chat_template = chat_template()
        self._tokenizer = tokenizer
        self._plain = Tokenizer.from_str(text_only(tokenizer.backend_tokenizer.to_str()))

    @property
    def vocab_size(self) -> int:
        """How many ids there are, the added ones included."""
        return len(self._tokenizer)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text; control tokens spelled in it stay text."""
        encodings = self._plain.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def id_of(self, token: str) -> int:
        """The id of a control token."""
        index: int = self._tokenizer.convert_tokens_to_ids(token)
        return index

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids."""
        text: str = self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
        return text

    def save(self, folder: Path, model_max_length: int | None = None) -> None:
        """Write it in the Hugging Face layout, chat template included."""
        if model_max_length:
            self._tokenizer.model_max_length = model_max_length
        self._tokenizer.save_pretrained(folder)


def load_chat_tokenizer(folder: Path) -> BPETokenizer | ForeignTokenizer:
    """The tokenizer in a model folder, ours or another's.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    return BPETokenizer.load(folder) if is_ours(folder) else ForeignTokenizer(folder)


def is_ours(folder: Path) -> bool:
    """Whether the tokenizer in `folder` has our control tokens where ours have them."""
    try:
        tokens = json.loads((folder / TOKENIZER_FILE).read_bytes())["added_tokens"]
        first = {token["content"]: token["id"] for token in tokens[: len(SPECIAL_TOKENS)]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return first == {token: index for index, token in enumerate(SPECIAL_TOKENS)}


def control_ids(tokenizer: TextEncoder) -> dict[int, str]:
    """The control tokens by their ids."""
    return {tokenizer.id_of(token): token for token in SPECIAL_TOKENS}


def end_ids(tokenizer: TextEncoder) -> list[int]:
    """The ids that end an assistant's turn."""
    return [tokenizer.id_of(END_OF_TURN), tokenizer.id_of(END_OF_TEXT)]


def pad_id(tokenizer: TextEncoder) -> int:
    """The id that fills up a batch."""
    return tokenizer.id_of(PAD)


def generation_settings(tokenizer: TextEncoder) -> dict[str, Any]:
    """What `generation_config.json` of a chat model says: where a turn ends, what fills up."""
    return {
        "bos_token_id": tokenizer.id_of(END_OF_TEXT),
        "eos_token_id": end_ids(tokenizer),
        "pad_token_id": pad_id(tokenizer),
    }
