"""MACAW's buffers of Walker2d with varied parameters (HDF5).

Paper: Mitchell et al. 2021 (arXiv 2008.06043)
Each trajectory is stored last step first; a new one begins where the discount to its end is that of one step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from wmzoo.data.recordings import Recording, Skipped, boundaries, followed, plain_names
from wmzoo.data.sources import below

TASK = re.compile(r"train_(?:task)?(\d+)")

FOREIGN = True


def files(path: Path) -> list[Path]:
    """The ``buffers_*.hdf5`` files at or below a path."""
    return below(path, "buffers_*.hdf5")


def read(path: Path) -> Iterator[Recording | Skipped]:
    """The episodes of one file."""
    task = TASK.search(path.stem)
    with h5py.File(path, "r") as file:
        discount = float(file["discount_factor"][()])
        begins = np.isclose(file["terminal_discounts"][()].reshape(-1), discount, rtol=1e-6)
        if not len(begins) or not begins[0]:
            raise ValueError("its first row is not the end of a trajectory")
        names = plain_names(file["obs"].shape[1], file["actions"].shape[1])
        for start, stop in boundaries(np.append(begins[1:], True)):
            rows = slice(start, stop)
            states, actions, rewards = (file[name][rows][::-1] for name in ("obs", "actions", "rewards"))
            if not np.array_equal(file["next_obs"][rows][::-1][:-1], states[1:]):
                yield Skipped(f"{path}, row {start}", "its next states are not the states that follow")
                continue
            over = bool(file["terminals"][start].reshape(-1)[0])
            episode = followed(states, actions, rewards, file["next_obs"][start], over, not over)
            yield Recording(
                environment="walker2d-params",
                level=f"task{task[1]}" if task else path.stem,
                component="macaw",
                names=names,
                episode=episode,
            )
