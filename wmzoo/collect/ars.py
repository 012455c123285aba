"""Augmented random search, version V2-t (Mania et al. 2018, algorithm 2) on many copies at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wmzoo.collect.moments import RunningMoments
from wmzoo.collect.policies import Policy, Snapshot
from wmzoo.collect.simulators import Simulator, make_simulator


@dataclass(frozen=True, kw_only=True)
class ArsConfig:
    """Settings of augmented random search.

    Attributes:
        directions: N, tried both ways at each iteration.
        top: b, the best of them that count.
        step: alpha, the step size.
        noise: nu, the standard deviation of the directions.
        most: transitions of an episode, if that is less than those of the environment.
    """

    directions: int
    top: int
    step: float
    noise: float
    most: int | None = None


def train_ars(config: ArsConfig, environment: str, seed: int, steps: int) -> Iterator[Snapshot]:
    """Train a linear policy, yielding it before the first iteration and after each.

    Args:
        config: settings.
        environment: name of the environment.
        seed: of everything random.
        steps: transitions in all; the last iteration may go over.
    """
    rng = np.random.default_rng(seed)
    return search(config, make_simulator(environment, 2 * config.directions, rng), rng, steps)


def search(config: ArsConfig, simulator: Simulator, rng: np.random.Generator, steps: int) -> Iterator[Snapshot]:
    """Train a linear policy in a simulator of twice as many copies as there are directions.

    Args:
        config: settings.
        simulator: its rewards, less those for staying alive, are what the policy learns to gain.
        rng: draws the directions.
        steps: transitions in all; the last iteration may go over.

    Yields:
        The policy before the first iteration and after each, with the mean return of what was tried.
    """
    seen = RunningMoments(simulator.observe().shape[1])
    weight, done = np.zeros((simulator.actions, len(seen.mean))), 0
    yield Snapshot(steps=0, policy=_policy(weight, seen))
    while done < steps:
        delta = rng.standard_normal((config.directions, *weight.shape))
        tried = weight + config.noise * np.concatenate([delta, -delta])
        most = min(config.most or simulator.environment.steps, simulator.environment.steps)
        returns, observed = _returns(simulator, tried, seen, most)
        weight = weight + _step(config, delta, *returns.reshape(2, -1))
        seen.add(observed)
        done += len(observed)
        yield Snapshot(steps=done, policy=_policy(weight, seen), tried=float(returns.mean()))


def _step(config: ArsConfig, delta: np.ndarray, forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """The update of the weights from the returns ``[N]`` of both ways (algorithm 2, step 7)."""
    top = np.argsort(-np.maximum(forward, backward))[: config.top]
    deviation = np.concatenate([forward[top], backward[top]]).std() + 1e-8
    return config.step / (config.top * deviation) * np.einsum("k,kij->ij", (forward - backward)[top], delta[top])


def _returns(
    simulator: Simulator, weights: np.ndarray, seen: RunningMoments, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Play one episode of at most so many steps with each weight matrix.

    Returns:
        Returns ``[2N]`` without the reward for staying alive, which would reward standing still (section 4.3), and
        all observations ``[rows, m]``.
    """
    alive, returns, observed = np.arange(len(weights)), np.zeros(len(weights)), []
    simulator.reset(alive)
    rule = simulator.environment.rule
    for _ in range(most):
        observed.append(simulator.observe()[alive])
        actions = np.einsum("kij,kj->ki", weights[alive], seen.normalise(observed[-1]))
        rewards, terminated = simulator.step(np.clip(actions, -1, 1), alive)
        returns[alive] += rewards - (rule.alive_reward if rule else 0.0)
        alive = alive[~terminated]
        if len(alive) == 0:
            break
    return returns, np.concatenate(observed)


def _policy(weight: np.ndarray, seen: RunningMoments) -> Policy:
    folded = seen.fold(weight, np.zeros(len(weight)))
    return Policy(hidden=(), mean=folded, log_std=None, nonlinearity="linear", distribution="clipped")
