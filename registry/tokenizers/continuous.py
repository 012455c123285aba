"""The value itself, less the training mean, over the training standard deviation: for regression models.

Paper: Chua et al. 2018, PETS (arXiv 1805.12114)
Values outside of the training range pass unclipped, since a regression may extrapolate; they are counted.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from wmzoo.trajectories import Columns


@dataclass(frozen=True, kw_only=True)
class Config:
    """The continuous tokenizer has no settings."""


class Continuous(nn.Module):
    """Turns ``[B, T, M]`` values into ``[B, T, M, 1]`` standardised scalars."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.features, self.margin = config, 1, 0.0

    def forward(self, values: Tensor, columns: Columns) -> Tensor:
        """Tokens ``[B, T, M, 1]`` of values in physical units."""
        return ((values - columns.mean[:, None]) / columns.scale[:, None])[..., None]
