"""How well estimated values of policies agree with the true ones.

Definitions: Fu et al. (2021), "Benchmarks for Deep Off-Policy Evaluation", section 3.2. What Yin et al. (2025) call
rank correlation is Spearman's in their text and Pearson's in their released code; both are here under their own names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

METRICS = ("abs_error", "nabs_error", "spearman", "pearson", "regret1", "regret5")


@dataclass(frozen=True, kw_only=True, eq=False)
class Values:
    """Values of ``P`` policies.

    Attributes:
        mean: ``[P]``.
        draws: ``[D, P]`` resamples of the means, for intervals.
    """

    mean: np.ndarray
    draws: np.ndarray


def resampled(returns: np.ndarray, draws: int, seed: int = 0) -> Values:
    """Values from returns, resampling what they start from.

    Args:
        returns: ``[P, N]`` of each policy from each initial state; a resample takes the same states for all policies.
        draws: number of resamples, ``D``.
        seed: of the resamples.
    """
    count = returns.shape[1]
    picked = np.random.default_rng(seed).integers(0, count, (draws, count))
    return Values(mean=returns.mean(1), draws=np.stack([returns[:, row].mean(1) for row in picked]))


def score(estimated: Values, truth: Values) -> dict[str, Any]:
    """All metrics with 95 % intervals over initial states and over the true values' own errors.

    Args:
        estimated: of ``P`` policies, with as many draws as the truth.
        truth: of the same policies.

    Returns:
        For each of ``METRICS``: ``value``, ``low``, ``high`` and ``draws`` ``[D]``; all None where it is not defined.
    """
    found = _metrics(estimated.mean[None], truth.mean[None])
    drawn = _metrics(estimated.draws, truth.draws)
    return {name: interval(float(found[name][0]), drawn[name]) for name in METRICS}


UNDEFINED = {"value": None, "low": None, "high": None, "draws": None}


def interval(value: float, draws: np.ndarray) -> dict[str, Any]:
    """A value with its 95 % interval and the draws ``[D]`` that it is taken from; all None if it is not defined."""
    draws = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(draws):
        return dict(UNDEFINED)
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high), "draws": [float(f"{x:.5g}") for x in draws]}


def _metrics(estimated: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Each metric ``[D]`` of values ``[D, P]``; not a number where it is not defined."""
    spread = truth.max(1) - truth.min(1)
    error = np.abs(estimated - truth).mean(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "abs_error": error,
            "nabs_error": error / spread,
            "spearman": _correlation(rankdata(estimated, axis=1), rankdata(truth, axis=1)),
            "pearson": _correlation(estimated, truth),
            "regret1": _regret(estimated, truth, 1) / spread,
            "regret5": _regret(estimated, truth, 5) / spread,
        }


def _correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's, of each row of ``[D, P]``; not a number where a row hardly varies."""
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    size = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.where(size > 1e-9, (x * y).sum(1) / size, np.nan)


def _regret(estimated: np.ndarray, truth: np.ndarray, k: int) -> np.ndarray:
    """What the best of the ``k`` policies estimated highest lacks to the best of all; undefined for ``k`` or fewer.

    Where all estimates are equal they choose nothing, and there is no regret to speak of.
    """
    if truth.shape[1] <= k:
        return np.full(len(truth), np.nan)
    chosen = np.argsort(-estimated, axis=1, kind="stable")[:, :k]
    regret = truth.max(1) - np.take_along_axis(truth, chosen, 1).max(1)
    return np.where(np.ptp(estimated, axis=1) > 1e-9, regret, np.nan)
