"""Interleaved attention: over time within each variate, then over variates within each step.

Paper: Yin et al. 2025, TrajWorld (arXiv 2502.01366), section 4.2
Every scalar is a token. All variates of the next row are predicted at once, from the rows before it.
"""

from dataclasses import dataclass

from einops import rearrange, repeat
from torch import Tensor, nn

from wmzoo.backbone import Backbone, Layout
from wmzoo.layers import OFFICIAL, Attention, FeedForward, TokenEmbedding, TransformerConfig, dense
from wmzoo.memory import Memory, Past, Put

__all__ = ["OFFICIAL", "PRESETS", "Config", "TrajWorld"]


@dataclass(frozen=True, kw_only=True)
class Config(TransformerConfig):
    """Settings of the interleaved transformer; its defaults are the paper's."""


PRESETS = {
    "XXS": {"blocks": 1, "width": 32},
    "XS": {"blocks": 2, "width": 48},
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

    cached, packs = True, "columns"

    def __init__(self, config: Config, features: int, outputs: int):
        super().__init__()
        self.count_padding = config.count_padding
        self.columns = self.predicted = config.max_variates
        self.embed = TokenEmbedding(config, features)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.blocks)])
        self.head = dense(config.width, outputs)

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Head parameters ``[B, T, M, P]`` of every next row from ``[B, T, M, K]`` tokens."""
        return self._blocks(tokens, layout, None)

    def packed(self, tokens: Tensor, layout: Layout) -> Tensor:
        """All columns at once; only the attention over variates keeps the windows apart."""
        return self._blocks(tokens, layout, None)

    def memory(self, rows: int, columns: int) -> Past:
        """An empty one for so many rows: of each variate, a key and a value a row and block."""
        return Past(Memory(rows))

    def advance(self, tokens: Tensor, layout: Layout, past: Past) -> tuple[Tensor, Past]:
        """Read on, see :meth:`wmzoo.backbone.Backbone.advance`; keeps keys and values of the temporal attention."""
        past = past.begin()
        return self._blocks(tokens, layout, past), past.behind(tokens.shape[1]).keep()

    def keep(self, tokens: Tensor, layout: Layout, past: Past) -> Past:
        """Read on; of the last block, keys and values are all that is needed."""
        past = past.begin()
        last = len(self.blocks) - 1
        x = self._hidden(tokens, layout, past, last)
        block: Block = self.blocks[last]  # type: ignore[assignment]
        block.temporal.write(rearrange(x, "b t m d -> (b m) t d"), past.putter(last))
        return past.behind(tokens.shape[1]).keep()

    def _blocks(self, tokens: Tensor, layout: Layout, past: Past | None) -> Tensor:
        return self.head(self._hidden(tokens, layout, past, len(self.blocks)))

    def _hidden(self, tokens: Tensor, layout: Layout, past: Past | None, blocks: int) -> Tensor:
        """``[B, t, M, D]`` what the first blocks make of the last rows."""
        places = layout.positions(self.count_padding)[:, -tokens.shape[1] :]
        x = self.embed(tokens, layout.role, layout.place, places)
        for i in range(blocks):
            x = self.blocks[i](x, layout, None if past is None else past.putter(i))
        return x


class Block(nn.Module):
    """Temporal attention, feed-forward, variate attention, feed-forward, each with a norm behind."""

    def __init__(self, config: Config):
        super().__init__()
        attention = (config.width, config.heads, config.dropout, config.padding_last)
        self.temporal, self.temporal_feed = Attention(*attention), FeedForward(config.width, config.dropout)
        self.across, self.across_feed = Attention(*attention), FeedForward(config.width, config.dropout)

    def forward(self, x: Tensor, layout: Layout, put: Put | None) -> Tensor:
        """``[B, t, M, D]`` last rows to the same; ``put`` gives the temporal keys and values of all rows."""
        batch, time, variates, _ = x.shape
        rows = None if layout.dense else repeat(layout.valid, "b t -> (b m) t", m=variates)
        x = rearrange(x, "b t m d -> (b m) t d")
        x = self.temporal_feed(self.temporal(x, put, causal=True, keys=rows, kernel=layout.kernel))
        if layout.spans:
            widths = tuple(span.width for span in layout.spans)
            x = rearrange(x, "n t d -> t n d")
            x = self.across(x, causal=False, keys=None, kernel=layout.kernel, lengths=widths)
            return rearrange(self.across_feed(x), "t n d -> n t 1 d")
        columns = None if layout.dense else repeat(layout.variate_mask, "b m -> (b t) m", t=time)
        x = rearrange(x, "(b m) t d -> (b t) m d", b=batch)
        x = self.across(x, causal=False, keys=columns, kernel=layout.kernel)
        return rearrange(self.across_feed(x), "(b t) m d -> b t m d", b=batch)
