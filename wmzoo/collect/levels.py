"""The levels of behaviour that a set can be collected at, after D4RL (Fu et al. 2020, section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmzoo.collect.ladder import Ladder
from wmzoo.collect.policies import Policy, uniform_actions
from wmzoo.collect.simulators import Layout

LEVELS = ("random", "medium", "medium-replay", "medium-expert", "expert")

REPLAY_NOISE = 0.1
"""Further noise on the actions of medium-replay, in units of the action limits: learners explore."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Behaviour:
    """Who acts in an episode.

    Attributes:
        name: of the policy in its ladder, or ``uniform``.
        policy: None draws actions uniformly within the limits.
        noise: standard deviation of further noise, in units of the action limits.
        known: what was measured of the policy when it was made.
    """

    name: str
    policy: Policy | None
    noise: float
    known: dict[str, Any]

    def act(self, observation: np.ndarray, layout: Layout, rng: np.random.Generator) -> np.ndarray:
        """An action within the limits, ``[n]`` float32."""
        if self.policy is None:
            return uniform_actions(layout.low, layout.high, rng)
        return self.policy.act(observation, rng, self.noise)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the corpus."""
        return {"name": self.name, "noise": self.noise, **self.known}


def behaviours_of(level: str, ladder: Ladder) -> tuple[Behaviour, ...]:
    """The behaviours of a level; each gets an equal share of the transitions, in this order.

    Args:
        level: one of ``LEVELS``.
        ladder: the policies of the environment.
    """
    if level == "random":
        return (Behaviour(name="uniform", policy=None, noise=0.0, known={}),)
    names = {
        "medium": (ladder.medium,),
        "medium-replay": ladder.replay,
        "medium-expert": (ladder.medium, ladder.expert),
        "expert": (ladder.expert,),
    }[level]
    noise = REPLAY_NOISE if level == "medium-replay" else 0.0
    return tuple(
        Behaviour(name=name, policy=ladder.policies[name], noise=noise, known=ladder.measured(name)) for name in names
    )


def turn(behaviours: Sequence[Behaviour], done: int, steps: int) -> int:
    """Whose turn it is after ``done`` of ``steps`` transitions, an index into the behaviours."""
    return min(len(behaviours) * done // steps, len(behaviours) - 1)
