"""Simulators that policies are trained in: many copies of an environment stepped together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from wmzoo.collect import planar
from wmzoo.collect.environments import Environment, find_environment
from wmzoo.collect.making import layout, make_gymnasium
from wmzoo.collect.moments import RunningMoments
from wmzoo.trajectories import Episode

if TYPE_CHECKING:
    import gymnasium


class Simulator(Protocol):
    """Copies of one environment. Nothing is reset by itself: call :meth:`reset` for the copies that ended.

    Attributes:
        environment: which.
        actions: number of action dims, ``n``.
    """

    environment: Environment
    actions: int

    @property
    def ages(self) -> np.ndarray:
        """Transitions since the last reset of each copy, ``[N]``."""

    def reset(self, chosen: np.ndarray) -> None:
        """Start new episodes in the chosen copies ``[c]``, given by their indices."""

    def observe(self) -> np.ndarray:
        """What all copies observe, ``[N, m]``."""

    def step(self, actions: np.ndarray, chosen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Advance by one control interval.

        Args:
            actions: ``[c, n]`` in units of the limits, -1 to 1.
            chosen: indices of the copies to advance, ``[c]``; all if left out.

        Returns:
            Rewards ``[c]`` and whether each episode terminated ``[c]``; truncation is for the caller, by ``ages``.
        """


def make_simulator(name: str, count: int, rng: np.random.Generator) -> Simulator:
    """The fastest simulator of an environment.

    Args:
        name: of the environment.
        count: number of copies, ``N``.
        rng: draws the first states.
    """
    if find_environment(name).rule is not None:
        return PlanarSimulator(name, count, rng)
    return GymnasiumSimulator(name, count, rng)


class _Around:
    """A simulator around another one; what it does not change is that one's."""

    def __init__(self, inner: Simulator):
        self.inner, self.environment, self.actions = inner, inner.environment, inner.actions

    @property
    def ages(self) -> np.ndarray:
        """See :class:`Simulator`."""
        return self.inner.ages

    def reset(self, chosen: np.ndarray) -> None:
        """See :class:`Simulator`."""
        self.inner.reset(chosen)

    def observe(self) -> np.ndarray:
        """See :class:`Simulator`."""
        return self.inner.observe()


class Counted(_Around):
    """A simulator that rewards what is rarely seen instead of what its environment rewards.

    Observations are hashed to 16 bits, the signs of random projections; a copy gains ``1 / sqrt(n)`` for a hash that
    was met ``n`` times (Tang et al. 2017, "#Exploration", equations 1 and 2).

    Args:
        inner: the simulator.
        rng: draws the projections.
    """

    BITS = 16

    def __init__(self, inner: Simulator, rng: np.random.Generator):
        super().__init__(inner)
        self._seen = RunningMoments(inner.observe().shape[1])
        self._projection = rng.standard_normal((len(self._seen.mean), self.BITS))
        self._counts = np.zeros(1 << self.BITS, np.int64)

    def step(self, actions: np.ndarray, chosen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Simulator`."""
        chosen = np.arange(len(self.ages)) if chosen is None else chosen
        _, terminated = self.inner.step(actions, chosen)
        observed = self.inner.observe()[chosen]
        self._seen.add(observed)
        signs = self._seen.normalise(observed) @ self._projection > 0
        cells = signs @ (1 << np.arange(self.BITS))
        np.add.at(self._counts, cells, 1)
        return 1 / np.sqrt(self._counts[cells]), terminated


class Recorded(_Around):
    """A simulator that keeps the episodes played in it: the buffer of whatever trains there.

    Args:
        inner: the simulator.

    Attributes:
        episodes: finished ones, in the order in which they ended; the most recent of a copy when it is reset.
    """

    def __init__(self, inner: Simulator):
        super().__init__(inner)
        self.episodes: list[Episode] = []
        self._played: list[list[tuple[np.ndarray, np.ndarray, float, np.ndarray, bool]]] = [[] for _ in inner.ages]

    def reset(self, chosen: np.ndarray) -> None:
        """See :class:`Simulator`."""
        for index in chosen:
            self._keep(index)
        super().reset(chosen)

    def step(self, actions: np.ndarray, chosen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Simulator`."""
        chosen = np.arange(len(self.ages)) if chosen is None else chosen
        before, columns = self.inner.observe()[chosen], layout(self.environment.name)
        actions = np.asarray(actions, np.float32)  # as they are stored
        rewards, terminated = self.inner.step(actions, chosen)
        after = self.inner.observe()[chosen]
        for row, index in enumerate(chosen):
            taken = columns.scaled(actions[row])
            self._played[index].append((before[row], taken, rewards[row], after[row], bool(terminated[row])))
        return rewards, terminated

    def _keep(self, index: int) -> None:
        played, self._played[index] = self._played[index], []
        if played:
            observations, actions, rewards, arrived, terminated = zip(*played, strict=True)
            self.episodes.append(
                Episode(
                    observations=np.stack([*observations, arrived[-1]]),
                    actions=np.stack(actions),
                    rewards=np.asarray(rewards),
                    terminated=terminated[-1],
                    truncated=not terminated[-1],
                )
            )


class GymnasiumSimulator:
    """Copies of any environment, stepped one after another.

    Args:
        name: of the environment.
        count: number of copies, ``N``.
        rng: draws the first states.
    """

    def __init__(self, name: str, count: int, rng: np.random.Generator):
        self.environment, self.layout = find_environment(name), layout(name)
        self.actions = self.layout.actions
        self._envs: list[gymnasium.Env] = [make_gymnasium(name).unwrapped for _ in range(count)]
        self._rng = rng
        self._observed = np.zeros((count, self.layout.states))
        self.ages = np.zeros(count, np.int64)
        self.reset(np.arange(count))

    def reset(self, chosen: np.ndarray) -> None:
        """See :class:`Simulator`."""
        for index in chosen:
            self._observed[index] = self._envs[index].reset(seed=int(self._rng.integers(2**31)))[0]
        self.ages[chosen] = 0

    def observe(self) -> np.ndarray:
        """See :class:`Simulator`."""
        return self._observed.copy()

    def step(self, actions: np.ndarray, chosen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Simulator`."""
        chosen = np.arange(len(self._envs)) if chosen is None else chosen
        rewards, terminated = np.zeros(len(chosen)), np.zeros(len(chosen), bool)
        for row, (index, action) in enumerate(zip(chosen, self.layout.scaled(actions), strict=True)):
            found = self._envs[index].step(action.astype(np.float64))
            self._observed[index], rewards[row], terminated[row] = found[:3]
        self.ages[chosen] += 1
        return rewards, terminated


class PlanarSimulator:
    """Copies of one planar body; equal to Gymnasium's within rounding.

    Physics steps through ``mujoco.rollout``, rewards and terminations are computed for all copies at once.

    Args:
        name: of the environment.
        count: number of copies, ``N``.
        rng: draws the first states.
    """

    def __init__(self, name: str, count: int, rng: np.random.Generator):
        import mujoco
        from mujoco import rollout

        gym: Any = make_gymnasium(name).unwrapped
        self.environment = find_environment(name)
        assert self.environment.rule is not None
        self.rule, self.model, self.frame_skip = self.environment.rule, gym.model, int(gym.frame_skip)
        self.actions = self.model.nu
        self.dt = self.frame_skip * float(self.model.opt.timestep)
        gym.close()
        self._data = mujoco.MjData(self.model)
        self._rollout = rollout.Rollout(nthread=0)
        self._rng = rng
        # MuJoCo's full physics state: time, qpos, qvel (these models have no activations or plugins).
        self.states = np.zeros((count, 1 + self.model.nq + self.model.nv))
        self.ages = np.zeros(count, np.int64)
        self.reset(np.arange(count))

    def reset(self, chosen: np.ndarray) -> None:
        """See :class:`Simulator`."""
        for index in chosen:
            self.states[index] = np.concatenate([[0.0], *planar.first_state(self.rule, self.model, self._rng)])
        self.ages[chosen] = 0

    def observe(self) -> np.ndarray:
        """See :class:`Simulator`."""
        split = 1 + self.model.nq
        return planar.observation(self.rule, self.states[:, 1:split], self.states[:, split:])

    def step(self, actions: np.ndarray, chosen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Simulator`."""
        chosen = np.arange(len(self.states)) if chosen is None else chosen
        before = self.states[chosen]
        reached, _ = self._rollout.rollout(
            self.model, self._data, before, np.asarray(actions, np.float64)[:, None], nstep=self.frame_skip
        )
        self.states[chosen] = after = reached[:, -1]
        self.ages[chosen] += 1
        speed = (after[:, 1] - before[:, 1]) / self.dt
        return planar.reward(self.rule, speed, actions), ~planar.healthy(self.rule, after[:, 1:])
