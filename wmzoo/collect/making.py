"""Making an environment by its name, and naming its columns."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wmzoo.collect.environments import Environment, find_environment
from wmzoo.collect.kinematics import Column, describe_actions, describe_states

if TYPE_CHECKING:
    import gymnasium


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """The columns of an environment, read from its MuJoCo model where it has one.

    Attributes:
        names: one a column, ``[M]``: ``qpos:`` and ``qvel:`` of joints, ``reward``, ``action:`` of actuators.
        bodies: the kinematic position of each column, ``[M]``, see :class:`wmzoo.data.store.TrajectorySet`.
        states: number of state dims, ``m``.
        dt: control interval in seconds.
        low, high: action limits, ``[n]``.
    """

    names: tuple[str, ...]
    bodies: tuple[str, ...]
    states: int
    dt: float
    low: np.ndarray
    high: np.ndarray

    @property
    def actions(self) -> int:
        """Number of action dims, ``n``."""
        return len(self.low)

    def scaled(self, actions: np.ndarray) -> np.ndarray:
        """Actions in units of the limits, ``[.., n]`` in [-1, 1], to physical units."""
        # Exact where the limits are plus and minus 1.
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        return (middle + half * actions).astype(actions.dtype)


def make_gymnasium(name: str) -> gymnasium.Env:
    """The environment as a Gymnasium environment, with its time limit.

    Raises:
        WmzooError: there is no environment of that name, or the package that it needs is missing.
    """
    import gymnasium

    wanted = find_environment(name)
    if wanted.gym_id:
        return _from_gymnasium(wanted)
    env: gymnasium.Env
    if wanted.body is not None:
        from wmzoo.collect.planar import PlanarBody

        assert wanted.rule is not None
        env = PlanarBody(wanted.body, wanted.rule)
    else:
        from wmzoo.collect.control_suite import ControlTask

        env = ControlTask(*wanted.task)
    return gymnasium.wrappers.TimeLimit(env, wanted.steps)


def _from_gymnasium(wanted: Environment) -> gymnasium.Env:
    import gymnasium

    with _silent():
        env = gymnasium.make(
            wanted.gym_id, disable_env_checker=True, max_episode_steps=wanted.steps, **dict(wanted.options)
        )
    if wanted.physics_seed is not None:
        _scale_physics(env.unwrapped.model, env.unwrapped.data, wanted.physics_seed)  # type: ignore[attr-defined]
    return env


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Gymnasium advises v5 each time; v4 is deliberate, see :mod:`wmzoo.collect.environments`.

    MuJoCo warns of an outdated word in the models' files, on the console and in a log file in the working directory.
    """
    import mujoco

    handler = mujoco.get_mju_user_warning()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mujoco.set_mju_user_warning(lambda text: None)
        try:
            yield
        finally:
            mujoco.set_mju_user_warning(handler)


def _scale_physics(model: Any, data: Any, seed: int) -> None:
    """Multiply masses, inertias and frictions by ``1.5^u`` and dampings by ``1.3^u``, ``u`` uniform in [-3, 3].

    Source: the families of MACAW (Mitchell et al. 2021), after Rakelly et al. (2019); a factor for each entry.
    """
    import mujoco

    rng = np.random.default_rng(seed)
    for field, base in (("body_mass", 1.5), ("body_inertia", 1.5), ("dof_damping", 1.3), ("geom_friction", 1.5)):
        values = getattr(model, field)
        values[:] *= base ** rng.uniform(-3, 3, values.shape)
    mujoco.mj_setConst(model, data)


@functools.cache
def layout(name: str) -> Layout:
    """The columns of an environment, with names from its MuJoCo model."""
    wanted, env = find_environment(name), make_gymnasium(name)
    inner: Any = env.unwrapped
    if hasattr(inner, "model"):
        states, actions, dt = _describe(wanted, inner), describe_actions(inner.model), float(inner.dt)
    else:
        states = [Column(text, text.partition(":")[2]) for text in wanted.unnamed]
        # The car's simulation counts steps, not seconds.
        actions, dt = [Column(f"action:{states[0].body}", states[0].body)], float(getattr(inner, "dt", 1.0))
    box: Any = env.action_space
    env.close()
    columns = [*states, Column("reward", ""), *actions]
    return Layout(
        names=tuple(column.name for column in columns),
        bodies=tuple(column.body for column in columns),
        states=len(states),
        dt=dt,
        low=box.low.copy(),
        high=box.high.copy(),
    )


def _describe(wanted: Environment, inner: Any) -> list[Column]:
    if wanted.task[0]:
        return describe_states(inner.model, inner.observe)

    def observe(position: np.ndarray, velocity: np.ndarray, activation: np.ndarray) -> dict[str, np.ndarray]:
        inner.set_state(position, velocity)
        return {"observation": inner._get_obs()}

    return describe_states(inner.model, observe, wanted.unnamed)
