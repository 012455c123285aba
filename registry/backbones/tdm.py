"""Flattened attention: one causal sequence of all scalars, the variates of a step one after another.

Paper: Schubert et al. 2023, TDM (arXiv 2305.10912); as a baseline in Yin et al. 2025 (arXiv 2502.01366), section 5
Each variate of the next row is predicted from all rows before it and from the variates before it in its own row.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from wmzoo.backbone import Backbone, Layout
from wmzoo.layers import Attention, Cache, FeedForward, TokenEmbedding, TransformerConfig, dense
from wmzoo.recipe import setting


@dataclass(frozen=True, kw_only=True)
class Config(TransformerConfig):
    """Settings of the flattened transformer."""

    width: int = setting(384, "token width, a multiple of heads", symbol="d", low=1)
    variate_embedding: bool = setting(True, "tell the variates apart; the released code does not")


PRESETS = {
    # Twice the blocks of trajworld's sizes, each with half of its layers: the same number of parameters.
    "S": {"blocks": 4, "width": 96},
    "M": {"blocks": 8, "width": 160},
    "L": {"blocks": 12, "width": 256},
    "paper": {"blocks": 6, "width": 384},
}


@dataclass(eq=False)
class Decoding:
    """A row being decoded: what the network remembers of the sequence so far.

    Attributes:
        caches: keys and values of each block.
        keys: ``[B, N]`` bool, the real places so far; None if all are.
        position: ``[B]`` place of the new row.
        layout: of the history.
    """

    caches: list[Cache]
    keys: Tensor | None
    position: Tensor
    layout: Layout


class TDM(Backbone):
    """The one-way transformer over the flattened window.

    Args:
        config: its settings.
        features: token features, ``K``.
        outputs: head parameters of each variate, ``P``.
    """

    autoregressive = True

    def __init__(self, config: Config, features: int, outputs: int):
        super().__init__()
        self.columns = self.predicted = config.max_variates
        self.embed = TokenEmbedding(config, features, variates=config.variate_embedding)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.blocks)])
        self.head = dense(config.width, outputs)

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Head parameters ``[B, T, M, P]``: row ``t``, column ``j`` are those of cell ``(t + 1, j)``.

        The true variates before ``j`` in row ``t + 1`` were seen. The last row holds parameters of its first
        column only; ask for the others by :meth:`start` and :meth:`extend`.
        """
        out, _ = self._run(tokens, layout)
        within = out[:, 1:, :-1]  # the place of cell (t + 1, j - 1) predicts cell (t + 1, j)
        within = torch.cat([within, torch.zeros_like(out[:, :1, :-1])], 1)
        return torch.cat([self._last_place(out, layout)[:, :, None], within], 2)

    def start(self, tokens: Tensor, layout: Layout) -> tuple[Tensor, Decoding]:
        """Read a history; give the parameters ``[B, P]`` of the next row's first variate."""
        out, caches = self._run(tokens, layout)
        keys = None if layout.dense else self._keys(layout)
        decoding = Decoding(caches, keys, layout.valid.sum(1), layout)
        return self._last_place(out, layout)[:, -1], decoding

    def extend(self, token: Tensor, column: int, decoding: Decoding) -> Tensor:
        """Take the token ``[B, K]`` of a variate of the new row; give the parameters ``[B, P]`` of the next one."""
        x = self.embed(token[:, None, None], decoding.layout.role[:, [column]], decoding.position[:, None], column)
        x = rearrange(x, "b t m d -> b (t m) d")
        if decoding.keys is not None:
            decoding.keys = torch.cat([decoding.keys, decoding.layout.variate_mask[:, [column]]], 1)
        x, decoding.caches = self._blocks(x, decoding.caches, decoding.keys, decoding.layout.kernel)
        return self.head(x[:, 0])

    def _run(self, tokens: Tensor, layout: Layout) -> tuple[Tensor, list[Cache]]:
        """The sequence's own outputs, ``[B, T, M, P]``, and the keys and values of each block."""
        x = rearrange(self.embed(tokens, layout.role, layout.positions), "b t m d -> b (t m) d")
        keys = None if layout.dense else self._keys(layout)
        x, caches = self._blocks(x, None, keys, layout.kernel)
        return rearrange(self.head(x), "b (t m) p -> b t m p", m=tokens.shape[2]), caches

    def _blocks(
        self, x: Tensor, caches: list[Cache] | None, keys: Tensor | None, kernel: str
    ) -> tuple[Tensor, list[Cache]]:
        kept = []
        for i, block in enumerate(self.blocks):
            x, cache = block(x, None if caches is None else caches[i], keys, kernel)
            kept.append(cache)
        return x, kept

    def _keys(self, layout: Layout) -> Tensor:
        """``[B, T * M]`` bool, the real places of the sequence."""
        return rearrange(layout.valid[:, :, None] & layout.variate_mask[:, None], "b t m -> b (t m)")

    def _last_place(self, out: Tensor, layout: Layout) -> Tensor:
        """``[B, T, P]`` what the last real variate of each row says of the next row's first."""
        if layout.dense:
            return out[:, :, -1]
        last = layout.variate_mask.sum(1) - 1
        return out[torch.arange(len(out), device=out.device), :, last]


class Block(nn.Module):
    """Causal attention and feed-forward, each with a norm behind."""

    def __init__(self, config: Config):
        super().__init__()
        self.attention = Attention(config.width, config.heads, config.dropout)
        self.feed = FeedForward(config.width, config.dropout)

    def forward(self, x: Tensor, cache: Cache | None, keys: Tensor | None, kernel: str) -> tuple[Tensor, Cache]:
        """``[B, L, D]`` new places to the same, and the keys and values of all places."""
        x, cache = self.attention.extend(x, cache, causal=True, keys=keys, kernel=kernel)
        return self.feed(x), cache
