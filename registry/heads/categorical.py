"""A histogram of the next value over the training range, trained by cross-entropy.

Paper: Yin et al. 2025, TrajWorld (arXiv 2502.01366), section 4.1; Imani and White 2018, HL-Gauss
Targets are one-hot, or Gaussian histograms. Decoded by its expectation, or by sampling a bin and a point inside it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wmzoo.binning import bin_index, gauss_histogram, support, unit_values
from wmzoo.predictions import HistogramPrediction
from wmzoo.recipe import setting
from wmzoo.trajectories import Columns


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the categorical head."""

    bins: int = setting(256, "bins over the range", symbol="B", low=2)
    target: str = setting("one_hot", "what the cross-entropy is taken with", choices=("one_hot", "gauss_hist"))
    sigma: float = setting(
        0.75, "spread of a gauss_hist target", unit="bin widths", symbol="sigma", low=0.05, high=100.0
    )
    margin: float = setting(0.0, "widening of the range at each end", unit="share of the training range", low=0.0)
    epsilon: float = setting(0.0, "added to the range when a one-hot target is binned", unit="physical", low=0.0)


OFFICIAL = {"epsilon": 1e-8}


class Categorical(nn.Module):
    """Reads ``P = bins`` logits as a histogram over the training range.

    Args:
        config: its settings.
        predicted: most predicted columns (not used: all columns are treated alike).
    """

    def __init__(self, config: Config, predicted: int):
        super().__init__()
        self.config, self.outputs, self.margin = config, config.bins, config.margin

    def loss(self, raw: Tensor, previous: Tensor, target: Tensor, columns: Columns) -> Tensor:
        """Cross-entropy ``[E, B, T, J]`` in nats.

        Args:
            raw: ``[E, B, T, J, P]`` logits.
            previous: ``[B, T, J]`` values one step before (not used).
            target: ``[B, T, J]`` values; those outside of the range are clipped to it.
            columns: of the predicted variates, ``[B, J]``.
        """
        log_probs = raw.to(torch.promote_types(raw.dtype, torch.float32)).log_softmax(-1)
        if self.config.target == "one_hot":
            unit = unit_values(target, columns, self.margin, self.config.epsilon)
            index = bin_index(unit, self.config.bins).expand(raw.shape[:-1])
            cells = -log_probs.gather(-1, index[..., None])[..., 0]
            return torch.where(unit.isnan(), unit, cells)  # a NaN target must not look like an edge
        low, high = (edge[:, None] for edge in support(columns, self.margin))
        wanted = gauss_histogram(target.clamp(low, high), low, high, self.config.bins, self.config.sigma)
        return -(wanted * log_probs).sum(-1)

    def penalty(self, columns: Columns) -> Tensor:
        """No regulariser: 0."""
        return torch.zeros(())

    def predict(self, raw: Tensor, previous: Tensor, columns: Columns) -> HistogramPrediction:
        """The even mixture of the members' histograms, from ``[E, B, J, P]`` logits of some columns."""
        low, high = support(columns, self.margin)
        return HistogramPrediction(raw.float().softmax(-1).mean(0), low, high)
