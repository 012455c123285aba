"""Values as histograms over the training range: what tokenizers and the categorical head share.

A value outside of the range is clipped to it, so that it becomes an edge token and never an empty one; how many
were clipped is counted (:func:`share_outside`).
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
    span = (columns.high - columns.low).clamp_min(SMALLEST_SPAN)
    middle = (columns.high + columns.low) / 2
    half = span * (0.5 + margin)
    return middle - half, middle + half


def unit_values(values: Tensor, columns: Columns, margin: float) -> Tensor:
    """Scale ``[B, T, M]`` values to ``[0, 1]`` of their support, clipping those outside."""
    low, high = support(columns, margin)
    return ((values - low[:, None]) / (high - low)[:, None]).clamp(0, 1)


def one_hot(unit: Tensor, bins: int) -> Tensor:
    """The bin of each value in ``[0, 1]`` as a one-hot vector, ``[..., K]``."""
    return torch.nn.functional.one_hot(bin_index(unit, bins), bins).to(unit.dtype)


def bin_index(unit: Tensor, bins: int) -> Tensor:
    """The bin of each value in ``[0, 1]``, int64; 1 belongs to the last bin, and NaN (never an index) to the first."""
    return (unit.nan_to_num() * bins).long().clamp_max(bins - 1)


def gauss_histogram(unit: Tensor, bins: int, sigma: float) -> Tensor:
    """The mass that a Gaussian around each value in ``[0, 1]`` leaves in each bin, renormalised to the support.

    Args:
        unit: ``[...]``.
        bins: ``K``.
        sigma: standard deviation as a fraction of a bin's width.

    Returns:
        ``[..., K]``, sums to 1.

    Source: Imani and White (2018), HL-Gauss; Yin et al. (2025), section 4.1.
    """
    edges = torch.linspace(0, 1, bins + 1, device=unit.device, dtype=unit.dtype)
    below = torch.erf((edges - unit[..., None]) * (bins / (sigma * math.sqrt(2))))
    return below.diff(dim=-1) / (below[..., -1:] - below[..., :1])


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
