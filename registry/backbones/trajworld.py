"""Interleaved attention: over time within each variate, then over variates within each step.

Paper: Yin et al. 2025, TrajWorld (arXiv 2502.01366), section 4.2
Every scalar is a token. All variates of the next row are predicted at once, from the rows before it.
"""

from dataclasses import dataclass

from einops import rearrange, repeat
from torch import Tensor, nn

from wmzoo.backbone import Backbone, BackboneConfig, Layout
from wmzoo.layers import Attention, FeedForward, dense, table
from wmzoo.recipe import setting
from wmzoo.trajectories import ACTION


@dataclass(frozen=True, kw_only=True)
class Config(BackboneConfig):
    """Settings of the interleaved transformer."""

    blocks: int = setting(6, "blocks of temporal and variate attention", symbol="L", low=1)
    width: int = setting(256, "token width, a multiple of heads", symbol="d", low=1)
    heads: int = setting(4, "attention heads", low=1)
    dropout: float = setting(0.05, "in attention and feed-forward outputs", unit="probability", low=0.0, high=0.9)
    positions: int = setting(20, "rows of the position table", unit="steps", low=2)
    max_variates: int = setting(100, "rows of the variate table", symbol="M", low=3)

    def problems(self, recipe):  # noqa: D102
        yield from super().problems(recipe)
        if self.width % self.heads:
            yield "heads", f"width {self.width} is not a multiple of {self.heads} heads."


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
        self.project = dense(features, config.width)
        self.kind = table(2, config.width)  # states and reward, or action
        self.position = table(config.positions, config.width)
        self.variate = table(config.max_variates, config.width)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.blocks)])
        self.head = dense(config.width, outputs)

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Head parameters ``[B, T, M, P]`` of every next row from ``[B, T, M, K]`` tokens."""
        x = self.project(tokens)
        x = x + self.kind((layout.role == ACTION).long())[:, None]
        x = x + self.position(layout.positions)[:, :, None]
        x = x + self.variate.weight[: tokens.shape[2]]
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
