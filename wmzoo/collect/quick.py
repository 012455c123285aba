"""Policies for any environment in seconds: graded ones, ones that seek novelty, and the buffer of their training.

Augmented random search learns a linear policy within some ten thousand transitions: clearly better than random where
rewards are dense, and at least different from it where they are sparse. The ladders of :mod:`wmzoo.collect.ladder`
take minutes and are better.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wmzoo.collect.ars import ArsConfig, search
from wmzoo.collect.ladder import choose_rungs
from wmzoo.collect.policies import Policy, Snapshot
from wmzoo.collect.simulators import Counted, Recorded, make_simulator
from wmzoo.files import replacing
from wmzoo.trajectories import Episode

GRADES, CURIOUS = 5, 3
"""Policies kept of the search for reward, at equal steps of return, and of the search for novelty, evenly spaced."""

SETTINGS = ArsConfig(directions=8, top=4, step=0.1, noise=0.2, most=250)
NOVELTY_SHARE = 0.5
"""Transitions of the search for novelty, relative to those of the search for reward."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Quick:
    """What a short training gives.

    Attributes:
        graded: policies from the untrained to the best.
        returns: mean return of what was tried around each of them, over at most ``SETTINGS.most`` transitions and
            without the reward for staying alive.
        curious: policies that were trained to meet what is rarely seen.
    """

    graded: tuple[Policy, ...]
    returns: tuple[float, ...]
    curious: tuple[Policy, ...]

    def save(self, path: Path) -> None:
        """Write the policies to an ``.npz`` file, whole or not at all."""
        arrays = {"returns": np.asarray(self.returns)}
        for name, policies in (("graded", self.graded), ("curious", self.curious)):
            arrays[f"{name}_weight"] = np.stack([policy.mean[0] for policy in policies])
            arrays[f"{name}_bias"] = np.stack([policy.mean[1] for policy in policies])
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]


def load_quick(path: Path) -> Quick | None:
    """What :meth:`Quick.save` wrote, or None if it is not there or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Quick(
                graded=_policies(file["graded_weight"], file["graded_bias"]),
                returns=tuple(file["returns"].tolist()),
                curious=_policies(file["curious_weight"], file["curious_bias"]),
            )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _policies(weights: np.ndarray, biases: np.ndarray) -> tuple[Policy, ...]:
    return tuple(
        Policy(hidden=(), mean=(w, b), log_std=None, nonlinearity="linear", distribution="clipped")
        for w, b in zip(weights, biases, strict=True)
    )


def train_quick(environment: str, seed: int, steps: int, most: int) -> tuple[Quick, list[Episode]]:
    """Search for reward and then for novelty.

    Args:
        environment: its name.
        seed: of everything random.
        steps: transitions of the search for reward.
        most: transitions of an episode, if that is less than ``SETTINGS.most``.

    Returns:
        The policies, and every episode of the search for reward in order.
    """
    rng, settings = np.random.default_rng([seed, 0]), replace(SETTINGS, most=min(SETTINGS.most or most, most))
    simulator = Recorded(make_simulator(environment, 2 * SETTINGS.directions, rng))
    snapshots = list(search(settings, simulator, rng, steps))
    simulator.reset(np.arange(2 * SETTINGS.directions))  # closes the last episodes
    tried = [snapshot.tried for snapshot in snapshots[1:]]
    # What was tried in an iteration was tried around the policy before it.
    chosen = choose_rungs(tried, GRADES)
    quick = Quick(
        graded=tuple(snapshots[i].policy for i in chosen),
        returns=tuple(tried[i] for i in chosen),
        curious=tuple(snapshot.policy for snapshot in _curious(environment, seed, round(steps * NOVELTY_SHARE))),
    )
    return quick, simulator.episodes


def _curious(environment: str, seed: int, steps: int) -> list[Snapshot]:
    rng = np.random.default_rng([seed, 1])
    simulator = Counted(make_simulator(environment, 2 * SETTINGS.directions, rng), rng)
    snapshots = list(search(SETTINGS, simulator, rng, steps))[1:]
    return [snapshots[round(i)] for i in np.linspace(0, len(snapshots) - 1, CURIOUS)]
