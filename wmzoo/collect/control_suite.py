"""Tasks of the DeepMind Control Suite (Tassa et al. 2018) as Gymnasium environments with flat observations."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from wmzoo.errors import WmzooError


class ControlTask(gymnasium.Env):
    """One task, without its own time limit.

    Args:
        domain, task: such as ``walker`` and ``run``.

    Raises:
        WmzooError: ``dm_control`` is not installed, or does not go with MuJoCo's version.
    """

    metadata = {"render_modes": []}

    def __init__(self, domain: str, task: str):
        self.control = _load(domain, task)
        self.dt = float(self.control.control_timestep())
        spec = self.control.action_spec()
        # Where a task sets no limits, plus and minus 1 are those of all others.
        low, high = np.maximum(spec.minimum, -10), np.minimum(spec.maximum, 10)
        low, high = np.where(low <= -10, -1, low), np.where(high >= 10, 1, high)
        self.action_space = gymnasium.spaces.Box(low.astype(np.float32), high.astype(np.float32))
        states = sum(int(np.prod(item.shape)) for item in self.control.observation_spec().values())
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (states,), np.float64)

    @property
    def model(self) -> Any:
        """The ``mujoco.MjModel``."""
        return self.control.physics.model.ptr

    def observe(self, position: np.ndarray, velocity: np.ndarray, activation: np.ndarray) -> Mapping[str, np.ndarray]:
        """The observation of a state of the physics, by key."""
        physics = self.control.physics
        physics.data.qpos[:], physics.data.qvel[:] = position, velocity
        if len(activation):
            physics.data.act[:] = activation
        physics.forward()
        return self.control.task.get_observation(physics)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode."""
        super().reset(seed=seed)
        if seed is not None:
            self.control.task.random.seed(seed)
        return _flat(self.control.reset().observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by one control interval."""
        step = self.control.step(action)
        terminated = bool(step.last() and step.discount == 0)
        return _flat(step.observation), float(step.reward), terminated, bool(step.last() and not terminated), {}


def _load(domain: str, task: str) -> Any:
    # MuJoCo calls a word in one model's file outdated, by way of this logger.
    logging.getLogger("absl").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GLFW misses a display, which nothing here needs
        try:
            from dm_control import suite
        except ImportError as error:
            raise WmzooError(f"dmc-{domain}: needs dm_control ({error}); run `pip install dm_control`.") from error
        return suite.load(domain, task, task_kwargs={"random": 0, "time_limit": float("inf")})


def _flat(observation: Mapping[str, Any]) -> np.ndarray:
    return np.concatenate([np.ravel(value) for value in observation.values()]).astype(np.float64)
