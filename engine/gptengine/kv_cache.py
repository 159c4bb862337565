"""The keys and values of positions that a GPT has already seen."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gptengine.model import GPTConfig


class KVCache:
    """Keys and values of the positions already seen, of one sequence or of several.

    The buffers, a layer each of (batch, 2, heads, capacity, head_dim), are made at the first
    append, in the type and on the device of what is appended (which autocast decides). A cache
    belongs to one model.

    Args:
        config: The model's.
        capacity: Columns to make room for; the context length if nothing is given, and at most
            that where there is no padding.
        padding: (batch,) Columns at the left of each row that hold no token, where sequences of
            different lengths end together. A row's first token is at position 0 all the same.

    Attributes:
        capacity: Columns there is room for.
        length: Columns that are filled.
        padding: As given; None where no row has any.
        weights: The model's own, laid out for steps of one token; the model puts them here.
    """

    def __init__(
        self, config: "GPTConfig", capacity: int | None = None, padding: Tensor | None = None
    ) -> None:
        context = config.context_length
        self.capacity = capacity or context
        if padding is None:
            self.capacity = min(self.capacity, context)
        self.length = 0
        self.padding = padding
        self.weights: list[tuple[Any, ...]] = []
        self._last_position = context - 1
        self._positions: Tensor | None = None  # (batch, capacity)
        self._layers: list[Tensor | None] = [None] * config.n_layers
        self._is_token: Tensor | None = None  # (batch, 1, 1, capacity)
        self._bias: Tensor | None = None  # the same, as 0 and negative infinity
        self._mark_tokens()

    def append(self, layer: int, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Store what `layer` made of the new columns.

        `length` stays until the model has passed all layers.

        Args:
            layer: Index of the block.
            pairs: (batch, 2, heads, new, head_dim), keys and values.

        Returns:
            Keys and values of all columns, (batch, heads, length + new, head_dim), as views.
        """
        batch, two, heads, new, width = pairs.shape
        buffer = self._layers[layer]
        if buffer is None:
            buffer = pairs.new_empty((batch, two, heads, self.capacity, width))
            self._layers[layer] = buffer
        end = self.length + new
        buffer[:, :, :, self.length : end] = pairs
        keys, values = buffer[:, :, :, :end].unbind(1)
        return keys, values

    def positions(self, new: int) -> Tensor | slice:
        """Where the next `new` columns are in their sequences: (batch, new), or alike in all.

        Padding has positions too, and so have columns after a row's context is full, for a row
        that has ended may have to wait for the others; what is there does not count.
        """
        end = self.length + new
        if self._positions is None:
            return slice(self.length, end)
        return self._positions[:, self.length : end]

    def mask(self, new: int, like: Tensor) -> Tensor | None:
        """What the next `new` columns may look at.

        Args:
            new: How many columns.
            like: Of the type and on the device that attention is computed in.

        Returns:
            (batch or 1, 1, new or 1, length + new), boolean or to be added to the scores; None
            where it is all that is there, or all up to the column itself and the cache is empty.
        """
        end = self.length + new
        if self._is_token is None and (new == 1 or self.length == 0):
            return None
        if self._is_token is not None and new == 1:
            if self._bias is None:  # made once, where a boolean would be turned at every layer
                self._bias = torch.zeros_like(self._is_token, dtype=like.dtype)
                self._bias.masked_fill_(~self._is_token, -torch.inf)
            return self._bias[..., :end]
        causal = torch.ones(new, end, dtype=torch.bool, device=like.device).tril(self.length)
        if self._is_token is None:
            return causal[None, None]
        # Padding looks at itself: with nothing to look at its values would not be numbers, and
        # 0 times those is not 0.
        own = torch.eye(end, dtype=torch.bool, device=like.device)[self.length :]
        return (causal & self._is_token[..., :end]) | own

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, in this order; a row may be named several times.

        Columns that are padding in all of them are dropped.

        Args:
            rows: (n,) Their numbers.
        """
        start = 0
        if self.padding is not None:
            padding = self.padding[rows]
            start = int(padding.min())
            self.padding = padding - start if bool((padding > start).any()) else None
        for layer, buffer in enumerate(self._layers):
            if buffer is not None:
                chosen = buffer.new_empty((len(rows), *buffer.shape[1:]))
                seen = buffer[:, :, :, start : self.length]
                torch.index_select(seen, 0, rows, out=chosen[:, :, :, : self.length - start])
                self._layers[layer] = chosen
        self.length -= start
        self._mark_tokens()

    def reset(self) -> None:
        """Forget all positions; the buffers stay."""
        self.length = 0

    def _mark_tokens(self) -> None:
        self._positions = self._is_token = self._bias = None
        if self.padding is not None:
            columns = torch.arange(self.capacity, device=self.padding.device)
            places = columns - self.padding[:, None]  # (batch, capacity)
            self._positions = places.clamp(0, self._last_position)
            self._is_token = (places >= 0)[:, None, None]
