"""Your own episodes: one .npz each, in Gymnasium's convention.

Arrays ``observations [L+1, m]``, ``actions [L, n]`` and ``rewards [L]``, where ``rewards[t]`` and
``observations[t+1]`` follow ``actions[t]``; optionally ``terminated`` and ``truncated`` (true or false), ``names``
``[m+1+n]`` (states, reward, actions) and ``dt`` in seconds. The folder names the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wmzoo.data.recordings import Recording, Skipped, plain_names
from wmzoo.data.sources import below
from wmzoo.trajectories import Episode


def files(path: Path) -> list[Path]:
    """The ``.npz`` files at or below a path."""
    return below(path, "*.npz")


def read(path: Path) -> Iterator[Recording | Skipped]:
    """The one episode of a file."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    rewards = arrays["rewards"].reshape(-1)
    over = _flag(arrays, "terminated", False)
    episode = Episode(
        observations=arrays["observations"],
        actions=arrays["actions"],
        rewards=rewards,
        terminated=over,
        truncated=_flag(arrays, "truncated", not over),
    )
    named = arrays.get("names")
    names = plain_names(episode.observations.shape[-1], episode.actions.shape[-1])
    yield Recording(
        environment=path.resolve().parent.name,
        level="own",
        component="own",
        names=names if named is None else tuple(map(str, named.reshape(-1).tolist())),
        dt=float(arrays["dt"]) if "dt" in arrays else 0.0,
        episode=episode,
    )


def _flag(arrays: dict[str, np.ndarray], name: str, default: bool) -> bool:
    """Whether an episode ended so: a single value, or that of its last step."""
    return bool(arrays[name].reshape(-1)[-1]) if name in arrays else default
