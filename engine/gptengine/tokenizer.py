"""Byte-level BPE, trained from scratch.

The pre-tokenizer is Qwen2's pattern: it keeps digits apart, `gigatoken` knows it, and llama.cpp
knows it by name. Ids 0 to 9 are the control tokens of `gptcore.conversation`, in every tokenizer.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from gptcore.chat_template import chat_template
from gptcore.conversation import END_OF_TEXT, PAD, SPECIAL_TOKENS
from gptcore.errors import UserError
from gptcore.workspace import make_private_dir, write_atomic
from gptengine.data.bulk import BulkEncoder

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

#: The control tokens and one token for each byte.
MIN_VOCAB_SIZE = len(SPECIAL_TOKENS) + 256

# The trainer collects 256 texts before it works on them, and its time grows with the square of a
# word's length: both are kept small.
_TRAIN_CHARS = 1 << 16
_LONG_WORD = re.compile(r"(\S{256}|\s{256})")


class BPETokenizer:
    """A byte-level BPE tokenizer: any text in, ids out, and the same text back.

    Text is never control: a special token spelled in a text is encoded as the letters it is
    spelled with, unless `encode` is told otherwise.
    """

    def __init__(self) -> None:
        self._tokenizer = _untrained()
        self._trained = False

    # --- making and keeping ----------------------------------------------------------------------

    def train(self, texts: Iterable[str], vocab_size: int = 30000) -> None:
        """Learn the merges from texts; what was learnt before is replaced.

        Args:
            texts: Read once and not kept, so a generator over any amount of text will do.
            vocab_size: How many ids there shall be, the control tokens among them. Little text
                gives fewer; `vocab_size` of the tokenizer then says how many.

        Raises:
            UserError: `vocab_size` is too small, or there is no text.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be an iterable of strings, not one string")
        if vocab_size < MIN_VOCAB_SIZE:
            raise UserError(
                f"a vocabulary of {vocab_size} is too small: the control tokens and the 256 bytes "
                f"alone are {MIN_VOCAB_SIZE}",
                where="vocab_size",
                fix=f"vocab_size of at least {MIN_VOCAB_SIZE}",
            )
        tokenizer = _untrained()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        seen = _Seen()
        tokenizer.train_from_iterator(_chunks(texts, seen), trainer)
        if not seen.ink:
            raise UserError(
                "there is no text to train a tokenizer on",
                where="the texts given" if seen.texts else "no texts were given",
                fix="add .txt or .md files to datasets/, or run gptstudio init .",
            )
        self._adopt(tokenizer)

    def save(self, folder: str | Path, model_max_length: int | None = None) -> None:
        """Write the tokenizer in the Hugging Face layout, as `AutoTokenizer` reads it.

        Args:
            folder: Made when missing; other files in it stay.
            model_max_length: The context length of the model it goes with, in tokens.
        """
        self._require_trained()
        folder = make_private_dir(Path(folder))
        names = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": PAD}
        additional = [token for token in SPECIAL_TOKENS if token not in names.values()]
        special = {**names, "additional_special_tokens": additional}
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **special,
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "added_tokens_decoder": {
                str(index): {
                    "content": token,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": True,
                }
                for index, token in enumerate(SPECIAL_TOKENS)
            },
        }
        if model_max_length is not None:
            config["model_max_length"] = model_max_length
        # tokenizer.json last: a folder without it is not taken for a tokenizer.
        write_atomic(folder / "special_tokens_map.json", json.dumps(special, indent=2))
        write_atomic(folder / "tokenizer_config.json", json.dumps(config, indent=2))
        write_atomic(folder / "chat_template.jinja", chat_template())
        write_atomic(folder / "tokenizer.json", self._tokenizer.to_str(pretty=True))

    @classmethod
    def load(cls, folder: str | Path) -> "BPETokenizer":
        """Read what `save` wrote.

        Raises:
            UserError: The folder holds no tokenizer, a broken one, or one that was not made here.
        """
        file = Path(folder) / "tokenizer.json"
        fix = "train one: gptstudio run --stage tokenizer"
        try:
            content = file.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise UserError("there is no tokenizer", where=str(file), fix=fix) from error
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"the tokenizer cannot be read: {error}", where=str(file), fix=fix
            ) from error
        made = cls()
        made._adopt(_parse(content, file))
        return made

    def _adopt(self, tokenizer: Tokenizer) -> None:
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._trained = True
        for name in ("fingerprint", "_bytes_of", "_with_control"):
            self.__dict__.pop(name, None)

    def _require_trained(self) -> None:
        if not self._trained:
            raise UserError(
                "the tokenizer has not been trained",
                fix="call train(texts) first, or BPETokenizer.load(folder)",
            )

    # --- using -----------------------------------------------------------------------------------

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Ids of `text`.

        Args:
            text: Anything; half a surrogate pair becomes U+FFFD.
            allow_special: Whether control tokens spelled in the text become control ids. Only for
                text this program wrote itself.
        """
        self._require_trained()
        tokenizer = self._with_control if allow_special else self._tokenizer
        return tokenizer.encode(_sound(text), add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str], allow_special: bool = False) -> list[list[int]]:
        """Ids of each text, on all cores."""
        self._require_trained()
        tokenizer = self._with_control if allow_special else self._tokenizer
        encodings = tokenizer.encode_batch_fast(
            [_sound(text) for text in texts], add_special_tokens=False
        )
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """The text of `ids`; bytes that are no whole character become U+FFFD.

        Args:
            ids: Token ids; those beyond the vocabulary stand for nothing.
            skip_special: Whether to leave control tokens out.
        """
        if skip_special:
            ids = (index for index in ids if index >= len(SPECIAL_TOKENS))
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of `ids`, for streaming: a character may be spread over several tokens."""
        self._require_trained()
        table = self._bytes_of
        return b"".join(table[index] for index in ids if 0 <= index < len(table))

    def id_of(self, token: str) -> int:
        """The id of a control token, or of a token in the vocabulary's own spelling.

        Raises:
            KeyError: There is no such token.
        """
        index = self._tokenizer.token_to_id(token)
        if index is None:
            raise KeyError(token)
        return index

    @property
    def eos_id(self) -> int:
        """Ends a document."""
        return SPECIAL_TOKENS.index(END_OF_TEXT)

    @property
    def pad_id(self) -> int:
        """Fills up a batch."""
        return SPECIAL_TOKENS.index(PAD)

    @property
    def vocab_size(self) -> int:
        """How many ids there are, the control tokens among them."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def __len__(self) -> int:
        return self.vocab_size

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what the tokenizer is, in hexadecimal: equal for equal tokenizers."""
        self._require_trained()
        parts = json.loads(self._tokenizer.to_str())
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def fast_encoder(self) -> BulkEncoder:
        """An encoder for whole corpora."""
        self._require_trained()
        return BulkEncoder(self._tokenizer)

    @cached_property
    def _with_control(self) -> Tokenizer:
        """A second tokenizer, as the switch on the first would be seen by other threads."""
        return Tokenizer.from_str(self._tokenizer.to_str())

    @cached_property
    def _bytes_of(self) -> list[bytes]:
        """The bytes each id stands for."""
        byte_of = _byte_of_letter()
        table = [b""] * self.vocab_size
        for token, index in self._tokenizer.get_vocab(with_added_tokens=True).items():
            if index >= len(SPECIAL_TOKENS):
                table[index] = bytes(byte_of[letter] for letter in token)
        table[: len(SPECIAL_TOKENS)] = [token.encode() for token in SPECIAL_TOKENS]
        return table


# --- helpers -------------------------------------------------------------------------------------


def _untrained() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _chunks(texts: Iterable[str], seen: "_Seen") -> Iterator[str]:
    """Texts cut to what the trainer can take at a time, overlong words cut up."""
    for text in texts:
        seen.texts = True
        at = 0
        while at < len(text):
            end = min(at + _TRAIN_CHARS, len(text))
            if end < len(text):
                end = text.rfind("\n", at, end) + 1 or end
            chunk = _sound(text[at:end])
            at = end
            seen.ink = seen.ink or not chunk.isspace()
            yield from filter(None, _LONG_WORD.split(chunk))


class _Seen:
    """What went by on the way to the trainer."""

    texts = False
    ink = False


def _sound(text: str) -> str:
    """`text` with U+FFFD for the halves of surrogate pairs, which have no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _byte_of_letter() -> dict[str, int]:
    """Which byte each letter of the byte-level alphabet stands for (as in GPT-2's encoder)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {chr(byte): byte for byte in shown}
    return letters | {chr(0x100 + place): byte for place, byte in enumerate(hidden)}


def _parse(content: str, file: Path) -> Tokenizer:
    """The tokenizer in `content`, which must be one of ours.

    All parts are looked at first, as `tokenizers` raises a bare Exception for what it cannot use.
    """
    fix = "train one: gptstudio run --stage tokenizer"
    own = json.loads(_untrained().to_str())
    try:
        parts = json.loads(content)
        model = parts["model"]
        vocab: dict[str, int] = model["vocab"]
        specials = {each["content"]: each["id"] for each in parts["added_tokens"]}
        ours = model["type"] == "BPE" and all(
            parts[name] == own[name]
            for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder")
        )
        sound = sorted(vocab.values()) == list(range(len(vocab))) and all(
            first in vocab and second in vocab and first + second in vocab
            for first, second in model["merges"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError("the tokenizer is damaged", where=str(file), fix=fix) from error
    if not sound:
        raise UserError("the tokenizer is damaged", where=str(file), fix=fix)
    if not ours or specials != {token: index for index, token in enumerate(SPECIAL_TOKENS)}:
        raise UserError(
            "the tokenizer was not made here: its control tokens or its way to split text differ",
            where=str(file),
            fix=fix,
        )
    return Tokenizer.from_str(content)
