"""D4RL v2 files of the Gym MuJoCo tasks (HDF5).

Paper: Fu et al. 2020 (arXiv 2004.07219)
Rewards follow the state and action of their row. An episode ends at a terminal or a timeout, or where the stored next
state is not the next row's state, as at the seam of the medium-expert files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from wmzoo.data.recordings import Recording, Skipped, boundaries, followed, plain_names
from wmzoo.data.sources import below

NAME = re.compile(r"(?P<environment>[a-z0-9]+)_(?P<level>[a-z_]+)-v(?P<version>\d)")
CHUNK = 1 << 16

FOREIGN = True


def files(path: Path) -> list[Path]:
    """The ``.hdf5`` files at or below a path."""
    return below(path, "*.hdf5", "*.h5")


def read(path: Path) -> Iterator[Recording | Skipped]:
    """The episodes of one file."""
    named = NAME.fullmatch(path.stem)
    environment = named["environment"] if named else path.stem
    level = named["level"].replace("_", "-") if named else "d4rl"
    with h5py.File(path, "r") as file:
        states, actions = file["observations"].shape[1], file["actions"].shape[1]
        terminals = file["terminals"][()].astype(bool).reshape(-1)
        timeouts = file["timeouts"][()].astype(bool).reshape(-1) if "timeouts" in file else np.zeros_like(terminals)
        following = "next_observations" in file
        ends = terminals | timeouts | (_seams(file, len(terminals)) if following else False)
        for start, stop in boundaries(ends):
            rows = slice(start, stop)
            final = file["next_observations"][stop - 1] if following else None
            if stop - start < 2 and final is None:
                yield Skipped(f"{path}, row {start}", "an episode of one row without its final state")
                continue
            over = bool(terminals[stop - 1])
            episode = followed(
                file["observations"][rows], file["actions"][rows], file["rewards"][rows], final, over, not over
            )
            yield Recording(
                environment=environment,
                level=level,
                component="d4rl",
                names=plain_names(states, actions),
                episode=episode,
            )


def _seams(file: h5py.File, count: int) -> np.ndarray:
    """``[N]`` bool, rows whose stored next state is not the state of the next row."""
    found = np.zeros(count, bool)
    for start in range(0, count - 1, CHUNK):
        stop = min(start + CHUNK, count - 1)
        following, state = file["next_observations"][start:stop], file["observations"][start + 1 : stop + 1]
        found[start:stop] = np.abs(following - state).max(1, initial=0) > 1e-4 * (1 + np.abs(state).max(1, initial=0))
    return found
