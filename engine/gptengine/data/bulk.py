"""Encodes whole corpora, many times as fast as `tokenizers` and with the same ids."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from tokenizers import Tokenizer

from gptcore.conversation import SPECIAL_TOKENS


class BulkEncoder:
    """Encodes batches of UTF-8 text through `gigatoken`, many times as fast as `tokenizers`.

    The ids are those of `BPETokenizer.encode`. The first texts are encoded by both libraries, and
    where `gigatoken` is missing, refuses the tokenizer or differs, `tokenizers` does it all.

    Args:
        tokenizer: The tokenizer whose ids are wanted; encodes special tokens as text.
        max_growth: Bytes by which this process may grow before `gigatoken`, which remembers every
            word it met, is started afresh.
    """

    #: How much of the first texts is compared, and the size of the samples it is made of.
    _SAMPLE_BYTES, _SAMPLE_PART = 1 << 18, 1 << 14

    def __init__(self, tokenizer: Tokenizer, max_growth: int = 400 << 20) -> None:
        self._tokenizer = tokenizer
        self._max_growth = max_growth
        self._unchecked = self._SAMPLE_BYTES
        self._gigatoken: Any = None
        #: Why `tokenizers` does the work; empty where `gigatoken` does it.
        self.fallback_reason = ""
        parts = json.loads(tokenizer.to_str())
        # Without these entries it encodes their spelling as the text it is.
        parts["added_tokens"] = []
        self._json = json.dumps(parts)
        self._start_gigatoken()

    @property
    def batch_bytes(self) -> int:
        """How much text a call should bring, so that it takes a few tenths of a second at most."""
        return 1 << 20 if self.fallback_reason else 4 << 20

    def encode(
        self, texts: Sequence[bytes]
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """The ids of all texts one after the other, and how many ids each text has.

        Args:
            texts: Valid UTF-8.
        """
        if not texts:
            return np.empty(0, np.uint32), np.empty(0, np.int64)
        if self._unchecked > 0 and self._gigatoken is not None:
            self._check(texts)
        grown = psutil.Process().memory_info().rss - self._rss_at_start
        if self._gigatoken is not None and grown > self._max_growth:
            self._gigatoken = None  # its cache of words goes with it
            self._start_gigatoken()
        return self._encode_slowly(texts) if self._gigatoken is None else self._encode_fast(texts)

    def _start_gigatoken(self) -> None:
        self._rss_at_start = psutil.Process().memory_info().rss
        try:
            import gigatoken
        except ImportError as error:
            self.fallback_reason = f"gigatoken cannot be imported: {error}"
            return
        try:
            self._gigatoken = gigatoken.Tokenizer.from_json(self._json)
        except (ValueError, RuntimeError, TypeError) as error:
            self.fallback_reason = f"gigatoken refuses this tokenizer: {error}"

    def _check(self, texts: Sequence[bytes]) -> None:
        """Compare both libraries on samples from all over the first texts."""
        joined = b"".join(texts)
        step = max(self._SAMPLE_PART, self._SAMPLE_PART * len(joined) // self._unchecked)
        self._unchecked -= len(joined)
        sample = [
            joined[at : at + self._SAMPLE_PART].decode("utf-8", "ignore").encode()
            for at in range(0, len(joined), step)
        ]
        sample.append(_HARD_TEXT.encode())
        ids, counts = self._encode_fast(sample)
        expected_ids, expected_counts = self._encode_slowly(sample)
        if not (np.array_equal(ids, expected_ids) and np.array_equal(counts, expected_counts)):
            self._gigatoken = None
            self.fallback_reason = "gigatoken gives other ids than tokenizers on this text"

    def _encode_fast(
        self, texts: Sequence[bytes]
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        layout = self._gigatoken.encode_batch(list(texts)).layout
        offsets = np.asarray(layout.offsets.data)
        ids = np.asarray(layout.content.data)[offsets[0] : offsets[-1]]
        return ids, np.diff(offsets).astype(np.int64)

    def _encode_slowly(
        self, texts: Sequence[bytes]
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        encodings = self._tokenizer.encode_batch_fast(
            [text.decode() for text in texts], add_special_tokens=False
        )
        each = [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]
        return np.concatenate(each), np.array([len(ids) for ids in each], dtype=np.int64)


# What pre-tokenizers have been known to differ on: scripts, digits, marks, spaces, control
# characters, contractions, and the control tokens' own spelling.
_HARD_TEXT = (
    "It's they'LL I'm 12345 ٣٤ ½ Ⅷ naïve cafe\u0301 Straße ΑΒΓ привет 你好，世界 こんにちは 한국어 "
    "नमस्ते שלום مرحبا ไทย 🎉👩‍👩‍👧 \u00a0\u2003\u3000\u200b\ufeff\ufffd\x00\x1c\x85 "
    "\t\r\n\r\n  \n x   y\n\n\n"
    "a_b __init__(self, *args) -> {'k': [1, 2.50e-3]}  # ... !!!\r\n" + "".join(SPECIAL_TOKENS)
)
