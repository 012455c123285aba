"""Made-up data of any size for measurements: smooth random rows, with the columns of Walker2d."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wmzoo.data.store import EPISODE, TrajectorySet, make_set, write_corpus
from wmzoo.trajectories import ACTION, REWARD, STATE, Variates, Window, window_of

STATES, ACTIONS = 17, 6
COLUMNS = STATES + 1 + ACTIONS
EPISODE_ROWS, SET_EPISODES = 1001, 100


def made_corpus(path: Path, megabytes: float) -> Path:
    """Write a corpus of at least so many MB, and of one set at the least; its rows are smooth noise."""
    each = EPISODE_ROWS * SET_EPISODES * COLUMNS * 4 / 1e6
    write_corpus(path, _sets(max(1, round(megabytes / each + 0.5))), {"made": "for measurements"})
    return path


def _sets(count: int) -> Iterator[TrajectorySet]:
    names = [*(f"x{i}" for i in range(STATES)), "reward", *(f"action:{i}" for i in range(ACTIONS))]
    records = np.zeros(SET_EPISODES, EPISODE)
    records["truncated"] = True
    for number in range(count):
        rng = np.random.default_rng(number)
        rows = rng.standard_normal((SET_EPISODES, EPISODE_ROWS, COLUMNS), np.float32)
        smooth = (rows + np.roll(rows, 1, 1) + np.roll(rows, 2, 1)) / 3
        yield make_set("made", f"set{number}", names, STATES, 0.05, list(smooth), records, {"made": "random numbers"})


def made_variates() -> Variates:
    """Columns of the width of HalfCheetah's and Walker2d's, without a corpus."""
    roles = np.array([STATE] * STATES + [REWARD] + [ACTION] * ACTIONS)
    ones = np.ones(len(roles), "f4")
    names = tuple(f"column {i}" for i in range(len(roles)))
    return Variates(names=names, roles=roles, low=-ones, high=ones, mean=0 * ones, std=ones, dt=0.05)


def uniform(*shape: int) -> Tensor:
    """Numbers between -1 and 1, the same each time."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def made_window(variates: Variates, count: int, rows: int) -> Window:
    """A window ``[count, rows, M]`` of them."""
    return window_of(uniform(count, rows, len(variates.names)), variates)
