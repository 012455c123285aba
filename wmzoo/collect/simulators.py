"""Simulators of the environments: Gymnasium's own, and a batched one for training policies."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wmzoo.collect.environments import find_environment

if TYPE_CHECKING:
    import gymnasium


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
        self.environment = find_environment(name)
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
