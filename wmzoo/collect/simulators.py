"""The environments that corpora are collected in, and a batched simulator of them for training policies.

Gymnasium's ``v4`` versions have the observations, rewards and terminations of D4RL (Fu et al. 2020); ``v5`` differs
in the reward of the last step and in Walker2d's friction. The heavy packages are imported when first needed, so that
:data:`ENVIRONMENTS` lists at once.
"""

from __future__ import annotations

import functools
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wmzoo.errors import WmzooError, nearest

if TYPE_CHECKING:
    import gymnasium

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """The columns of an environment, read from its MuJoCo model.

    Attributes:
        names: one a column, ``[M]``: ``qpos:`` and ``qvel:`` of joints, ``reward``, ``action:`` of actuators.
        states: number of state dims, ``m``.
        dt: control interval in seconds.
        low, high: action limits, ``[n]``.
    """

    names: tuple[str, ...]
    states: int
    dt: float
    low: np.ndarray
    high: np.ndarray


def find_environment(name: str) -> Environment:
    """The environment of that name.

    Raises:
        WmzooError: there is none; names the nearest.
    """
    if name not in ENVIRONMENTS:
        raise WmzooError(f'environments: no environment "{name}". {nearest(name, ENVIRONMENTS)}')
    return ENVIRONMENTS[name]


def make_gymnasium(name: str) -> gymnasium.Env:
    """The environment as Gymnasium makes it, with its time limit.

    Raises:
        WmzooError: there is no environment of that name.
    """
    import gymnasium
    import mujoco

    gym_id, handler = find_environment(name).gym_id, mujoco.get_mju_user_warning()
    with warnings.catch_warnings():
        # Gymnasium advises v5 each time; v4 is deliberate, see the top of this file. MuJoCo warns of an outdated
        # word in the models' files, on the console and in a log file in the working directory.
        warnings.simplefilter("ignore")
        mujoco.set_mju_user_warning(lambda text: None)
        try:
            return gymnasium.make(gym_id, disable_env_checker=True)
        finally:
            mujoco.set_mju_user_warning(handler)


@functools.cache
def layout(name: str) -> Layout:
    """The columns of an environment, with names from its MuJoCo model."""
    gym = make_gymnasium(name)
    model: Any = gym.unwrapped.model  # type: ignore[attr-defined]
    joints = [model.joint(j).name for j in range(model.njnt)]
    # The first joint is the distance along the track, which is not observed.
    states = [f"qpos:{joint}" for joint in joints[1:]] + [f"qvel:{joint}" for joint in joints]
    actions = [f"action:{model.actuator(a).name or joints[model.actuator_trnid[a, 0]]}" for a in range(model.nu)]
    low, high = model.actuator_ctrlrange.T.copy()
    dt = float(gym.unwrapped.dt)  # type: ignore[attr-defined]
    gym.close()
    return Layout(names=(*states, "reward", *actions), states=len(states), dt=dt, low=low, high=high)


class Simulator:
    """Copies of one environment stepped together; equal to Gymnasium's within rounding.

    Physics steps through ``mujoco.rollout``, rewards and terminations are computed for all copies at once.
    Nothing is reset by itself: call :meth:`reset` for the copies that ended.

    Args:
        name: of the environment.
        count: number of copies, ``N``.
        rng: draws the first states.
    """

    def __init__(self, name: str, count: int, rng: np.random.Generator):
        import mujoco
        from mujoco import rollout

        gym = make_gymnasium(name)
        self.environment = ENVIRONMENTS[name]
        self.model: Any = gym.unwrapped.model  # type: ignore[attr-defined]
        self.frame_skip = int(gym.unwrapped.frame_skip)  # type: ignore[attr-defined]
        self.dt = self.frame_skip * float(self.model.opt.timestep)
        gym.close()
        self._data = mujoco.MjData(self.model)
        self._rollout = rollout.Rollout(nthread=0)
        self._rng = rng
        # MuJoCo's full physics state: time, qpos, qvel (these models have no activations or plugins).
        self.states = np.zeros((count, 1 + self.model.nq + self.model.nv))
        self.ages = np.zeros(count, np.int64)
        self.reset(np.arange(count))

    @property
    def positions(self) -> np.ndarray:
        """``[N, nq]`` joint positions."""
        return self.states[:, 1 : 1 + self.model.nq]

    @property
    def velocities(self) -> np.ndarray:
        """``[N, nv]`` joint velocities."""
        return self.states[:, 1 + self.model.nq :]

    def reset(self, chosen: np.ndarray) -> None:
        """Start new episodes in the chosen copies.

        Args:
            chosen: their indices, ``[c]``.
        """
        noise, model = self.environment.reset_noise, self.model
        for index in chosen:
            position = self._rng.uniform(-noise, noise, model.nq)
            if self.environment.gaussian_reset:
                velocity = noise * self._rng.standard_normal(model.nv)
            else:
                velocity = self._rng.uniform(-noise, noise, model.nv)
            self.states[index] = np.concatenate([[0.0], model.qpos0 + position, velocity])
        self.ages[chosen] = 0

    def observe(self) -> np.ndarray:
        """What Gymnasium observes: positions but the first, and clipped velocities, ``[N, m]``."""
        limit = self.environment.speed_limit
        return np.concatenate([self.positions[:, 1:], np.clip(self.velocities, -limit, limit)], axis=1)

    def step(self, actions: np.ndarray, chosen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Advance by one control interval.

        Args:
            actions: ``[c, n]``.
            chosen: indices of the copies to advance, ``[c]``; all if left out.

        Returns:
            Rewards ``[c]`` and whether each episode terminated ``[c]``; truncation is for the caller, by ``ages``.
        """
        chosen = np.arange(len(self.states)) if chosen is None else chosen
        before = self.states[chosen]
        reached, _ = self._rollout.rollout(
            self.model, self._data, before, np.asarray(actions, np.float64)[:, None], nstep=self.frame_skip
        )
        self.states[chosen] = after = reached[:, -1]
        self.ages[chosen] += 1
        rule = self.environment
        speed = (after[:, 1] - before[:, 1]) / self.dt
        rewards = speed + rule.alive_reward - rule.control_cost * np.square(actions).sum(axis=1)
        return rewards, ~self._healthy(after[:, 1:])

    def _healthy(self, state: np.ndarray) -> np.ndarray:
        rule, height, angle = self.environment, state[:, 1], state[:, 2]
        return (
            (height > rule.height[0])
            & (height < rule.height[1])
            & (angle > rule.angle[0])
            & (angle < rule.angle[1])
            & (np.abs(state[:, 2:]) < rule.state_limit).all(axis=1)
        )
