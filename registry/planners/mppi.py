"""Model-predictive path integral control: candidates around a plan, averaged with exponential weights.

Paper: Williams et al. 2017, MPPI (arXiv 1509.01149), algorithm 2
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wmzoo.planning import Futures, Search, shifted
from wmzoo.recipe import setting


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the planner."""

    std: float = setting(0.3, "of the candidates around the plan", unit="action limits", low=0.0)
    temperature: float = setting(0.1, "of the weights, in standard deviations of the candidates' returns", low=1e-3)
    rounds: int = setting(2, "of averaging; each tries all candidates", low=1)


class MPPI:
    """See the module.

    Args:
        config: settings.
    """

    proposes = False

    def __init__(self, config: Config):
        self.config = config

    def start(self, search: Search) -> np.ndarray:
        """The first plan, ``[E, H, n]``."""
        return np.zeros((search.episodes, search.horizon, search.actions), np.float32)

    def decide(
        self, futures: Futures, search: Search, plan: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`wmzoo.planning.Planner`; the next decision begins with this one's plan, one step later."""
        for _ in range(self.config.rounds):
            noise = self.config.std * rng.standard_normal(search.shape, np.float32)
            drawn = np.clip(plan[:, None] + noise, -1, 1)
            drawn[:, 0] = plan
            returns = futures.follow(drawn)
            spread = self.config.temperature * np.maximum(returns.std(1, keepdims=True), 1e-9)
            weights = np.exp((returns - returns.max(1, keepdims=True)) / spread)
            weights /= weights.sum(1, keepdims=True)
            plan = np.einsum("es,eshn->ehn", weights, drawn).astype(np.float32)
        return plan[:, 0], shifted(plan)
