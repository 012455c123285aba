"""Gated mixing without attention: of past rows by their age, and of variates by what they are.

Paper: Tolstikhin et al. 2021, MLP-Mixer (arXiv 2105.01601); Liu et al. 2021, gMLP (arXiv 2105.08050), section 2
A row sees itself and earlier rows, weighted by their age: a triangular Toeplitz matrix, the form that gMLP's weights
take by themselves. Variates meet in slots, which each learns to write and to read, so that any number of them can be
mixed. All variates of the next row are predicted at once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wmzoo.backbone import Backbone, BackboneConfig, Layout
from wmzoo.layers import dense, table
from wmzoo.recipe import setting
from wmzoo.trajectories import ACTION


@dataclass(frozen=True, kw_only=True)
class Config(BackboneConfig):
    """Settings of the mixer."""

    blocks: int = setting(4, "blocks, one after another", symbol="L", low=1)
    width: int = setting(128, "token width; a gated layer is twice as wide", symbol="d", low=1)
    slots: int = setting(8, "that the variates meet in", low=1)
    rows: int = setting(20, "most rows that a mix over time sees", unit="steps", low=1)
    max_variates: int = setting(100, "rows of the tables of variates", symbol="M", low=3)


PRESETS = {
    "XXS": {"blocks": 1, "width": 44},
    "XS": {"blocks": 2, "width": 80},
    "S": {"blocks": 4, "width": 128},
    "M": {"blocks": 6, "width": 256},
    "L": {"blocks": 12, "width": 360},
}


class Mixer(Backbone):
    """Takes tokens [B, T, M, K], gives the head's parameters of every next row, [B, T, M, P]."""

    packs = "columns"

    def __init__(self, config: Config, features: int, outputs: int):
        super().__init__()
        self.columns = self.predicted = config.max_variates
        self.project, self.variate = dense(features, config.width), table(2 * config.max_variates, config.width)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.blocks)])
        self.head = nn.Sequential(nn.LayerNorm(config.width), dense(config.width, outputs))

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Embed each variate by its column and whether it is an action, mix, and predict."""
        which = 2 * torch.arange(tokens.shape[2], device=tokens.device) + (layout.role == ACTION)  # [B, M]
        x = self.project(tokens) + self.variate(which)[:, None]
        for block in self.blocks:
            x = block(x, which, layout)
        return self.head(x)


class Block(nn.Module):
    """A residual layer whose one half is gated by what the other holds of earlier rows and other variates."""

    def __init__(self, config: Config):
        super().__init__()
        self.norm, self.gate_norm = nn.LayerNorm(config.width), nn.LayerNorm(2 * config.width)
        self.up, self.down = dense(config.width, 4 * config.width), dense(2 * config.width, config.width)
        self.age = nn.Parameter(torch.randn(config.rows) / config.rows)
        self.write, self.read = (table(2 * config.max_variates, config.slots) for _ in range(2))

    def forward(self, x: Tensor, which: Tensor, layout: Layout) -> Tensor:
        """Mix ``[B, T, M, D]``; ``which`` ``[B, M]`` names the variates."""
        kept, gate = nn.functional.gelu(self.up(self.norm(x))).chunk(2, -1)
        row, rows = torch.arange(x.shape[1], device=x.device), len(self.age)
        age = row[:, None] - row  # [T, T]
        weight = self.age[age.clamp(0, rows - 1)] * ((age >= 0) & (age < rows))
        past = torch.einsum("ts,bs,bsmf->btmf", weight, layout.valid.to(x.dtype), self.gate_norm(gate))
        write = self.write(which).masked_fill(~layout.variate_mask[:, :, None], -torch.inf).softmax(1)
        others = torch.einsum("bms,bns,btnf->btmf", self.read(which), write, past)
        return x + self.down(kept * (1 + past + others))
