"""What planners and the futures that they choose among have in common.

A planner sees futures through :class:`Futures` alone, so that the same planner searches a world model or the true
simulator. It plans for several episodes at once: ``E`` decisions, ``S`` candidates each, ``H`` steps, ``n`` actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Search:
    """How far and how widely planners search; the same for all of them.

    Attributes:
        episodes: decisions taken at once, ``E``.
        candidates: ``S``.
        horizon: ``H``, steps.
        actions: action dims, ``n``.
    """

    episodes: int
    candidates: int
    horizon: int
    actions: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(E, S, H, n)``."""
        return self.episodes, self.candidates, self.horizon, self.actions


class Futures(Protocol):
    """Imagined futures of the ``E`` present states."""

    def follow(self, actions: np.ndarray) -> np.ndarray:
        """Discounted returns ``[E, S]`` of actions ``[E, S, H, n]`` in units of the limits, -1 to 1."""

    def propose(self, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Follow the proposal policy plus noise ``[E, S, H, n]``: its actions ``[E, S, H, n]`` and their returns."""


class Planner(Protocol):
    """A part of ``registry/planners``: made of its config, it keeps a plan from one decision to the next.

    ``proposes`` is true for those that need a policy.
    """

    proposes: bool

    def start(self, search: Search) -> Any:
        """The plan before the first decision of an episode; None if the planner keeps none."""

    def decide(self, futures: Futures, search: Search, plan: Any, rng: np.random.Generator) -> tuple[np.ndarray, Any]:
        """Choose actions.

        Args:
            futures: of the present states.
            search: how widely to search; ``episodes`` shrinks as episodes end.
            plan: from :meth:`start` or the last decision.
            rng: draws candidates.

        Returns:
            Actions ``[E, n]`` in units of the limits, and the plan to go on with, an array ``[E, ...]`` or None.
        """


def best(actions: np.ndarray, returns: np.ndarray) -> np.ndarray:
    """The first actions ``[E, n]`` of the candidates ``[E, S, H, n]`` of highest return ``[E, S]``."""
    return actions[np.arange(len(actions)), returns.argmax(1), 0]


def shifted(plan: np.ndarray) -> np.ndarray:
    """A plan ``[E, H, n]`` one step later; its last step is repeated."""
    return np.concatenate([plan[:, 1:], plan[:, -1:]], 1)
