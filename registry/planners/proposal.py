"""A policy's actions plus Gaussian noise, in imagined states; the best candidate's first action is taken.

Paper: Yin et al. 2025, TrajWorld (arXiv 2502.01366), section 5.4 and appendix B.5
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wmzoo.planning import Futures, Search, best
from wmzoo.recipe import setting


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the planner."""

    noise: float | None = setting(
        None,
        "standard deviation of the noise; of the paper for its environments, else 0.1, if null",
        unit="action limits",
        low=0.0,
    )


class Proposal:
    """See the module.

    Args:
        config: settings; ``noise`` is a number here.
    """

    proposes = True

    def __init__(self, config: Config):
        self.noise = 0.1 if config.noise is None else config.noise

    def start(self, search: Search) -> None:
        """It keeps no plan."""

    def decide(self, futures: Futures, search: Search, plan: None, rng: np.random.Generator) -> tuple[np.ndarray, None]:
        """See :class:`wmzoo.planning.Planner`."""
        actions, returns = futures.propose(self.noise * rng.standard_normal(search.shape, np.float32))
        return best(actions, returns), None
