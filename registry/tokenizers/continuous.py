"""The value itself on a scale of the training data: for regression models.

Paper: Chua et al. 2018, PETS (arXiv 1805.12114)
Either less the training mean, over the training standard deviation, where values outside of the training range pass,
since a regression may extrapolate; or the training range as -1 to 1, where they are clipped. They are counted.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from wmzoo.binning import unit_values
from wmzoo.recipe import setting
from wmzoo.trajectories import Columns


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the continuous tokenizer."""

    units: str = setting("deviations", "training deviations, or the training range", choices=("deviations", "range"))


OFFICIAL = {"units": "deviations"}


class Continuous(nn.Module):
    """Turns ``[B, T, M]`` values into ``[B, T, M, 1]`` scalars."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.features, self.margin = config, 1, 0.0

    def forward(self, values: Tensor, columns: Columns) -> Tensor:
        """Tokens ``[B, T, M, 1]`` of values in physical units."""
        if self.config.units == "range":
            return (2 * unit_values(values, columns, self.margin) - 1)[..., None]
        return ((values - columns.mean[:, None]) / columns.scale[:, None])[..., None]
