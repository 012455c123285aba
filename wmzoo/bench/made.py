"""Made-up data of any size for measurements: smooth random rows, with the columns of Walker2d."""

from __future__ import annotations

from collections.abc import Sequence
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
    sets = (_set("made", number, STATES, SET_EPISODES) for number in range(max(1, round(megabytes / each + 0.5))))
    write_corpus(path, sets, {"made": "for measurements"})
    return path


def made_environments(path: Path, states: Sequence[int]) -> Path:
    """Write a small corpus with an environment for each of some numbers of states."""
    sets = (_set(f"made-{count}", number, count, 10) for number, count in enumerate(states))
    write_corpus(path, sets, {"made": "for measurements"})
    return path


def _set(environment: str, number: int, states: int, episodes: int) -> TrajectorySet:
    actions = min(states, ACTIONS)
    names = [*(f"x{i}" for i in range(states)), "reward", *(f"action:{i}" for i in range(actions))]
    records = np.zeros(episodes, EPISODE)
    records["truncated"] = True
    rows = np.random.default_rng(number).standard_normal((episodes, EPISODE_ROWS, len(names)), np.float32)
    smooth = list((rows + np.roll(rows, 1, 1) + np.roll(rows, 2, 1)) / 3)
    return make_set(environment, f"set{number}", names, states, 0.05, smooth, records, {"made": "random numbers"})


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
