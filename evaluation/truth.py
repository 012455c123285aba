"""True values of policies, by Monte Carlo in the real simulator; measured once and kept."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmzoo.collect.environments import find_environment
from wmzoo.collect.policies import Policy
from wmzoo.collect.simulators import make_simulator
from wmzoo.evaluation.remembered import digest, remember
from wmzoo.progress import bar


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of one policy in the real simulator.

    Attributes:
        value: mean discounted return.
        error: its standard error.
        undiscounted: mean undiscounted return of episodes as long as the environment allows.
        undiscounted_error: its standard error.
        episodes: that were played.
    """

    value: float
    error: float
    undiscounted: float
    undiscounted_error: float
    episodes: int


def true_values(
    environment: str,
    policies: Mapping[str, Policy],
    gamma: float,
    horizon: int,
    episodes: int,
    folder: Path,
    quiet: bool = False,
) -> dict[str, Truth]:
    """Measure policies, or read what an earlier call measured.

    Episodes run for ``horizon`` steps, beyond the environment's own limit if need be, as those of the model do.

    Args:
        environment: its name.
        policies: by name.
        gamma: discount factor.
        horizon: steps of an episode, if nothing terminates it.
        episodes: of each policy.
        folder: of what was measured before.
        quiet: show no progress.

    Returns:
        By name.

    Raises:
        WmzooError: the folder can't be written.
    """
    found: dict[str, Truth] = {}
    with bar(f"true values in {environment}", len(policies), quiet=quiet, unit="policies") as report:
        for name, policy in policies.items():
            report(len(found), name)
            settings = {"policy": digest(policy), "gamma": gamma, "horizon": horizon, "episodes": episodes}
            measure = functools.partial(_measure, environment, policy, gamma, horizon, episodes)
            found[name] = Truth(**remember(folder, f"value-{environment}", settings, measure))
        report(len(found), "")
    return found


def _measure(environment: str, policy: Policy, gamma: float, horizon: int, episodes: int) -> dict[str, Any]:
    return asdict(play(environment, policy, gamma, horizon, episodes))


def play(environment: str, policy: Policy, gamma: float, horizon: int, episodes: int, seed: int = 0) -> Truth:
    """Play episodes of a policy, all of them at once.

    Args:
        environment, policy, gamma, horizon, episodes: as in :func:`true_values`.
        seed: of the first states and the actions.
    """
    rng = np.random.default_rng(seed)
    simulator = make_simulator(environment, episodes, rng)
    limit = find_environment(environment).steps
    discounted, plain, alive = np.zeros(episodes), np.zeros(episodes), np.arange(episodes)
    for step in range(max(horizon, limit)):
        actions = policy.act(simulator.observe()[alive], rng)
        rewards, terminated = simulator.step(actions, alive)
        if step < horizon:
            discounted[alive] += gamma**step * rewards
        if step < limit:
            plain[alive] += rewards
        alive = alive[~terminated]
        if not len(alive):
            break
    (value, error), (undiscounted, undiscounted_error) = _mean(discounted), _mean(plain)
    return Truth(
        value=value,
        error=error,
        undiscounted=undiscounted,
        undiscounted_error=undiscounted_error,
        episodes=episodes,
    )


def _mean(returns: np.ndarray) -> tuple[float, float]:
    """A mean and its standard error."""
    spread = returns.std(ddof=1) if len(returns) > 1 else 0.0
    return float(returns.mean()), float(spread / np.sqrt(len(returns)))
