"""Target policies of off-policy evaluation: a ladder of our own, or the pickles of DOPE."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wmzoo.collect.environments import find_environment
from wmzoo.collect.ladder import SHIPPED, load_ladder
from wmzoo.collect.making import Layout, layout
from wmzoo.collect.policies import Policy, load_policy
from wmzoo.errors import WmzooError

DOPE = "dope:"

DOPE_FILES = {"hopper": "hopper", "halfcheetah": "halfcheetah", "walker2d": "walker"}
"""What DOPE's files call our environments."""

DOPE_RETURNS: Mapping[str, tuple[float, ...]] = {
    "halfcheetah": (-309.2, 5686.1, 6898.3, 7843.3, 8661.4, 9197.9, 9623.8, 10255.3, 10899.5, 11829.1, 12695.7),
    "hopper": (89.1, 1134.2, 727.1, 1571.3, 1140.2, 1872.6, 3088.2, 1726.0, 2953.0, 2369.8, 1290.8),
    "walker2d": (17.6, 193.8, 942.6, 2786.7, 914.5, 3481.5, 2720.3, 3926.3, 3695.5, 4122.4, 4120.9),
}
"""Undiscounted returns of DOPE's policies 0 to 10 as published in ``d4rl_policies.json`` (Fu et al. 2021)."""


def find_policies(environment: str, where: str) -> dict[str, Policy]:
    """The target policies of an environment, by name.

    Args:
        environment: its name.
        where: empty for the ladder that the package ships, a folder for the ladder that lies there, or
            ``dope:FOLDER`` for DOPE's pickles, such as ``hopper_online_3.pkl``.

    Raises:
        WmzooError: no policies there, or policies of other dimensions.
    """
    folder = Path(where.removeprefix(DOPE)) if where else SHIPPED
    found = _dope(environment, folder) if where.startswith(DOPE) else _ladder(environment, folder)
    for name, policy in found.items():
        _check(environment, name, policy)
    return found


def published_return(environment: str, name: str) -> float | None:
    """DOPE's published undiscounted return of one of its policies; None for any other policy."""
    match = re.fullmatch(r"[a-z0-9]+_online_(\d+)", name)
    known = DOPE_RETURNS.get(environment, ())
    return known[int(match[1])] if match and int(match[1]) < len(known) else None


def acting(
    policies: Sequence[Policy], which: np.ndarray, columns: Layout, rng: np.random.Generator
) -> Callable[[Tensor], Tensor]:
    """Policies as what a rollout asks for actions.

    Args:
        policies: to choose from.
        which: index of each trajectory's own, ``[S]``.
        columns: of the environment.
        rng: draws the actions.

    Returns:
        From states ``[S, m]`` to actions ``[S, n]``, physical units.
    """

    def act(states: Tensor) -> Tensor:
        observed = states.cpu().numpy()
        actions = np.empty((len(which), columns.actions), np.float32)
        for index in np.unique(which):
            mine = which == index
            actions[mine] = policies[index].act(observed[mine], rng)
        return torch.from_numpy(columns.scaled(actions)).to(states)

    return act


def _ladder(environment: str, folder: Path) -> dict[str, Policy]:
    if not (folder / f"{environment}.json").is_file():
        raise WmzooError(
            f"policies: {folder} has no ladder of {environment}; make one with `wmzoo data policies {environment} "
            f"--to DIR` and set policies=DIR, or set policies=dope:DIR."
        )
    return load_ladder(environment, folder).policies


def _dope(environment: str, folder: Path) -> dict[str, Policy]:
    stem = DOPE_FILES.get(find_environment(environment).name)
    numbered = {
        int(match[1]): path
        for path in folder.glob("*.pkl")
        if (match := re.fullmatch(rf"{stem}_online_(\d+)\.pkl", path.name))
    }
    if not numbered:
        raise WmzooError(
            f"policies: {folder} has no DOPE policies of {environment}, such as {stem or 'hopper'}_online_0.pkl."
        )
    return {numbered[number].stem: load_policy(numbered[number]) for number in sorted(numbered)}


def _check(environment: str, name: str, policy: Policy) -> None:
    columns = layout(environment)
    inputs = (policy.hidden[0] if policy.hidden else policy.mean)[0].shape[1]
    outputs = len(policy.mean[1])
    if (inputs, outputs) != (columns.states, columns.actions):
        raise WmzooError(
            f"policies: {name} takes {inputs} observed values and gives {outputs} actions, {environment} has "
            f"{columns.states} and {columns.actions}; name policies of {environment}."
        )
