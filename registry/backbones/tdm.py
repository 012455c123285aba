"""Flattened attention: one causal sequence of all scalars, the variates of a step one after another.

Paper: Schubert et al. 2023, TDM (arXiv 2305.10912); as a baseline in Yin et al. 2025 (arXiv 2502.01366), section 5
Each variate of the next row is predicted from all rows before it and from the variates before it in its own row.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from wmzoo.backbone import Backbone, Layout
from wmzoo.layers import OFFICIAL as TRANSFORMER
from wmzoo.layers import Attention, FeedForward, TokenEmbedding, TransformerConfig, dense
from wmzoo.memory import Memory, Past, Put
from wmzoo.recipe import setting
from wmzoo.trajectories import moved


@dataclass(frozen=True, kw_only=True)
class Config(TransformerConfig):
    """Settings of the flattened transformer."""

    width: int = setting(384, "token width, a multiple of heads", symbol="d", low=1)
    variate_embedding: bool = setting(True, "tell the variates apart")
    shifted_padding: bool = setting(False, "in training, hide the first real row of a padded window from attention")
    padded_variates: bool = setting(False, "the padding of narrower environments is read as tokens")
    pad_to: int = setting(1, "windows are padded to a multiple of this, 31 in the released pre-training", low=1)


OFFICIAL = {**TRANSFORMER, "variate_embedding": False, "shifted_padding": True, "padded_variates": True, "pad_to": 1}


PRESETS = {
    # Twice the blocks of trajworld's sizes, each with half of its layers: the same number of parameters.
    "XXS": {"blocks": 2, "width": 32},
    "XS": {"blocks": 4, "width": 48},
    "S": {"blocks": 4, "width": 96},
    "M": {"blocks": 8, "width": 160},
    "L": {"blocks": 12, "width": 256},
    "paper": {"blocks": 6, "width": 384},
}


@dataclass(eq=False)
class Decoding:
    """A row being decoded.

    Attributes:
        past: of the sequence so far; the new row's places are written over when the row is read as a whole.
        keys: ``[B, N]`` bool, the real places so far; None if all are.
        position: ``[B]`` place of the new row.
        layout: of the history.
    """

    past: Past
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
    cached = True

    def __init__(self, config: Config, features: int, outputs: int):
        super().__init__()
        self.config, self.multiple = config, config.pad_to
        # What is read as tokens is no waste, and to hide a row from attention alone takes a mask.
        self.packs = "" if config.padded_variates or config.shifted_padding else "cells"
        self.columns = self.predicted = config.max_variates
        self.embed = TokenEmbedding(config, features, variates=config.variate_embedding)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.blocks)])
        self.head = dense(config.width, outputs)

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Head parameters ``[B, T, M, P]``: row ``t``, column ``j`` are those of cell ``(t + 1, j)``.

        The true variates before ``j`` in row ``t + 1`` were seen. The last row holds parameters of its first
        column only; ask for the others by :meth:`start` and :meth:`extend`.
        """
        out = self._read(tokens, self._hidden(layout), None)
        within = out[:, 1:, :-1]  # the place of cell (t + 1, j - 1) predicts cell (t + 1, j)
        within = torch.cat([within, torch.zeros_like(out[:, :1, :-1])], 1)
        return torch.cat([self._last_place(out, layout)[:, :, None], within], 2)

    def cells(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Head parameters ``[B, T, M, P]`` of the window's own cells; of the very first cell, zeros."""
        if layout.spans:
            return self._packed_cells(tokens, layout)
        out = self._read(tokens, self._hidden(layout), None)
        first = torch.cat([torch.zeros_like(out[:, :1, 0]), self._last_place(out, layout)[:, :-1]], 1)
        return torch.cat([first[:, :, None], out[:, :, :-1]], 2)

    def packed(self, tokens: Tensor, layout: Layout) -> Tensor:
        """All windows as sequences of their real cells, one behind another."""
        own = self._packed_cells(tokens, layout)
        return torch.cat([own[:, 1:], torch.zeros_like(own[:, :1])], 1)

    def _packed_cells(self, tokens: Tensor, layout: Layout) -> Tensor:
        """``[N, T, 1, P]`` what the cell before each says of it; zeros for a window's first, and where padded."""
        places, later, lengths = _sequences(layout)
        x = self.embed(tokens, layout.role, layout.place, layout.positions(self.config.count_padding))
        x = rearrange(x, "n t 1 d -> (n t) d")[places][None]
        for block in self.blocks:
            x = block(x, None, None, layout.kernel, lengths)
        out = self.head(x[0])
        own = out.new_zeros(tokens.shape[0] * tokens.shape[1], out.shape[1])
        own = own.index_copy(0, places[later], out[later - 1])
        return rearrange(own, "(n t) p -> n t 1 p", n=tokens.shape[0])

    def memory(self, rows: int, columns: int) -> Past:
        """An empty one for so many rows and one more that is being decoded: a key and a value a scalar and block."""
        return Past(Memory((rows + 1) * columns))

    def start(self, tokens: Tensor, layout: Layout, past: Past | None = None) -> tuple[Tensor, Decoding, Past]:
        """Read a history, or what follows of it.

        Args:
            tokens: ``[B, t, M, K]`` of the last ``t`` rows.
            layout: of all rows.
            past: of the rows before; None if ``t`` is all.

        Returns:
            Parameters ``[B, P]`` of the next row's first variate, the row being decoded, and the past of all rows.
        """
        out, kept = self.advance(tokens, layout, self.memory(*tokens.shape[1:3]) if past is None else past)
        keys = None if layout.dense else self._keys(layout)
        rows = torch.full_like(layout.role[:, 0], layout.valid.shape[1])
        place = rows if self.config.count_padding else layout.valid.sum(1)
        return self._last_place(out, layout)[:, -1], Decoding(kept, keys, place, layout), kept

    def extend(self, token: Tensor, column: int, decoding: Decoding) -> Tensor:
        """Take the token ``[B, K]`` of a variate of the new row; give the parameters ``[B, P]`` of the next one."""
        layout = decoding.layout
        role, place = layout.role[:, column : column + 1], layout.place[:, column : column + 1]
        x = self.embed(token[:, None, None], role, place, decoding.position[:, None])
        x = rearrange(x, "b t m d -> b (t m) d")
        if decoding.keys is not None:
            decoding.keys = torch.cat([decoding.keys, self._real(layout)[:, [column]]], 1)
        x = self._blocks(x, decoding.past, decoding.keys, layout.kernel)
        decoding.past = decoding.past.behind(1)
        return self.head(x[:, 0])

    def advance(self, tokens: Tensor, layout: Layout, past: Past) -> tuple[Tensor, Past]:
        """Read on, see :meth:`wmzoo.backbone.Backbone.advance`: what each place of the sequence says of the next."""
        past = past.begin()
        return self._read(tokens, layout, past), past.behind(tokens.shape[1] * tokens.shape[2]).keep()

    def _read(self, tokens: Tensor, layout: Layout, past: Past | None) -> Tensor:
        places = layout.positions(self.config.count_padding)[:, -tokens.shape[1] :]
        x = rearrange(self.embed(tokens, layout.role, layout.place, places), "b t m d -> b (t m) d")
        x = self._blocks(x, past, None if layout.dense else self._keys(layout), layout.kernel)
        return rearrange(self.head(x), "b (t m) p -> b t m p", m=tokens.shape[2])

    def _hidden(self, layout: Layout) -> Layout:
        """The layout with the first real row hidden, where that was asked for; in training alone."""
        if not (self.training and self.config.shifted_padding):
            return layout
        return dataclasses.replace(layout, valid=torch.cat([layout.valid[:, :1], layout.valid[:, :-1]], 1))

    def _blocks(self, x: Tensor, past: Past | None, keys: Tensor | None, kernel: str) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x, None if past is None else past.putter(i), keys, kernel)
        return x

    def _keys(self, layout: Layout) -> Tensor:
        """``[B, T * M]`` bool, the real places of the sequence."""
        return rearrange(layout.valid[:, :, None] & self._real(layout)[:, None], "b t m -> b (t m)")

    def _real(self, layout: Layout) -> Tensor:
        """``[B, M]`` bool, the columns that are read."""
        return torch.ones_like(layout.variate_mask) if self.config.padded_variates else layout.variate_mask

    def _last_place(self, out: Tensor, layout: Layout) -> Tensor:
        """``[B, T, P]`` what the last real variate of each row says of the next row's first."""
        if layout.dense:
            return out[:, :, -1]
        last = self._real(layout).sum(1) - 1
        return out[torch.arange(len(out), device=out.device), :, last]


class Block(nn.Module):
    """Causal attention and feed-forward, each with a norm behind."""

    def __init__(self, config: Config):
        super().__init__()
        self.attention = Attention(config.width, config.heads, config.dropout, config.padding_last)
        self.feed = FeedForward(config.width, config.dropout)

    def forward(
        self, x: Tensor, put: Put | None, keys: Tensor | None, kernel: str, lengths: tuple[int, ...] = ()
    ) -> Tensor:
        """``[B, L, D]`` new places to the same; ``put`` gives the keys and values of all places.

        ``keys``, ``kernel`` and ``lengths`` are those of :func:`wmzoo.attention.attend`.
        """
        return self.feed(self.attention(x, put, causal=True, keys=keys, kernel=kernel, lengths=lengths))


def _sequences(layout: Layout) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """How packed windows are read, row by row and one behind another.

    Returns:
        The places ``[S]`` among ``[N, T]`` in that order; which of the ``S`` are not the first of their window; and
        how many each window has.
    """
    rows, start, found = layout.valid.shape[1], 0, []
    for padded, width in layout.spans:
        columns = np.arange(start, start + width) * rows
        found.append((columns + np.arange(padded, rows)[:, None]).ravel())
        start += width
    lengths = tuple(len(own) for own in found)
    later = np.delete(np.arange(sum(lengths)), np.cumsum((0, *lengths[:-1])))
    device = layout.role.device
    return moved(torch.from_numpy(np.concatenate(found)), device), moved(torch.from_numpy(later), device), lengths
