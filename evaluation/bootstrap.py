"""95 % intervals of a mean over seeds and episodes, by resampling both."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
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


def estimate(seeds: Sequence[Sequence[Sample]]) -> Estimate:
    """The mean over seeds of the mean over test sets of the mean over windows, with a hierarchical bootstrap.

    A draw picks as many seeds as there are, with replacement, and of each test set as many episodes as it has, the same
    ones for all seeds: these were all tested on the same episodes, so more seeds make that part no surer.

    Args:
        seeds: for each seed, the samples of its test sets.
    """
    mean = float(np.mean([[np.average(v, weights=w) for v, w in samples] for samples in seeds]))
    alone = len(seeds) == 1 and all(len(values) == 1 for values, _ in seeds[0])
    if alone or not np.isfinite(mean):
        return Estimate(mean=mean)
    drawn = np.stack([draws_of({str(i): sample for i, sample in enumerate(samples)}) for samples in seeds])
    picked = np.random.default_rng(0).integers(0, len(seeds), (len(seeds), DRAWS))
    low, high = np.quantile(drawn[picked, np.arange(DRAWS)].mean(0), [0.025, 0.975])
    return Estimate(mean=mean, low=float(low), high=float(high))


def _resample(sample: Sample, draws: int, rng: np.random.Generator) -> np.ndarray:
    """The mean over windows of ``draws`` resamples of the episodes."""
    values, weights = sample
    picked = rng.integers(0, len(values), (draws, len(values)))
    return (values * weights)[picked].sum(1) / weights[picked].sum(1)


def draws_of(samples: Mapping[str, Sample]) -> np.ndarray:
    """``[DRAWS]`` means over test sets of the mean over windows; the same draw picks the same episodes in every run.

    Args:
        samples: by test set, all with the same episodes in every run.
    """
    seeded = {key: np.random.default_rng(zlib.crc32(key.encode())) for key in samples}
    return np.asarray(np.mean([_resample(sample, DRAWS, seeded[key]) for key, sample in samples.items()], 0))


def pooled(runs: Sequence[tuple[float, Sequence[float] | None]]) -> Estimate:
    """The mean over runs, whose own draws are known, with a hierarchical bootstrap.

    A draw picks as many runs as there are, with replacement, and of all of them the same draw: draws of one number
    resample the same first states and the same errors of the true values, which the runs have in common.

    Args:
        runs: the value of each, with its draws, if it has any.
    """
    rng = np.random.default_rng(0)
    mean = float(np.mean([value for value, _ in runs]))
    if len(runs) == 1 and not runs[0][1]:
        return Estimate(mean=mean)
    drawn = [np.asarray(draws or [value], float) for value, draws in runs]
    place, total = rng.random(DRAWS), np.zeros(DRAWS)
    for picked in rng.integers(0, len(runs), (len(runs), DRAWS)):
        for run in np.unique(picked):
            mine = picked == run
            total[mine] += drawn[run][(place[mine] * len(drawn[run])).astype(int)]
    low, high = np.quantile(total / len(runs), [0.025, 0.975])
    return Estimate(mean=mean, low=float(low), high=float(high))
