"""The cross-entropy method: a normal distribution over plans, fitted several times to its best candidates.

Paper: Chua et al. 2018, PETS (arXiv 1805.12114), section 5; Botev et al. 2013
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wmzoo.planning import Futures, Search, shifted
from wmzoo.recipe import setting


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the planner."""

    rounds: int = setting(4, "of fitting; each tries all candidates", low=1)
    elites: float = setting(0.1, "share of the candidates that the next round is fitted to", low=0.0, high=1.0)
    std: float = setting(0.5, "of the first round", unit="action limits", low=0.0)
    least: float = setting(0.05, "least standard deviation of any round", unit="action limits", low=0.0)


class CEM:
    """See the module.

    Args:
        config: settings.
    """

    proposes = False

    def __init__(self, config: Config):
        self.config = config

    def start(self, search: Search) -> np.ndarray:
        """The mean of the first distribution, ``[E, H, n]``."""
        return np.zeros((search.episodes, search.horizon, search.actions), np.float32)

    def decide(
        self, futures: Futures, search: Search, plan: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`wmzoo.planning.Planner`; the next decision begins with this one's mean, one step later."""
        mean, std = plan, np.full_like(plan, self.config.std)
        kept = max(2, round(self.config.elites * search.candidates))
        for _ in range(self.config.rounds):
            drawn = mean[:, None] + std[:, None] * rng.standard_normal(search.shape, np.float32)
            drawn = np.clip(drawn, -1, 1)
            drawn[:, 0] = mean  # what was found before is never lost to bad luck
            order = np.argsort(-futures.follow(drawn), axis=1)[:, :kept]
            elites = np.take_along_axis(drawn, order[:, :, None, None], 1)
            mean, std = elites.mean(1), np.maximum(elites.std(1), self.config.least)
        return mean[:, 0], shifted(mean)
