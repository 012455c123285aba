"""A mean and a log-variance of the next value or of its difference to the present one, trained by likelihood.

Paper: Chua et al. 2018, PETS (arXiv 1805.12114), section 4 and appendix A.1
States are predicted as differences or as values, the reward always as a value, in training standard deviations. The
log-variance is softly held between bounds that are learned for each column.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wmzoo.predictions import GaussianPrediction
from wmzoo.recipe import setting
from wmzoo.trajectories import STATE, Columns


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the Gaussian head."""

    target: str = setting("difference", "what is predicted of a state", choices=("difference", "value"))
    bound_weight: float = setting(0.01, "weight of the distance between the log-variance bounds", low=0.0)


class Gaussian(nn.Module):
    """Reads ``P = 2`` numbers as mean and log-variance.

    Args:
        config: its settings.
        predicted: most predicted columns, each with its own bounds.
    """

    outputs, margin = 2, 0.0

    def __init__(self, config: Config, predicted: int):
        super().__init__()
        self.config = config
        self.highest = nn.Parameter(torch.full((predicted,), 0.5))
        self.lowest = nn.Parameter(torch.full((predicted,), -10.0))

    def loss(self, raw: Tensor, previous: Tensor, target: Tensor, columns: Columns) -> Tensor:
        """Twice the negative log-likelihood less its constant, ``[E, B, T, J]``, in standardised units.

        Args:
            raw: ``[E, B, T, J, 2]`` means and log-variances.
            previous: ``[B, T, J]`` values one step before, physical units.
            target: ``[B, T, J]`` values, physical units.
            columns: of the predicted variates, ``[B, J]``.
        """
        mean, log_variance = self._split(raw)
        wanted = (target - self._origin(previous, columns.every_row())) / columns.scale[:, None]
        return (wanted - mean) ** 2 * torch.exp(-log_variance) + log_variance

    def penalty(self) -> Tensor:
        """Pulls the log-variance bounds together."""
        return self.config.bound_weight * (self.highest - self.lowest).sum()

    def predict(self, raw: Tensor, previous: Tensor, columns: Columns, first: int = 0) -> GaussianPrediction:
        """The members' Gaussians in physical units, from ``[E, B, J, 2]`` of columns from ``first`` on."""
        mean, log_variance = self._split(raw, first)
        means = self._origin(previous, columns) + mean * columns.scale
        return GaussianPrediction(means, torch.exp(log_variance / 2) * columns.scale)

    def _split(self, raw: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        mean, log_variance = raw.float().unbind(-1)
        columns = slice(first, first + mean.shape[-1])
        highest, lowest = self.highest[columns], self.lowest[columns]
        log_variance = highest - nn.functional.softplus(highest - log_variance)
        return mean, lowest + nn.functional.softplus(log_variance - lowest)

    def _origin(self, previous: Tensor, columns: Columns) -> Tensor:
        """What a predicted 0 stands for."""
        if self.config.target == "value":
            return columns.mean.expand_as(previous)
        return torch.where(columns.role == STATE, previous, columns.mean)
