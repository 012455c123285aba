"""Reward, termination and first states of planar bodies, for one of them or many at once; and one as an environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from wmzoo.collect.environments import PlanarRule
from wmzoo.collect.morphologies import Body, compile_body


def first_state(rule: PlanarRule, model: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions ``[nq]`` and velocities ``[nv]`` of a new episode, as Gymnasium draws them."""
    position = rng.uniform(-rule.reset_noise, rule.reset_noise, model.nq)
    if rule.gaussian_reset:
        velocity = rule.reset_noise * rng.standard_normal(model.nv)
    else:
        velocity = rng.uniform(-rule.reset_noise, rule.reset_noise, model.nv)
    return model.qpos0 + position, velocity


def observation(rule: PlanarRule, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """``[.., nq]`` and ``[.., nv]`` to ``[.., m]``: positions but the distance covered, and clipped velocities."""
    limit = rule.speed_limit
    return np.concatenate([positions[..., 1:], np.clip(velocities, -limit, limit)], axis=-1)


def reward(rule: PlanarRule, speed: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """``[..]`` from the mean forward speed [m/s] over the step and the actions ``[.., n]``."""
    return speed + rule.alive_reward - rule.control_cost * np.square(actions).sum(axis=-1)


def healthy(rule: PlanarRule, state: np.ndarray) -> np.ndarray:
    """Whether an episode goes on, ``[..]`` bool, from the physics' state: positions, velocities ``[.., nq + nv]``."""
    height, angle = state[..., 1], state[..., 2]
    return (
        (height > rule.height[0])
        & (height < rule.height[1])
        & (angle > rule.angle[0])
        & (angle < rule.angle[1])
        & (np.abs(state[..., 2:]) < rule.state_limit).all(axis=-1)
    )


class PlanarBody(gymnasium.Env):
    """A planar body made here, as a Gymnasium environment.

    Args:
        body: its description.
        rule: its reward and termination.
    """

    metadata = {"render_modes": []}

    def __init__(self, body: Body, rule: PlanarRule):
        import mujoco

        self.model, self.rule, self.frame_skip = compile_body(body), rule, body.frame_skip
        self.data = mujoco.MjData(self.model)
        self.dt = body.timestep * body.frame_skip
        low, high = self.model.actuator_ctrlrange.T.astype(np.float32)
        self.action_space = gymnasium.spaces.Box(low, high)
        states = self.model.nq + self.model.nv - 1
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (states,), np.float64)

    def set_state(self, position: np.ndarray, velocity: np.ndarray) -> None:
        """Put the body into a state of positions ``[nq]`` and velocities ``[nv]``."""
        import mujoco

        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:], self.data.qvel[:] = position, velocity
        mujoco.mj_forward(self.model, self.data)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        self.set_state(*first_state(self.rule, self.model, self.np_random))
        return self._get_obs(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by one control interval."""
        import mujoco

        before = self.data.qpos[0]
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, self.frame_skip)
        speed = (self.data.qpos[0] - before) / self.dt
        state = np.concatenate([self.data.qpos, self.data.qvel])
        return self._get_obs(), float(reward(self.rule, speed, action)), not healthy(self.rule, state), False, {}

    def _get_obs(self) -> np.ndarray:
        return observation(self.rule, self.data.qpos, self.data.qvel)
