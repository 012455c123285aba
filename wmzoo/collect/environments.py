"""The environments that corpora are collected in: a table that imports nothing, so that it lists at once.

Gymnasium's ``v4`` versions have the observations, rewards and terminations of D4RL (Fu et al. 2020); ``v5`` differs
in the reward of the last step and in Walker2d's friction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wmzoo.errors import WmzooError, nearest

EPISODE_STEPS = 1000
"""Transitions after which an episode is truncated."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment, and the rules of its reward and termination that the batched simulator needs.

    Attributes:
        name: what a recipe calls it.
        gym_id: Gymnasium's id.
        random_return, expert_return: D4RL's reference returns, for normalised scores.
        control_cost: weight of the squared action in the reward.
        alive_reward: reward for every step (0 where nothing terminates).
        height, angle: the open intervals of the torso's height [m] and pitch [rad] outside which it terminates.
        state_limit: it also terminates when another state variable reaches this size.
        speed_limit: observed velocities are clipped to plus or minus this.
        reset_noise: half width of the uniform noise on the first state [rad, m].
        gaussian_reset: the first velocities have normal rather than uniform noise.
    """

    name: str
    gym_id: str
    random_return: float
    expert_return: float
    control_cost: float
    alive_reward: float = 0.0
    height: tuple[float, float] = (-math.inf, math.inf)
    angle: tuple[float, float] = (-math.inf, math.inf)
    state_limit: float = math.inf
    speed_limit: float = math.inf
    reset_noise: float
    gaussian_reset: bool = False

    @property
    def summary(self) -> str:
        """One line for a list."""
        returns = f"{self.random_return:.0f} (random) to {self.expert_return:.0f} (expert)"
        return f"Gymnasium {self.gym_id}; D4RL's reference returns: {returns}"

    def score(self, episode_return: float) -> float:
        """D4RL's normalised score: 0 for the random, 100 for the expert reference (Fu et al. 2020, section 5)."""
        return 100 * (episode_return - self.random_return) / (self.expert_return - self.random_return)


ENVIRONMENTS: dict[str, Environment] = {
    item.name: item
    for item in (
        Environment(
            name="hopper",
            gym_id="Hopper-v4",
            random_return=-20.272305,
            expert_return=3234.3,
            control_cost=1e-3,
            alive_reward=1.0,
            height=(0.7, math.inf),
            angle=(-0.2, 0.2),
            state_limit=100.0,
            speed_limit=10.0,
            reset_noise=5e-3,
        ),
        Environment(
            name="halfcheetah",
            gym_id="HalfCheetah-v4",
            random_return=-280.178953,
            expert_return=12135.0,
            control_cost=0.1,
            reset_noise=0.1,
            gaussian_reset=True,
        ),
        Environment(
            name="walker2d",
            gym_id="Walker2d-v4",
            random_return=1.629008,
            expert_return=4592.3,
            control_cost=1e-3,
            alive_reward=1.0,
            height=(0.8, 2.0),
            angle=(-1.0, 1.0),
            speed_limit=10.0,
            reset_noise=5e-3,
        ),
    )
}


def find_environment(name: str) -> Environment:
    """The environment of that name.

    Raises:
        WmzooError: there is none; names the nearest.
    """
    if name not in ENVIRONMENTS:
        raise WmzooError(f'environments: no environment "{name}". {nearest(name, ENVIRONMENTS)}')
    return ENVIRONMENTS[name]
