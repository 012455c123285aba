"""Training behaviour policies in minutes, and measuring what they return."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmzoo.collect.ars import ArsConfig, train_ars
from wmzoo.collect.environments import find_environment
from wmzoo.collect.ladder import Ladder, choose_rungs, roles, write_ladder
from wmzoo.collect.policies import Policy, Snapshot
from wmzoo.collect.ppo import PpoConfig, train_ppo
from wmzoo.collect.sac import SacConfig, train_sac
from wmzoo.collect.simulators import make_simulator
from wmzoo.errors import WmzooError, nearest
from wmzoo.progress import bar

Settings = ArsConfig | PpoConfig | SacConfig

SETTINGS: dict[str, dict[str, Settings]] = {
    "hopper": {
        "ppo": PpoConfig(),
        "sac": SacConfig(),
        "ars": ArsConfig(directions=8, top=4, step=0.01, noise=0.025),
    },
    "halfcheetah": {
        "ppo": PpoConfig(),
        "sac": SacConfig(),
        "ars": ArsConfig(directions=32, top=4, step=0.02, noise=0.03),
    },
    "walker2d": {
        "ppo": PpoConfig(),
        "sac": SacConfig(),
        "ars": ArsConfig(directions=40, top=30, step=0.03, noise=0.025),
    },
}
"""By environment and method; the directions of random search grow with the number of weights."""

USUAL: dict[str, Settings] = {
    "ppo": PpoConfig(),
    "sac": SacConfig(),
    "ars": ArsConfig(directions=16, top=8, step=0.02, noise=0.03),
}
"""By method, of all other environments."""

LADDERS = {"hopper": ("ppo", 1_200_000), "halfcheetah": ("sac", 400_000), "walker2d": ("ppo", 1_600_000)}
"""Method and transitions of the shipped ladder of each environment."""

USUAL_LADDER = ("ppo", 1_000_000)
"""The same of all other environments, which the package ships no ladder for."""

SCREENING_EPISODES, EPISODES = 6, 50
"""Episodes that choose the rungs of a ladder, and those that measure the chosen."""


def settings_for(environment: str, method: str) -> Settings:
    """The settings of a method in an environment.

    Raises:
        WmzooError: there is no such environment or method.
    """
    methods = SETTINGS.get(find_environment(environment).name, USUAL)
    if method not in methods:
        raise WmzooError(f'--method: no method "{method}". {nearest(method, methods)}')
    return methods[method]


def train_behaviour(
    environment: str, method: str, *, seed: int, steps: int, snapshots: int = 80, progress: bool = True
) -> Iterator[Snapshot]:
    """Train a policy, yielding snapshots at equal distances; the same seed and steps give the same policies.

    Args:
        environment: its name.
        method: ``ars``, ``ppo`` or ``sac``.
        seed: of everything random.
        steps: transitions in all.
        snapshots: how many to yield at most, the untrained policy included.
        progress: show a bar.

    Raises:
        WmzooError: unknown environment or method, or fewer than one step.
    """
    settings = settings_for(environment, method)
    if steps < 1:
        raise WmzooError(f"--steps: {steps} transitions; give at least 1.")
    with _one_thread(), bar(f"train {environment} ({method})", steps, quiet=not progress) as report:
        spacing, due = steps / max(snapshots - 1, 1), 0.0
        for snapshot in _train(settings, environment, seed, steps):
            report(min(snapshot.steps, steps), "")
            if snapshot.steps >= min(due, steps):
                due += spacing
                yield snapshot


def _train(settings: Settings, environment: str, seed: int, steps: int) -> Iterator[Snapshot]:
    if isinstance(settings, ArsConfig):
        return train_ars(settings, environment, seed, steps)
    if isinstance(settings, PpoConfig):
        return train_ppo(settings, environment, seed, steps)
    return train_sac(settings, environment, seed, steps)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Small networks are faster on one thread, and the order of its sums is always the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """Undiscounted returns and lengths of episodes, ``[episodes]`` each."""

    returns: np.ndarray
    lengths: np.ndarray


def measure(policy: Policy, environment: str, episodes: int, seed: int) -> Measured:
    """Play whole episodes with sampled actions, all at once.

    Args:
        policy: what acts.
        environment: its name.
        episodes: how many.
        seed: of the first states and the actions.
    """
    starts, noise = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    simulator = make_simulator(environment, episodes, starts)
    alive, returns = np.arange(episodes), np.zeros(episodes)
    for _ in range(simulator.environment.steps):
        rewards, terminated = simulator.step(policy.act(simulator.observe()[alive], noise), alive)
        returns[alive] += rewards
        alive = alive[~terminated]
        if len(alive) == 0:
            break
    return Measured(returns=returns, lengths=simulator.ages.copy())


def make_ladder(
    environment: str,
    folder: Path,
    *,
    method: str | None = None,
    seed: int = 0,
    steps: int | None = None,
    rungs: int = 11,
    progress: bool = True,
) -> Ladder:
    """Train in an environment, choose policies at equal steps of return, measure and write them.

    Args:
        environment: its name.
        folder: where to write.
        method: ``ars``, ``ppo`` or ``sac``; by default what the shipped ladder was made with.
        seed: of everything random.
        steps: transitions of training; by default those of the shipped ladder.
        rungs: how many policies to keep.
        progress: show bars.

    Returns:
        The ladder, as read back.

    Raises:
        WmzooError: unknown environment or method, or the folder can't be written.
    """
    usual_method, usual_steps = LADDERS.get(find_environment(environment).name, USUAL_LADDER)
    method, steps = method or usual_method, usual_steps if steps is None else steps
    settings = settings_for(environment, method)
    _make_folder(folder)
    snapshots = list(train_behaviour(environment, method, seed=seed, steps=steps, progress=progress))
    screened = _measure_all(snapshots, environment, SCREENING_EPISODES, seed, progress)
    chosen = [snapshots[index] for index in choose_rungs([m.returns.mean() for m in screened], rungs)]
    # Another seed than the choice's: the best of many would be flattered by its own.
    measured = _measure_all(chosen, environment, EPISODES, seed + 1, progress)
    order = sorted(range(len(chosen)), key=lambda index: measured[index].returns.mean())
    policies = [_entry(environment, rung, chosen[i], measured[i]) for rung, i in enumerate(order)]
    about = {
        "environment": environment,
        "method": method,
        "seed": seed,
        "steps": steps,
        "settings": dataclasses.asdict(settings),
        "command": f"wmzoo data policies {environment} --method {method} --seed {seed} --steps {steps} --to DIR",
        "versions": _versions(),
        **roles(policies),
        "policies": policies,
    }
    return write_ladder(environment, folder, [chosen[i].policy for i in order], about)


def _make_folder(folder: Path) -> None:
    """Find out before minutes of training, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise WmzooError(f"{folder}: can't be written ({error.strerror}); choose another --to.") from error


def _measure_all(
    snapshots: list[Snapshot], environment: str, episodes: int, seed: int, progress: bool
) -> list[Measured]:
    results: list[Measured] = []
    with bar(f"measure {environment}", len(snapshots), quiet=not progress, unit="policies") as report:
        for snapshot in snapshots:
            results.append(measure(snapshot.policy, environment, episodes, seed))
            report(len(results), f"return {results[-1].returns.mean():.0f}")
    return results


def _entry(environment: str, rung: int, snapshot: Snapshot, measured: Measured) -> dict[str, Any]:
    mean = float(measured.returns.mean())
    return {
        "name": f"{environment}-{rung:02d}",
        "steps": snapshot.steps,
        "return_mean": round(mean, 2),
        "return_std": round(float(measured.returns.std(ddof=1)), 2),
        "length_mean": round(float(measured.lengths.mean()), 1),
        "episodes": len(measured.returns),
        "score": find_environment(environment).score(mean),
    }


def _versions() -> dict[str, str]:
    packages = ("mujoco", "gymnasium", "numpy", "torch")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
