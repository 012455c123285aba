"""What a model must beat: three forecasts that need no world model, given the same windows.

A floor takes the history ``values [B, T, M]`` with ``valid [B, T]``, and the actions ``[B, k, n]`` of the next
``k`` steps (the first one is that of the last row), all numpy arrays in physical units, and gives the states and the
reward ``[B, J]`` after ``k`` steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from wmzoo.data.store import TrajectorySet
from wmzoo.trajectories import Variates

Floor = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

LAST, MEAN, RIDGE = "last value", "history mean", "ridge"
NAMES = (LAST, MEAN, RIDGE)
MOST_ROWS = 200_000  # transitions that the linear model is fitted on; more change it in the fourth digit


def fit(parts: Sequence[tuple[TrajectorySet, np.ndarray]], variates: Variates) -> dict[str, Floor]:
    """The floors of one environment, by name.

    Args:
        parts: sets and the indices of the episodes that the run was trained on.
        variates: their statistics.
    """
    return {LAST: last_value, MEAN: history_mean, RIDGE: Ridge(parts, variates)}


def last_value(values: np.ndarray, valid: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The states and the reward stay as they are."""
    return values[:, -1, : values.shape[2] - actions.shape[2]]


def history_mean(values: np.ndarray, valid: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The states and the reward are their mean over the rows of the history that are not padding."""
    seen = values[:, :, : values.shape[2] - actions.shape[2]] * valid[:, :, None]
    return seen.sum(1) / valid.sum(1)[:, None]


class Ridge:
    """A linear model of the change of states and reward, from the last row alone, applied step by step.

    Inputs and changes are standardised by the training statistics; the penalty is scikit-learn's default, 1.

    Args:
        parts: sets and the indices of their training episodes.
        variates: their statistics.
    """

    def __init__(self, parts: Sequence[tuple[TrajectorySet, np.ndarray]], variates: Variates):
        from sklearn.linear_model import Ridge as Regression  # slow to import, and not needed to read settings

        self.mean = variates.mean.astype(np.float64)
        self.scale = np.where(variates.std > 1e-6, variates.std, 1.0).astype(np.float64)
        self.predicted = variates.predicted
        before, after = (self._standard(rows) for rows in _transitions(parts))
        self.model = Regression(alpha=1.0).fit(before, (after - before)[:, : self.predicted])

    def __call__(self, values: np.ndarray, valid: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Forecast ``[B, J]``; the arguments are those of every floor."""
        row = self._standard(values[:, -1])
        states = slice(None, self.predicted)
        for step in range(actions.shape[1]):
            row[:, self.predicted :] = self._standard(actions[:, step], slice(self.predicted, None))
            row[:, states] += self.model.predict(row)
        return row[:, states] * self.scale[states] + self.mean[states]

    def _standard(self, rows: np.ndarray, columns: slice = slice(None)) -> np.ndarray:
        return (rows.astype(np.float64) - self.mean[columns]) / self.scale[columns]


def _transitions(parts: Sequence[tuple[TrajectorySet, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows ``[R, M]`` and the rows that follow them, evenly over all training episodes."""
    before, after = [], []
    total = sum(int((item.lengths[episodes] - 1).sum()) for item, episodes in parts)
    every = -(-total // MOST_ROWS)
    for item, episodes in parts:
        rows = np.concatenate([np.arange(item.offsets[e], item.offsets[e + 1] - 1) for e in episodes])[::every]
        before.append(item.data[rows])
        after.append(item.data[rows + 1])
    return np.concatenate(before), np.concatenate(after)
