"""A one at the value's bin of an even grid over the training range.

Paper: Yin et al. 2025, TrajWorld (arXiv 2502.01366), section 4.1; Janner et al. 2021, Trajectory Transformer
Values outside of the (widened) training range become the nearest edge bin, and are counted.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from wmzoo.binning import one_hot, unit_values
from wmzoo.recipe import setting
from wmzoo.trajectories import Columns


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the one-hot tokenizer."""

    bins: int = setting(256, "bins over the range", symbol="B", low=2)
    margin: float = setting(0.0, "widening of the range at each end", unit="share of the training range", low=0.0)


class OneHot(nn.Module):
    """Turns ``[B, T, M]`` values into ``[B, T, M, K]`` one-hot tokens."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.features, self.margin = config, config.bins, config.margin

    def forward(self, values: Tensor, columns: Columns) -> Tensor:
        """Tokens ``[B, T, M, K]`` of values in physical units."""
        return one_hot(unit_values(values, columns, self.margin), self.config.bins)
