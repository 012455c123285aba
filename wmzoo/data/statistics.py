"""What is stored of every variate of a set beside its rows: range, moments, quantiles and typical change."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

QUANTILES = {"q001": 0.001, "q01": 0.01, "q50": 0.5, "q99": 0.99, "q999": 0.999}
STATISTICS = np.dtype(
    [(name, "<f4") for name in ("low", "high", "mean", "std", *QUANTILES, "change", "at_low", "at_high")]
)
"""One record a variate, physical units; ``change`` is the mean absolute change over a step inside episodes,
``at_low`` and ``at_high`` are the shares of rows at the ends of the range, where a sensor or an action saturates."""

SAMPLED = 1 << 18
CHUNK = 1 << 18


@np.errstate(invalid="ignore")  # NaN is for `wmzoo data check` to report
def measure(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The statistics of the columns of a set, in bounded memory.

    Args:
        data: ``[R, M]`` rows.
        offsets: ``[episodes + 1]`` row at which each episode begins.

    Returns:
        ``[M]`` records; quantiles are those of at most ``SAMPLED`` evenly spaced rows.
    """
    found = np.zeros(data.shape[1], STATISTICS)
    found["low"], found["high"] = np.inf, -np.inf
    total, squares, change = (np.zeros(data.shape[1]) for _ in range(3))
    for rows, moved in _chunks(data, offsets):
        found["low"], found["high"] = np.minimum(found["low"], rows.min(0)), np.maximum(found["high"], rows.max(0))
        wide = rows.astype(np.float64)
        total, squares, change = total + wide.sum(0), squares + (wide**2).sum(0), change + moved.sum(0)
    count = len(data)
    found["mean"] = total / count
    found["std"] = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0))
    found["change"] = change / max(count - len(offsets) + 1, 1)
    sampled = np.asarray(data[:: max(1, count // SAMPLED)])
    for name, values in zip(QUANTILES, np.quantile(sampled, list(QUANTILES.values()), axis=0), strict=True):
        found[name] = values
    found["at_low"], found["at_high"] = (sampled == found["low"]).mean(0), (sampled == found["high"]).mean(0)
    return found


def _chunks(data: np.ndarray, offsets: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows a chunk at a time, with the absolute changes that led to them inside their episodes."""
    for start in range(0, len(data), CHUNK):
        rows = np.asarray(data[start : start + CHUNK])
        before = np.asarray(data[max(start - 1, 0) : start + len(rows) - 1])
        after = rows[len(rows) - len(before) :]
        first = np.isin(np.arange(start + len(rows) - len(before), start + len(rows)), offsets)
        yield rows, np.abs(after - before)[~first]
