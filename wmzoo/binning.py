"""Values as histograms over the training range: what tokenizers and the categorical head share.

How many values lie outside of the range is counted (:func:`share_outside`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wmzoo.trajectories import Columns

SMALLEST_SPAN = 1e-5  # of a variate that never changes in training; keeps the division finite


def support(columns: Columns, margin: float) -> tuple[Tensor, Tensor]:
    """The range that the bins cover, ``[B, M]`` low and high, physical units.

    Args:
        columns: with the training range.
        margin: widening at each end, as a fraction of the training range (Yin et al. 2025, appendix D, proposes it
            for rewards that leave the range).
    """
    span = columns.high - columns.low
    widened = (SMALLEST_SPAN - span).clamp_min(0) / 2  # exactly 0 where the variate changes
    widened = widened + margin * span if margin else widened
    return columns.low - widened, columns.high + widened


def unit_values(values: Tensor, columns: Columns, margin: float, epsilon: float = 0.0) -> Tensor:
    """Scale ``[B, T, M]`` values to ``[0, 1]`` of their support (widened by ``epsilon``), clipping those outside."""
    low, high = support(columns, margin)
    return ((values - low[:, None]) / (high - low + epsilon)[:, None]).clamp(0, 1)


def one_hot(unit: Tensor, bins: int) -> Tensor:
    """The bin of each value in ``[0, 1]`` as a one-hot vector, ``[..., K]``."""
    return torch.nn.functional.one_hot(bin_index(unit, bins), bins).to(unit.dtype)


def bin_index(unit: Tensor, bins: int) -> Tensor:
    """The bin of each value in ``[0, 1]``, int64; 1 belongs to the last bin, and NaN (never an index) to the first."""
    return (unit.nan_to_num() * bins).long().clamp_max(bins - 1)


def bin_edges(low: Tensor, high: Tensor, bins: int) -> Tensor:
    """The ``bins + 1`` edges of an even grid from ``low`` to ``high`` ``[...]``, ``[..., K + 1]``, physical units.

    Rounded as the released TrajWorld code rounds them (one fused multiply-add an edge), since a step of a float32
    moves a token of a narrow bin by more than its own rounding does.
    """
    place = torch.arange(bins + 1, device=low.device, dtype=low.dtype) / bins
    above = (high[..., None] * place).double()
    return (low[..., None].double() * (1 - place) + above).to(low.dtype)


def gauss_histogram(values: Tensor, low: Tensor, high: Tensor, bins: int, sigma: float, epsilon: float = 0.0) -> Tensor:
    """The mass that a Gaussian around each value leaves in each bin, renormalised to the support.

    Args:
        values: ``[...]``, physical units.
        low, high: support, broadcastable to ``[...]``.
        bins: ``K``.
        sigma: standard deviation as a fraction of a bin's width.
        epsilon: added to the mass on the support; with it a value far outside gives an empty token, without it NaN.

    Returns:
        ``[..., K]``, sums to 1 (less, with ``epsilon``).

    Source: Imani and White (2018), HL-Gauss; Yin et al. (2025), section 4.1.
    """
    spread = sigma * math.sqrt(2) * (high - low) / bins
    below = torch.erf((bin_edges(low, high, bins) - values[..., None]) / spread[..., None])
    return below.diff(dim=-1) / (below[..., -1:] - below[..., :1] + epsilon)


def share_outside(values: Tensor, valid: Tensor, columns: Columns, margin: float) -> Tensor:
    """The share of real values that lie outside of the support and so get clipped, in ``[0, 1]``.

    Args:
        values: ``[B, T, M]``; valid: ``[B, T]``.
        columns: with the training range and the mask.
        margin: as in :func:`support`.
    """
    low, high = support(columns, margin)
    slack = 1e-6 * (high - low)  # the extremes of the training data are inside, whatever the rounding
    outside = (values < (low - slack)[:, None]) | (values > (high + slack)[:, None])
    real = valid[:, :, None] & columns.mask[:, None]
    return (outside & real).sum() / real.sum()
