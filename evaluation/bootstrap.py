"""95 % intervals of a mean over seeds and episodes, by resampling both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000

# Of one test set: the mean of each episode and its number of windows.
Sample = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean and its 95 % interval; ``low`` and ``high`` are None where there is nothing to resample."""

    mean: float
    low: float | None = None
    high: float | None = None

    def below(self, other: Estimate) -> bool:
        """Whether the whole interval lies under that of another; never without both intervals."""
        return self.high is not None and other.low is not None and self.high < other.low


def estimate(seeds: Sequence[Sequence[Sample]]) -> Estimate:
    """The mean over seeds of the mean over test sets of the mean over windows, with a hierarchical bootstrap.

    A draw picks as many seeds as there are, with replacement, and for each pick anew as many episodes of each of its
    test sets as it has.

    Args:
        seeds: for each seed, the samples of its test sets.
    """
    rng = np.random.default_rng(0)
    mean = float(np.mean([[np.average(v, weights=w) for v, w in samples] for samples in seeds]))
    alone = len(seeds) == 1 and all(len(values) == 1 for values, _ in seeds[0])
    if alone or not np.isfinite(mean):
        return Estimate(mean=mean)
    total = np.zeros(DRAWS)
    for picked in rng.integers(0, len(seeds), (len(seeds), DRAWS)):
        for seed in np.unique(picked):
            mine = picked == seed
            total[mine] += np.mean([_resample(sample, int(mine.sum()), rng) for sample in seeds[seed]], 0)
    low, high = np.quantile(total / len(seeds), [0.025, 0.975])
    return Estimate(mean=mean, low=float(low), high=float(high))


def _resample(sample: Sample, draws: int, rng: np.random.Generator) -> np.ndarray:
    """The mean over windows of ``draws`` resamples of the episodes."""
    values, weights = sample
    picked = rng.integers(0, len(values), (draws, len(values)))
    return (values * weights)[picked].sum(1) / weights[picked].sum(1)
