"""Independent random actions; the best candidate's first action is taken.

Paper: Chua et al. 2018, PETS (arXiv 1805.12114), section 5; the draws of the released TrajWorld code
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wmzoo.planning import Futures, Search, best
from wmzoo.recipe import setting


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the planner."""

    std: float = setting(2**0.5, "of the normal draws, which are clipped to the limits", unit="action limits", low=0.0)


class RandomShooting:
    """See the module.

    Args:
        config: settings.
    """

    proposes = False

    def __init__(self, config: Config):
        self.std = config.std

    def start(self, search: Search) -> None:
        """It keeps no plan."""

    def decide(self, futures: Futures, search: Search, plan: None, rng: np.random.Generator) -> tuple[np.ndarray, None]:
        """See :class:`wmzoo.planning.Planner`."""
        actions = np.clip(self.std * rng.standard_normal(search.shape, np.float32), -1, 1)
        return best(actions, futures.follow(actions)), None
