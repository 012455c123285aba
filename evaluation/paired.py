"""Differences of two rows of a table, paired over seeds and episodes, with intervals that few seeds can't flatter.

Two runs of one seed share their data and the order of its batches, and all runs are tested on the same episodes, so a
difference varies less than either row does. The seeds of a difference are few and their spread is estimated from them:
it counts with Student's t. The episodes are many: they count with the spread of bootstrap draws. The sum of both is
the Behrens-Fisher problem, solved as Fisher did, by adding the two distributions (Kendall and Stuart, The advanced
theory of statistics, volume 2); its tests reject a true null hypothesis at most as often as they say.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

LEVEL = 0.05
NORMAL = 1e6  # degrees of freedom from which on Student's t is a normal distribution
POINTS = (np.arange(501) + 0.5) / 501


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What one run measured.

    Attributes:
        value: the mean.
        draws: means of resampled episodes, or none.
        episodes: how many were resampled; None if so many that it does not matter.
        where: equal for runs whose draws of one number resampled the same episodes.
    """

    value: float
    draws: np.ndarray
    episodes: int | None
    where: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """The runs of one row.

    Attributes:
        measured: one a run.
        units: what a run is paired by, such as its seed; empty for what was not trained, and varies with no seed.
    """

    measured: tuple[Measured, ...]
    units: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One row minus another.

    Attributes:
        mean: the difference of their means.
        low: lower end of its 95 % interval; None where nothing varies.
        high: upper end.
        p: two-sided; None where the seeds are too few to tell.
        paired: whether runs of the same seeds stand against each other.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    paired: bool = True

    @property
    def apart(self) -> bool:
        """Whether the interval, with seeds in it, leaves out 0."""
        return self.p is not None and self.p < LEVEL


# A variance of a mean, and its degrees of freedom.
Part = tuple[float, float]


def difference(mine: Group, other: Group) -> Difference:
    """One row minus another, with the interval and the significance that their runs allow.

    Args:
        mine: one row.
        other: what is subtracted.
    """
    a, b, paired = _matched(mine, other)
    mean = float(np.mean([m.value for m in a]) - np.mean([m.value for m in b]))
    if not np.isfinite(mean):
        return Difference(mean=mean, paired=paired)
    seeds, episodes = _seeds(mine, other, a, b, paired), _episodes(a, b, paired)
    parts = [part for part in (seeds, episodes) if part is not None and part[0] > 0]
    if not parts:
        return Difference(mean=mean, paired=paired)
    half = _half_width(parts)
    p = None if seeds is None else _beyond(abs(mean), parts)
    return Difference(mean=mean, low=mean - half, high=mean + half, p=p, paired=paired)


def _matched(mine: Group, other: Group) -> tuple[list[Measured], list[Measured], bool]:
    """The runs of both rows, those of one seed at the same place if both rows have the same seeds, once each."""
    a, b = list(mine.measured), list(other.measured)
    if not (mine.units and other.units):
        return a, b, True
    if sorted(mine.units) != sorted(other.units) or len(set(mine.units)) < len(mine.units):
        return a, b, False
    place = {unit: i for i, unit in enumerate(other.units)}
    return a, [b[place[unit]] for unit in mine.units], True


def _seeds(mine: Group, other: Group, a: list[Measured], b: list[Measured], paired: bool) -> Part | None:
    """What the seeds add; None where a row has one alone, and nothing is known of others."""
    if paired and mine.units and other.units:
        return _variance([x.value - y.value for x, y in zip(a, b, strict=True)])
    parts = [_variance([m.value for m in runs]) for group, runs in ((mine, a), (other, b)) if group.units]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    total = sum(variance for variance, _ in known)
    if total == 0:
        return 0.0, np.inf
    return total, total**2 / sum(variance**2 / freedom for variance, freedom in known)  # Welch (1947)


def _variance(values: Sequence[float]) -> Part | None:
    count = len(values)
    return None if count < 2 else (float(np.var(values, ddof=1)) / count, float(count - 1))


def _episodes(a: list[Measured], b: list[Measured], paired: bool) -> Part | None:
    """What the episodes add beyond what shows between seeds too."""
    runs = [*a, *b]
    if any(not len(m.draws) for m in runs):
        return None
    counts = [m.episodes for m in runs if m.episodes is not None]
    freedom = min(counts) - 1 if counts else np.inf
    if freedom < 1:
        return None
    variance = _spread(a, b)
    if paired and max(len(a), len(b)) > 1:
        each = [_spread([x], [y]) for x, y in _crossed(a, b)]
        variance -= max(0.0, (float(np.mean(each)) - variance) / (len(each) - 1))  # seeds and episodes together
    unbiased = 1.0 if np.isinf(freedom) else (freedom + 1) / freedom
    return max(0.0, variance) * unbiased, float(freedom)


def _crossed(a: list[Measured], b: list[Measured]) -> list[tuple[Measured, Measured]]:
    """Pairs of runs; what was measured once stands against each."""
    count = max(len(a), len(b))
    return list(zip(a * (count // len(a)), b * (count // len(b)), strict=True))


def _spread(a: list[Measured], b: list[Measured]) -> float:
    """The variance of the difference of two means over resampled episodes."""
    if all(m.where == a[0].where for m in (*a, *b)):
        return float(np.var(np.mean([m.draws for m in a], 0) - np.mean([m.draws for m in b], 0)))
    return _alone(a) + _alone(b)


def _alone(runs: list[Measured]) -> float:
    """The variance of a mean over resampled episodes."""
    if all(m.where == runs[0].where for m in runs):
        return float(np.var(np.mean([m.draws for m in runs], 0)))
    return float(np.sum([np.var(m.draws) for m in runs])) / len(runs) ** 2


def _beyond(size: float, parts: Sequence[Part]) -> float:
    """How often a sum of independent Student's t, scaled, lies at least so far from 0."""
    (variance, freedom), *rest = sorted(parts, reverse=True)
    shift = np.sqrt(rest[0][0]) * _quantiles(min(rest[0][1], NORMAL)) if rest else np.zeros(1)
    return float(min(1.0, 2 * stdtr(min(freedom, NORMAL), (shift - size) / np.sqrt(variance)).mean()))


@functools.lru_cache(maxsize=256)
def _quantiles(freedom: float) -> np.ndarray:
    """Of Student's t."""
    return np.asarray(stdtrit(freedom, POINTS))


def _half_width(parts: Sequence[Part]) -> float:
    """Half the width of the 95 % interval."""
    most = sum(np.sqrt(variance) * stdtrit(min(freedom, NORMAL), 1 - LEVEL / 8) for variance, freedom in parts)
    return float(brentq(lambda size: _beyond(size, parts) - LEVEL, 0.0, 1.01 * most))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Significances corrected for being many (Holm 1979); None stays and does not count.

    Args:
        values: each for itself.
    """
    order = sorted((p, i) for i, p in enumerate(values) if p is not None)
    found: list[float | None] = [None] * len(values)
    least = 0.0
    for rank, (p, i) in enumerate(order):
        least = found[i] = max(least, min(1.0, (len(order) - rank) * p))
    return found


def winner(groups: Sequence[Group | None], higher: bool = False) -> int | None:
    """Which row is the best, apart from each of the others; None if undecided.

    Args:
        groups: of what competes; None for what does not.
        higher: whether more is better.
    """
    means = {i: float(np.mean([m.value for m in g.measured])) for i, g in enumerate(groups) if g is not None}
    known = {i: mean for i, mean in means.items() if np.isfinite(mean)}
    if len(known) < 2:
        return None
    first = (max if higher else min)(known, key=lambda i: known[i])
    return first if all(_apart(groups[first], groups[i]) for i in known if i != first) else None


def _apart(first: Group | None, other: Group | None) -> bool:
    assert first is not None and other is not None
    return difference(first, other).apart
