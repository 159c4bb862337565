"""The GPT: its configuration and the module.

GPT-2 (Radford et al., "Language Models are Unsupervised Multitask Learners", 2019): learned
positions, normalisation before each part, tanh GELU, embeddings tied to the head. Parameters bear
the names that transformers gives them, so that `gptengine.hf` only transposes.
"""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gptcore.errors import UserError
from gptengine.kv_cache import KVCache
from gptengine.loss import linear_cross_entropy, onednn_applies, product, weight_gradient

#: The reference size: 124M parameters.
GPT_CONFIG: dict[str, Any] = {
    "vocab_size": 50257,
    "context_length": 2000,
    "emb_dim": 768,
    "n_heads": 12,
    "n_layers": 12,
    "drop_rate": 0.0,
    "qkv_bias": False,
}


#: From this width on oneDNN's products are the faster for a few rows too, as a step has them:
#: 5 % faster at 384, 20 % at 768.
_ONEDNN_STEP_WIDTH = 384


@dataclass(frozen=True, slots=True)
class GPTConfig:
    """The shape of a GPT.

    Args:
        vocab_size: Rows of the token embedding.
        context_length: Positions that the model can see, in tokens.
        emb_dim: Width of the residual stream; a multiple of `n_heads`.
        n_heads: Attention heads a layer.
        n_layers: Transformer blocks.
        drop_rate: Dropout on embeddings, attention and residuals, in [0, 1).
        qkv_bias: Whether the query, key and value projections have a bias.

    Raises:
        UserError: A value that no model can have; names the field.
    """

    vocab_size: int
    context_length: int
    emb_dim: int
    n_heads: int
    n_layers: int
    drop_rate: float = 0.0
    qkv_bias: bool = False

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context_length", "emb_dim", "n_heads", "n_layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(
                    f"{name} is {value!r}, not a whole number from 1",
                    where=f"model setting {name}",
                    fix=f"{name} = {GPT_CONFIG[name]} is the reference",
                )
        if self.emb_dim % self.n_heads:
            fit = max(1, round(self.emb_dim / self.n_heads)) * self.n_heads
            raise UserError(
                f"emb_dim {self.emb_dim} is not a multiple of n_heads {self.n_heads}",
                where="model setting emb_dim",
                fix=f"emb_dim = {fit}, or another n_heads that divides {self.emb_dim}",
            )
        rate = self.drop_rate
        if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 <= rate < 1:
            raise UserError(
                f"drop_rate is {rate!r}, not a number from 0 to below 1",
                where="model setting drop_rate",
                fix="drop_rate = 0.0",
            )
        if not isinstance(self.qkv_bias, bool):
            raise UserError(
                f"qkv_bias is {self.qkv_bias!r}, not true or false",
                where="model setting qkv_bias",
                fix="qkv_bias = false",
            )

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "GPTConfig":
        """The configuration that `settings` spell out; the rest is `GPT_CONFIG`'s.

        Raises:
            UserError: A key that is no setting of the model, or a value that cannot be.
        """
        known = [field.name for field in fields(cls)]
        for key in settings:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.4)
                raise UserError(
                    f"the model has no setting {key!r}",
                    where=f"model setting {key}",
                    fix=f"did you mean {near[0]}?" if near else f"settings: {', '.join(known)}",
                )
        return cls(**{**GPT_CONFIG, **settings})

    def to_dict(self) -> dict[str, Any]:
        """The settings by name, as `from_dict` reads them."""
        return asdict(self)


class _ProductLinear(torch.autograd.Function):
    """A linear layer whose products go through oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])  # (n, in)
        ctx.save_for_backward(x, weight)
        return product(rows, weight, bias).view(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])  # (n, out)
        need_x, need_weight, need_bias = ctx.needs_input_grad
        return (
            product(rows, weight.t()).view_as(x) if need_x else None,
            weight_gradient(rows, x.reshape(-1, x.shape[-1])) if need_weight else None,
            rows.sum(0) if need_bias else None,
        )


class Linear(nn.Linear):
    """``nn.Linear`` that takes the faster product, and leaves initialisation to the GPT."""

    def reset_parameters(self) -> None:
        """Nothing: `GPT` draws all weights itself."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        if onednn_applies(input, self.weight):
            return _ProductLinear.apply(input, self.weight, self.bias)
        return F.linear(input, self.weight, self.bias)


class Embedding(nn.Embedding):
    """``nn.Embedding`` that leaves initialisation to the GPT."""

    def reset_parameters(self) -> None:
        """Nothing: `GPT` draws all weights itself."""


class Attention(nn.Module):
    """Causal self-attention of several heads."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads = config.n_heads
        self.drop_rate = config.drop_rate
        self.c_attn = Linear(config.emb_dim, 3 * config.emb_dim, bias=config.qkv_bias)
        self.c_proj = Linear(config.emb_dim, config.emb_dim)

    def forward(
        self, x: Tensor, cache: KVCache | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """(batch, time, dim) to the same; `mask` as `KVCache.mask` has it."""
        batch, time, dim = x.shape
        heads = self.c_attn(x).view(batch, time, 3, self.num_heads, dim // self.num_heads)
        heads = heads.permute(0, 2, 3, 1, 4)  # (batch, 3, heads, time, head_dim)
        if cache is None:
            query, key, value = heads.unbind(1)
        else:
            query = heads[:, 0]
            key, value = cache.append(self.layer, heads[:, 1:])
        out = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            dropout_p=self.drop_rate if self.training else 0.0,
            is_causal=mask is None and time > 1,
        )
        return self.c_proj(out.transpose(1, 2).reshape(batch, time, dim))


class MLP(nn.Module):
    """Two layers, four times as wide between."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = Linear(config.emb_dim, 4 * config.emb_dim)
        self.c_proj = Linear(4 * config.emb_dim, config.emb_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, dim) to the same."""
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """One transformer block."""

    def __init__(self, config: GPTConfig, layer: int) -> None:
        super().__init__()
        self.drop_rate = config.drop_rate
        self.ln_1 = nn.LayerNorm(config.emb_dim)
        self.attn = Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.emb_dim)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, cache: KVCache | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """(batch, time, dim) to the same; `mask` as `KVCache.mask` has it."""
        x = x + self._drop(self.attn(self.ln_1(x), cache, mask))
        return x + self._drop(self.mlp(self.ln_2(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.drop_rate, self.training) if self.drop_rate else x


class GPT(nn.Module):
    """A GPT-2 language model.

    Args:
        config: Its shape; a mapping is read by `GPTConfig.from_dict`.
        generator: Where the initial weights are drawn from; the global state if nothing is given.

    Attributes:
        config: Its shape.
        gradient_checkpointing: Whether training keeps each block's input only and computes the
            rest again for the gradient (Chen et al., "Training Deep Nets with Sublinear Memory
            Cost", 2016): the same numbers, less memory, about a third more time.
    """

    def __init__(
        self, config: GPTConfig | Mapping[str, Any], generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.config = config if isinstance(config, GPTConfig) else GPTConfig.from_dict(config)
        self.gradient_checkpointing = False
        self.wte = Embedding(self.config.vocab_size, self.config.emb_dim)
        self.wpe = Embedding(self.config.context_length, self.config.emb_dim)
        self.h = nn.ModuleList(Block(self.config, layer) for layer in range(self.config.n_layers))
        self.ln_f = nn.LayerNorm(self.config.emb_dim)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator | None) -> None:
        """GPT-2's: std 0.02, and less where 2 * n_layers branches add up on the residual stream."""
        residual = 0.02 / math.sqrt(2 * self.config.n_layers)
        for name, module in self.named_modules():
            if isinstance(module, Linear | Embedding):
                std = residual if name.endswith("c_proj") else 0.02
                module.weight.normal_(0.0, std, generator=generator)
            if isinstance(module, Linear) and module.bias is not None:
                module.bias.zero_()

    def hidden(self, input_ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """The residual stream after the last normalisation.

        Args:
            input_ids: (batch, time), at the positions that follow the cache's.
            cache: Grows by `time` positions.

        Returns:
            (batch, time, dim).

        Raises:
            ValueError: More positions than the context, or the cache, has room for.
        """
        past = cache.length if cache is not None else 0
        time = input_ids.shape[1]
        room = cache.capacity if cache is not None else self.config.context_length
        if past + time > room:
            raise ValueError(f"{past + time} positions, but room for {room}")
        if cache is not None and time == 1 and not (torch.is_grad_enabled() or self.training):
            return self._step(input_ids, cache)
        where = cache.positions(time) if cache is not None else slice(time)
        x = self.wte(input_ids) + self.wpe.weight[where]  # (batch, time, dim)
        mask = cache.mask(time, x) if cache is not None else None
        if self.config.drop_rate:
            x = F.dropout(x, self.config.drop_rate, self.training)
        recompute = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        for block in self.h:
            if recompute:
                x = checkpoint(block, x, cache, mask, use_reentrant=False)
            else:
                x = block(x, cache, mask)
        if cache is not None:
            cache.length += time
        return self.ln_f(x)

    def _step(self, input_ids: Tensor, cache: KVCache) -> Tensor:
        """`hidden` of one more token, written out: in small models the modules' calls cost most.

        Args:
            input_ids: (batch, 1).
            cache: Grows by one position.

        Returns:
            (batch, 1, dim).
        """
        batch, dim, heads = len(input_ids), self.config.emb_dim, self.config.n_heads
        cache.weights = cache.weights or self._weights()
        x = self.wte.weight[input_ids] + self.wpe.weight[cache.positions(1)]  # (batch, 1, dim)
        mask, linear = cache.mask(1, x), self._linear_of_few()
        for layer, (norm_1, bias_1, w_qkv, b_qkv, w_out, b_out, *mlp) in enumerate(cache.weights):
            norm_2, bias_2, w_up, b_up, w_down, b_down = mlp
            wide = linear(torch.layer_norm(x, (dim,), norm_1, bias_1), w_qkv, b_qkv)
            wide = wide.view(batch, 3, heads, 1, dim // heads)
            keys, values = cache.append(layer, wide[:, 1:])
            out = F.scaled_dot_product_attention(wide[:, 0], keys, values, attn_mask=mask)
            x = x + linear(out.reshape(batch, 1, dim), w_out, b_out)
            wide = linear(torch.layer_norm(x, (dim,), norm_2, bias_2), w_up, b_up)
            x = x + linear(F.gelu(wide, approximate="tanh"), w_down, b_down)
        cache.length += 1
        return torch.layer_norm(x, (dim,), self.ln_f.weight, self.ln_f.bias)

    def _linear_of_few(self) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        """The product that is the fastest for a few rows where no gradient is wanted."""
        weight = self.wte.weight
        if self.config.emb_dim >= _ONEDNN_STEP_WIDTH and onednn_applies(weight, weight):
            return product
        return F.linear

    def _weights(self) -> list[tuple[Any, ...]]:
        """Weights and biases of each block, in the order in which they are met."""
        blocks: Any = self.h
        return [
            tuple(
                parameter
                for part in (b.ln_1, b.attn.c_attn, b.attn.c_proj, b.ln_2, b.mlp.c_fc, b.mlp.c_proj)
                for parameter in (part.weight, part.bias)
            )
            for b in blocks
        ]

    def forward(
        self, input_ids: Tensor, cache: KVCache | None = None, last_only: bool = False
    ) -> Tensor:
        """Logits of the token after each position.

        Args:
            input_ids: (batch, time).
            cache: As in `hidden`.
            last_only: Only for the last position; the time axis is then 1.

        Returns:
            (batch, time, vocab).
        """
        x = self.hidden(input_ids, cache)
        if last_only and not torch.is_grad_enabled():
            return self._linear_of_few()(x[:, -1:].contiguous(), self.wte.weight, None)
        return F.linear(x[:, -1:] if last_only else x, self.wte.weight)

    def loss(self, input_ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy in nats; the logits as a whole never exist.

        Args:
            input_ids: (batch, time).
            targets: (batch, time), the token after each position; -100 where there is no loss.

        Returns:
            Scalar; 0 where no position has a target.
        """
        x = self.hidden(input_ids)
        return linear_cross_entropy(x.flatten(0, 1), self.wte.weight, targets.flatten())

    def num_parameters(self) -> int:
        """All weights, the embedding that is also the head counted once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self, context_length: int | None = None) -> int:
        """Floating-point operations a trained token costs, forward and backward.

        6 N + 12 L D T, Chowdhery et al., "PaLM" (2022), appendix B. N leaves out the positions,
        which are only looked up. Recomputation under gradient checkpointing is not counted, by
        the convention of model FLOPs utilisation.

        Args:
            context_length: Tokens a sequence, T; the model's context if nothing is given.
        """
        config = self.config
        weights = self.num_parameters() - self.wpe.weight.numel()
        time = context_length or config.context_length
        return 6 * weights + 12 * config.n_layers * config.emb_dim * time
