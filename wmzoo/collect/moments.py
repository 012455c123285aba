"""Running means and variances of observations, and folding them into a policy's first layer."""

from __future__ import annotations

import numpy as np

from wmzoo.collect.policies import Layer


class RunningMoments:
    """Mean and variance of everything seen so far (Chan et al. 1983, parallel variance).

    Args:
        size: number of columns.
    """

    def __init__(self, size: int):
        self.count = 0
        self.mean = np.zeros(size)
        self._squares = np.zeros(size)

    def add(self, values: np.ndarray) -> None:
        """Take in more rows.

        Args:
            values: ``[rows, size]``.
        """
        mean, total = values.mean(axis=0), self.count + len(values)
        delta = mean - self.mean
        self._squares += np.square(values - mean).sum(axis=0) + delta**2 * self.count * len(values) / total
        self.mean = self.mean + delta * len(values) / total
        self.count = total

    @property
    def std(self) -> np.ndarray:
        """``[size]``; 1 before there is anything to measure, never below 1e-4."""
        return np.maximum(np.sqrt(self._squares / self.count), 1e-4) if self.count > 1 else np.ones_like(self.mean)

    def normalise(self, values: np.ndarray) -> np.ndarray:
        """Values with mean 0 and standard deviation 1."""
        return (values - self.mean) / self.std

    def fold(self, weight: np.ndarray, bias: np.ndarray) -> Layer:
        """The layer that does to raw observations what this one does to normalised ones."""
        folded = weight / self.std
        return folded.astype(np.float32), (bias - folded @ self.mean).astype(np.float32)
