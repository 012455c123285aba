"""Interleaved attention: over time within each variate, then over variates within each step.

Paper: Yin et al. 2025, TrajWorld (arXiv 2502.01366), section 4.2
Every scalar is a token. All variates of the next row are predicted at once, from the rows before it.
"""

from dataclasses import dataclass

from einops import rearrange, repeat
from torch import Tensor, nn

from wmzoo.backbone import Backbone, Layout
from wmzoo.layers import Attention, FeedForward, TokenEmbedding, TransformerConfig, dense


@dataclass(frozen=True, kw_only=True)
class Config(TransformerConfig):
    """Settings of the interleaved transformer; its defaults are the paper's."""


PRESETS = {
    "S": {"blocks": 2, "width": 96},
    "M": {"blocks": 4, "width": 160},
    "L": {"blocks": 6, "width": 256},
    "paper": {"blocks": 6, "width": 256},
}


class TrajWorld(Backbone):
    """The two-way transformer.

    Args:
        config: its settings.
        features: token features, ``K``.
        outputs: head parameters of each variate, ``P``.
    """

    def __init__(self, config: Config, features: int, outputs: int):
        super().__init__()
        self.columns = self.predicted = config.max_variates
        self.embed = TokenEmbedding(config, features)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.blocks)])
        self.head = dense(config.width, outputs)

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Head parameters ``[B, T, M, P]`` of every next row from ``[B, T, M, K]`` tokens."""
        x = self.embed(tokens, layout.role, layout.positions)
        for block in self.blocks:
            x = block(x, layout)  # [B, T, M, D]
        return self.head(x)


class Block(nn.Module):
    """Temporal attention, feed-forward, variate attention, feed-forward, each with a norm behind."""

    def __init__(self, config: Config):
        super().__init__()
        self.temporal = Attention(config.width, config.heads, config.dropout)
        self.temporal_feed = FeedForward(config.width, config.dropout)
        self.across = Attention(config.width, config.heads, config.dropout)
        self.across_feed = FeedForward(config.width, config.dropout)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """``[B, T, M, D]`` to the same."""
        batch, time, variates, _ = x.shape
        rows = None if layout.dense else repeat(layout.valid, "b t -> (b m) t", m=variates)
        columns = None if layout.dense else repeat(layout.variate_mask, "b m -> (b t) m", t=time)
        x = rearrange(x, "b t m d -> (b m) t d")
        x = self.temporal_feed(self.temporal(x, causal=True, keys=rows, kernel=layout.kernel))
        x = rearrange(x, "(b m) t d -> (b t) m d", b=batch)
        x = self.across_feed(self.across(x, causal=False, keys=columns, kernel=layout.kernel))
        return rearrange(x, "(b t) m d -> b t m d", b=batch)
