"""The transformer pieces that the sequence backbones share: post-norm attention and feed-forward layers.

Source of the block's details: Yin et al. (2025), section 4.2 and appendix B, and the released code: LayerNorm after
each residual sum with epsilon 1e-6, tanh GELU, biases everywhere, dropout around the attention's output projection
and after the feed-forward, none on attention weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor, nn

from wmzoo.attention import attend
from wmzoo.backbone import BackboneConfig
from wmzoo.memory import Put
from wmzoo.recipe import setting
from wmzoo.trajectories import ACTION

if TYPE_CHECKING:
    from wmzoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(BackboneConfig):
    """Settings that the sequence backbones share."""

    blocks: int = setting(6, "blocks, one after another", symbol="L", low=1)
    width: int = setting(256, "token width, a multiple of heads", symbol="d", low=1)
    heads: int = setting(4, "attention heads", low=1)
    dropout: float = setting(0.05, "in attention and feed-forward outputs", unit="probability", low=0.0, high=0.9)
    positions: int = setting(20, "rows of the position table", unit="steps", low=2)
    max_variates: int = setting(100, "rows of the variate table", symbol="M", low=3)
    count_padding: bool = setting(False, "positions count the padded rows at the left of a window")
    padding_last: bool = setting(False, "mask padding after the future: a query without a key averages over padding")

    def problems(self, recipe: Recipe) -> Iterator[tuple[str, str]]:
        """Settings that can't go together, as (name, sentence)."""
        yield from super().problems(recipe)
        if self.width % self.heads:
            yield "heads", f"width {self.width} is not a multiple of {self.heads} heads."
        if recipe.data.window > self.positions:
            yield (
                "positions",
                f"data.window is {recipe.data.window}, longer than the position table of {self.positions} rows; "
                "raise positions or shorten the window.",
            )


PART = 1024  # rows of a hidden layer that are computed at once without gradients
OFFICIAL = {"count_padding": True, "padding_last": True}


class Dropout(nn.Dropout):
    """Dropout that draws 16 random bits a number on a CPU, where drawing them takes most of the time.

    There the probability is rounded to a multiple of 1 / 65,536.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``[...]`` to the same."""
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        dropped = round(self.p * 2**16)
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
        return x * (kept.to(x.dtype) * (1 / (1 - dropped / 2**16)))


class TokenEmbedding(nn.Module):
    """A projection of each token, plus what it is, when it is, and which variate it is.

    Args:
        config: of the transformer.
        features: ``K``.
        variates: whether the variates are told apart.
    """

    def __init__(self, config: TransformerConfig, features: int, variates: bool = True):
        super().__init__()
        self.project = dense(features, config.width)
        self.kind = table(2, config.width)  # states and reward, or action
        self.position = table(config.positions, config.width)
        self.variate = table(config.max_variates, config.width) if variates else None

    def forward(self, tokens: Tensor, role: Tensor, place: Tensor, positions: Tensor) -> Tensor:
        """``[B, T, M, K]`` tokens of ``[B, M]`` roles and places, at ``[B, T]`` positions, to ``[B, T, M, D]``."""
        x = self.project(tokens) + self.kind((role == ACTION).long())[:, None]
        x = x + self.position(positions)[:, :, None]
        return x if self.variate is None else x + self.variate(place)[:, None]


class Attention(nn.Module):
    """Multi-head self-attention with a residual sum and a norm behind it.

    Args:
        width: ``D``, a multiple of ``heads``.
        heads: number of heads.
        dropout: probability, on the heads' output and on the projection.
        padding_last: as in :func:`wmzoo.attention.attend`.
    """

    def __init__(self, width: int, heads: int, dropout: float, padding_last: bool = False):
        super().__init__()
        self.heads, self.padding_last = heads, padding_last
        self.query, self.key, self.value, self.out = (dense(width, width) for _ in range(4))
        self.drop = Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(
        self,
        x: Tensor,
        put: Put | None = None,
        *,
        causal: bool,
        keys: Tensor | None,
        kernel: str,
        lengths: tuple[int, ...] = (),
    ) -> Tensor:
        """Attend within sequences, ``[N, L, D]`` to the same.

        Args:
            x: ``[N, L, D]`` new places.
            put: writes their keys and values ``[N, L, H, d]`` into a memory and gives those of all places that they
                may see, and which of them are real (:meth:`wmzoo.memory.Past.put`); None if there are no others.
            causal, keys, kernel, lengths: as in :func:`wmzoo.attention.attend`; ``keys`` covers the earlier places too.
        """
        q, k, v = self._heads(x, self.query, self.key, self.value)
        if put is not None:
            k, v, keys = put(k, v, keys)
        last = self.padding_last
        seen = attend(q, k, v, causal=causal, keys=keys, kernel=kernel, padding_last=last, lengths=lengths)
        mixed = rearrange(seen, "n l h d -> n l (h d)")
        return self.norm(x + self.drop(self.out(self.drop(mixed))))

    def write(self, x: Tensor, put: Put) -> None:
        """Keep the keys and values of new places ``[N, L, D]``, and do nothing else."""
        k, v = self._heads(x, self.key, self.value)
        put(k, v, None)

    def _heads(self, x: Tensor, *layers: nn.Linear) -> tuple[Tensor, ...]:
        """What some dense layers make of ``[N, L, D]``, ``[N, L, H, d]`` each: one product is faster than several."""
        weight, bias = torch.cat([f.weight for f in layers]), torch.cat([f.bias for f in layers])
        out = nn.functional.linear(x, weight, bias)
        return rearrange(out, "n l (f h d) -> f n l h d", f=len(layers), h=self.heads).unbind()


class FeedForward(nn.Module):
    """Two dense layers with a GELU between, a residual sum and a norm behind.

    Args:
        width: ``D``; the hidden layer is four times as wide.
        dropout: probability, on the output.
    """

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.up, self.down = dense(width, 4 * width), dense(4 * width, width)
        self.drop = Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., D]`` to ``[..., D]``."""
        # Without gradients nobody needs the hidden layer of all rows at once; a part of it stays in the cache.
        parts = [x] if torch.is_grad_enabled() else x.flatten(0, -2).split(PART)
        out = [self.down(nn.functional.gelu(self.up(part), approximate="tanh")) for part in parts]
        whole = out[0] if len(out) == 1 else torch.cat(out)
        return self.norm(x + self.drop(whole.view_as(x)))


def dense(inputs: int, outputs: int) -> nn.Linear:
    """A dense layer with LeCun-normal weights (LeCun et al. 1998) and zero biases."""
    layer = nn.Linear(inputs, outputs)
    # 0.8796 is the standard deviation of a unit normal cut at two.
    std = 1 / math.sqrt(inputs) / 0.87962566103423978
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(layer.bias)
    return layer


def table(rows: int, width: int) -> nn.Embedding:
    """A learned embedding with standard deviation ``1 / sqrt(width)``."""
    embedding = nn.Embedding(rows, width)
    nn.init.normal_(embedding.weight, std=1 / math.sqrt(width))
    return embedding
