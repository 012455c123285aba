"""A mean and a log-variance of the next value or of its difference to the present one, trained by likelihood.

Paper: Chua et al. 2018, PETS (arXiv 1805.12114), section 4 and appendix A.1
States are predicted as differences or as values, the reward always as a value. The log-variance is softly held between
bounds that are learned: one pair for each state, by its place, and the last pair for the reward.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from wmzoo.predictions import GaussianPrediction
from wmzoo.recipe import setting
from wmzoo.trajectories import REWARD, STATE, Columns

if TYPE_CHECKING:
    from wmzoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the Gaussian head."""

    target: str = setting("difference", "what is predicted of a state", choices=("difference", "value"))
    units: str = setting(
        "deviations",
        "of what is predicted: training deviations, physical, or the training range (differences in tenths of it)",
        choices=("deviations", "physical", "range"),
    )
    bound_weight: float = setting(0.01, "weight of the distance between the log-variance bounds", low=0.0)

    def problems(self, recipe: Recipe) -> Iterator[tuple[str, str]]:
        """Settings that can't go together, as (name, sentence)."""
        if recipe.data.terminated:
            # Its likelihood explains rare events by variance: means of 0.1 to 0.4 where all episodes terminate.
            yield "name", "the mean of a Gaussian misses rare terminations; use categorical with data.terminated."


OFFICIAL = {"units": "physical"}
TENTHS = 10.0  # a difference in units of the range is small; the released pre-training predicts ten times it


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
        """Twice the negative log-likelihood less its constant, ``[E, B, T, J]``, in the units of the prediction.

        Args:
            raw: ``[E, B, T, J, 2]`` means and log-variances.
            previous: ``[B, T, J]`` values one step before, physical units.
            target: ``[B, T, J]`` values, physical units.
            columns: of the predicted variates, ``[B, J]``.
        """
        mean, log_variance = self._split(raw, columns.every_row())
        origin, unit = self._frame(previous, columns.every_row())
        return ((target - origin) / unit - mean) ** 2 * torch.exp(-log_variance) + log_variance

    def penalty(self, columns: Columns) -> Tensor:
        """Pulls the log-variance bounds of the predicted columns ``[B, J]`` together."""
        slots, predicted = self._slots(columns).flatten(), columns.predicted.flatten().to(self.highest.dtype)
        used = torch.zeros_like(self.highest).scatter_reduce(0, slots, predicted, "amax")
        return self.config.bound_weight * ((self.highest - self.lowest) * used).sum()

    def predict(self, raw: Tensor, previous: Tensor, columns: Columns) -> GaussianPrediction:
        """The members' Gaussians in physical units, from ``[E, B, J, 2]`` of some columns."""
        mean, log_variance = self._split(raw, columns)
        origin, unit = self._frame(previous, columns)
        return GaussianPrediction(origin + mean * unit, torch.exp(log_variance / 2) * unit)

    def _split(self, raw: Tensor, columns: Columns) -> tuple[Tensor, Tensor]:
        mean, log_variance = raw.to(self.highest.dtype).unbind(-1)
        slots = self._slots(columns)
        highest, lowest = self.highest[slots], self.lowest[slots]
        log_variance = highest - nn.functional.softplus(highest - log_variance)
        return mean, lowest + nn.functional.softplus(log_variance - lowest)

    def _slots(self, columns: Columns) -> Tensor:
        """Which pair of bounds each column has, shaped like its ``[..., J]`` roles."""
        return torch.where(columns.role == REWARD, len(self.highest) - 1, columns.place)

    def _frame(self, previous: Tensor, columns: Columns) -> tuple[Tensor, Tensor]:
        """What a predicted 0 stands for, and how much a predicted 1 is more, physical units."""
        tenths = 1.0
        if self.config.units == "deviations":
            zero, unit = columns.mean, columns.scale
        elif self.config.units == "physical":
            zero, unit = torch.zeros_like(columns.mean), torch.ones_like(columns.mean)
        else:
            zero, unit, tenths = columns.low, columns.high - columns.low, TENTHS
        if self.config.target == "value":
            return zero, unit
        state = columns.role == STATE
        return torch.where(state, previous, zero), torch.where(state, unit / tenths, unit)
