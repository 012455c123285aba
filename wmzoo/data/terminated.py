"""One more predicted column, ``terminated``, that a model can learn: it is no part of a corpus, but added when read.

It is 1 in the last row of an episode that terminated and 0 in every other row, and it is the last of the states, so
that every tokenizer, backbone and head treats it as one of them. Scores leave it out.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import numpy as np

from wmzoo.data.store import TrajectorySet
from wmzoo.errors import WmzooError
from wmzoo.trajectories import TERMINATED, Variates


class Flagged:
    """Rows of a set with the column added, as they are read; takes the rows' indices or a slice of them.

    Args:
        rows: ``[R, M]`` of the set, such as a memory map.
        place: where the column goes.
        ends: ``[e]`` rows in which episodes terminated, ascending.
    """

    dtype = np.dtype("<f4")

    def __init__(self, rows: np.ndarray, place: int, ends: np.ndarray):
        self._rows, self._place, self._ends = rows, place, np.append(ends, -1)  # -1 is no row, and ends every search
        self.shape = (len(rows), rows.shape[1] + 1)
        self.base = rows.base  # of which :meth:`TrajectorySet.forget` lets go

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, chosen: Any) -> np.ndarray:
        values = np.asarray(self._rows[chosen])
        index = np.arange(*chosen.indices(len(self))) if isinstance(chosen, slice) else np.asarray(chosen)
        flag = self._ends[np.searchsorted(self._ends[:-1], index)] == index
        before, after = values[..., : self._place], values[..., self._place :]
        return np.concatenate([before, flag[..., None].astype(values.dtype), after], -1)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype)


def with_terminated(item: TrajectorySet) -> TrajectorySet:
    """The set with the column; its rows stay where they are.

    Raises:
        WmzooError: it has a column of that name already.
    """
    if TERMINATED in item.names:
        raise WmzooError(f'set {item.key}: has a column "{TERMINATED}" of its own; leave data.terminated out.')
    place, ends = item.states, item.offsets[1:][item.episodes["terminated"]] - 1
    return dataclasses.replace(
        item,
        names=(*item.names[:place], TERMINATED, *item.names[place:]),
        states=place + 1,
        data=cast(np.ndarray, Flagged(item.data, place, ends)),
        bodies=(*item.bodies[:place], "", *item.bodies[place:]) if item.bodies else (),
        statistics=None,
    )


def as_trained(item: TrajectorySet, variates: Variates) -> TrajectorySet:
    """The set with the column if a model's variates have it and the set does not."""
    return with_terminated(item) if variates.terminated and TERMINATED not in item.names else item


def unit_range(variates: Variates) -> Variates:
    """The variates with the range of the column exactly 0 to 1, whether or not a training episode terminated."""
    if not variates.terminated:
        return variates
    low, high, place = variates.low.copy(), variates.high.copy(), variates.states - 1
    low[place], high[place] = 0.0, 1.0
    return dataclasses.replace(variates, low=low, high=high)
