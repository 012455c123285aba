"""A Gaussian around the value, cut into the bins of an even grid over the training range.

Paper: Yin et al. 2025, TrajWorld (arXiv 2502.01366), section 4.1; Imani and White 2018, HL-Gauss
Its mass is renormalised to the support. Values outside of the (widened) training range are clipped to its edge, and
are counted; as the released code has it, their tokens fade away instead.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from wmzoo.binning import gauss_histogram, support
from wmzoo.recipe import setting
from wmzoo.trajectories import Columns


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the Gaussian-histogram tokenizer."""

    bins: int = setting(256, "bins over the range", symbol="B", low=2)
    sigma: float = setting(0.75, "spread of the Gaussian", unit="bin widths", symbol="sigma", low=0.05, high=100.0)
    margin: float = setting(0.0, "widening of the range at each end", unit="share of the training range", low=0.0)
    outside: str = setting("clip", "values outside: clip to the edge, or fade to 0", choices=("clip", "fade"))


OFFICIAL = {"outside": "fade"}
FADING = 1e-6  # mass on the support at which the token of a value far outside has faded by half


class GaussHist(nn.Module):
    """Turns ``[B, T, M]`` values into ``[B, T, M, K]`` histograms."""

    def __init__(self, config: Config):
        super().__init__()
        self.config, self.features, self.margin = config, config.bins, config.margin

    def forward(self, values: Tensor, columns: Columns) -> Tensor:
        """Tokens ``[B, T, M, K]`` of values in physical units; each sums to 1, unless faded."""
        low, high = (edge[:, None] for edge in support(columns, self.margin))
        fade = self.config.outside == "fade"
        values = values if fade else values.clamp(low, high)
        return gauss_histogram(values, low, high, self.config.bins, self.config.sigma, FADING if fade else 0.0)
