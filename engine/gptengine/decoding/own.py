"""Our own GPT as the decoder reads it."""

from torch import Tensor

from gptengine.kv_cache import KVCache
from gptengine.model import GPT


class OwnReader:
    """Reads prompts, then token by token.

    Args:
        model: What reads.
        ids: (batch, width) The prompts, padded at the left.
        padding: (batch,) Columns of each row that are padding; None: there are none.
        capacity: Columns to make room for.
    """

    def __init__(self, model: GPT, ids: Tensor, padding: Tensor | None, capacity: int) -> None:
        self._model = model
        self._cache = KVCache(model.config, capacity, padding)
        self.logits = model(ids, self._cache, last_only=True)[:, -1]  # (batch, vocab)

    def read(self, ids: Tensor) -> None:
        """Read one more token of each row, (batch,); `logits` are then those after it."""
        self.logits = self._model(ids[:, None], self._cache, last_only=True)[:, -1]

    def select(self, rows: Tensor) -> bool:
        """Go on with these rows, which may be named several times; False where it cannot be."""
        self._cache.select(rows)
        self.logits = self.logits[rows]
        return True
