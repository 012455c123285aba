"""Ladders: policies of one training run, from the untrained to the best, at equal steps of return.

A ladder is a folder of ``<environment>-NN.npz`` policies and one ``<environment>.json`` that says how each came to be.
The package ships one for every environment, so that a first corpus needs no training.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmzoo.collect.environments import find_environment
from wmzoo.collect.policies import Policy, load_policy
from wmzoo.errors import WmzooError
from wmzoo.files import write_json

SHIPPED = Path(__file__).parent / "policies"

MEDIUM = 0.4
"""The medium policy's return as a share of the best's: D4RL's lie between a third and a half."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ladder:
    """The policies of one environment by name, lowest return first, and what is known of them.

    Attributes:
        environment: its name.
        policies: by name.
        about: the JSON beside them: method, seed, settings, versions, command, measured returns.
    """

    environment: str
    policies: dict[str, Policy]
    about: dict[str, Any]

    @property
    def medium(self) -> str:
        """The name of the policy of about 40 % of the best return."""
        return self.about["medium"]

    @property
    def expert(self) -> str:
        """The name of the best policy."""
        return self.about["expert"]

    @property
    def replay(self) -> tuple[str, ...]:
        """The names of the policies up to medium, in the order of training."""
        return tuple(self.about["replay"])

    def measured(self, name: str) -> dict[str, Any]:
        """What is known of one policy: its steps of training, return and length over how many episodes."""
        return next(item for item in self.about["policies"] if item["name"] == name)

    def digest(self) -> str:
        """SHA-256 of all parameters, so that a corpus can tell which policies it was collected with."""
        sha = hashlib.sha256()
        for name, policy in sorted(self.policies.items()):
            sha.update(f"{name} {policy.nonlinearity} {policy.distribution}".encode())
            for weight, bias in policy.layers():
                sha.update(weight.tobytes() + bias.tobytes())
        return sha.hexdigest()


def load_ladder(environment: str, folder: Path = SHIPPED) -> Ladder:
    """Read a ladder.

    Args:
        environment: its name.
        folder: where its files lie.

    Raises:
        WmzooError: unknown environment, or files that are missing or broken.
    """
    path = folder / f"{find_environment(environment).name}.json"
    try:
        about = json.loads(path.read_text())
        names = [item["name"] for item in about["policies"]]
        unknown = {about["medium"], about["expert"], *about["replay"]} - set(names)
        if unknown:
            raise ValueError(f"no policy named {', '.join(sorted(unknown))}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WmzooError(
            f"{path}: no readable ladder of policies ({error}); make one with "
            f"`wmzoo data policies {environment} --to {folder}`."
        ) from error
    policies = {name: load_policy(folder / f"{name}.npz") for name in names}
    return Ladder(environment=environment, policies=policies, about=about)


def choose_rungs(returns: Sequence[float], rungs: int) -> list[int]:
    """Choose snapshots at equal steps of return, from the first to the best.

    Args:
        returns: of the snapshots in the order of training.
        rungs: how many to choose.

    Returns:
        Their indices in the order of training; fewer than ``rungs`` if there are not as many.
    """
    best = int(np.argmax(returns))
    chosen = {best}
    for target in np.linspace(returns[0], returns[best], rungs)[:-1]:
        left = [index for index in range(best) if index not in chosen]
        if left:
            chosen.add(min(left, key=lambda index: abs(returns[index] - target)))
    return sorted(chosen)


def roles(policies: list[dict[str, Any]]) -> dict[str, Any]:
    """Which rungs collect which level: the best, the one of about 40 % of it, and those up to that one.

    Args:
        policies: name, steps and return_mean of each, lowest return first.
    """
    best = policies[-1]["return_mean"]
    medium = min(range(len(policies)), key=lambda index: abs(policies[index]["return_mean"] - MEDIUM * best))
    replay = sorted(policies[: medium + 1], key=lambda item: item["steps"])
    return {
        "medium": policies[medium]["name"],
        "expert": policies[-1]["name"],
        "replay": [item["name"] for item in replay],
    }


def write_ladder(environment: str, folder: Path, policies: Sequence[Policy], about: dict[str, Any]) -> Ladder:
    """Write the policies and then the JSON that names them; an interrupted writing leaves no readable ladder.

    Args:
        environment: its name.
        folder: where to.
        policies: lowest return first, in the order of ``about["policies"]``.
        about: what is known of them.

    Returns:
        The ladder, as read back.

    Raises:
        WmzooError: the folder can't be written.
    """
    with contextlib.suppress(OSError):  # if it can't be removed, the policies can't be written either
        (folder / f"{environment}.json").unlink()
    for item, policy in zip(about["policies"], policies, strict=True):
        policy.save(folder / f"{item['name']}.npz")
    write_json(folder / f"{environment}.json", about)
    return load_ladder(environment, folder)
