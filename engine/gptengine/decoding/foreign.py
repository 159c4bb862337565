"""Any causal LM of transformers as the decoder reads it: its own forward pass and cache."""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer


class ForeignReader:
    """Reads prompts, then token by token.

    The cache is the model's own. Where it is one that grows by copying itself at every token, its
    layers are replaced by such that have the room from the start.

    Args:
        model: A causal LM of transformers, perhaps wrapped by PEFT or patched by Unsloth.
        ids: (batch, width) The prompts, padded at the left.
        padding: (batch,) Columns of each row that are padding; None: there are none.
        capacity: Columns to make room for.
        context: Tokens that the model can see.
    """

    logits: Tensor

    def __init__(
        self, model: Any, ids: Tensor, padding: Tensor | None, capacity: int, context: int
    ) -> None:
        self._model = model
        self._last_position = context - 1
        self._length = ids.shape[1]
        self._padding = padding
        self._mask: Tensor | None = None  # (batch, capacity)
        if padding is not None:
            self._mask = (torch.arange(capacity, device=ids.device) >= padding[:, None]).long()
        columns = torch.arange(self._length, device=ids.device)
        told = self._forward(ids, columns[None].expand(len(ids), -1), logits_to_keep=1)
        self._cache = told.past_key_values
        if type(self._cache) is DynamicCache:
            self._cache.layers = [
                RoomyLayer(layer, capacity) if type(layer) is DynamicLayer else layer
                for layer in self._cache.layers
            ]

    def read(self, ids: Tensor) -> None:
        """Read one more token of each row, (batch,); `logits` are then those after it."""
        columns = torch.full_like(ids, self._length)[:, None]
        self._length += 1
        told = self._forward(ids[:, None], columns, past_key_values=self._cache)
        self._cache = told.past_key_values

    def select(self, rows: Tensor) -> bool:
        """Go on with these rows, which may be named several times; False where it cannot be."""
        layers = getattr(self._cache, "layers", None)
        if not layers or not all(isinstance(layer, DynamicLayer) for layer in layers):
            return False
        self._cache.batch_select_indices(rows)
        self.logits = self.logits[rows]
        if self._padding is not None and self._mask is not None:
            self._padding, self._mask = self._padding[rows], self._mask[rows]
        return True

    def _forward(self, ids: Tensor, columns: Tensor, **options: Any) -> Any:
        mask = None
        if self._padding is not None and self._mask is not None:
            columns = columns - self._padding[:, None]
            mask = self._mask[:, : self._length]
        told = self._model(
            input_ids=ids,
            attention_mask=mask,
            # A row that has ended may have to wait for the others beyond its context.
            position_ids=columns.clamp(0, self._last_position),
            use_cache=True,
            return_dict=True,
            **options,
        )
        self.logits = told.logits[:, -1]  # (batch, vocab)
        return told


class RoomyLayer(DynamicLayer):
    """A cache's layer with room for what is to come, so that nothing is copied to append.

    Args:
        layer: What is there so far.
        capacity: Columns to make room for.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, layer: DynamicLayer, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity
        self.dtype, self.device = layer.keys.dtype, layer.keys.device
        self.is_initialized = True
        self._take(layer.keys, layer.values)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store (batch, heads, new, head_dim); returns all, as views."""
        length = self.keys.shape[-2]
        end = length + key_states.shape[-2]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, length:end] = new
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows; they may be named several times."""
        self._take(self.keys[indices], self.values[indices])

    def _take(self, *seen: Tensor) -> None:
        """Copy keys and values into buffers with room."""
        self._buffers = [
            each.new_empty((*each.shape[:2], self._capacity, each.shape[-1])) for each in seen
        ]
        length = seen[0].shape[-2]
        for buffer, each in zip(self._buffers, seen, strict=True):
            buffer[:, :, :length] = each
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)
