"""Splits by episode, the statistics of the training episodes alone, and the manifest that proves both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmzoo.data.statistics import SAMPLED
from wmzoo.data.store import Corpus, TrajectorySet
from wmzoo.errors import WmzooError
from wmzoo.trajectories import Variates, roles_of

CHUNK = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Split:
    """Episode indices of one set: ``train``, ``validation`` and ``test``, sorted and disjoint."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(item: TrajectorySet, *, seed: int, validation: float, test: float) -> Split:
    """Deal the episodes of a set out, at random but the same for the same seed and set.

    Args:
        item: the set.
        seed: of the shuffle.
        validation, test: shares of the episodes in ``[0, 1)``; each gets at least one episode if its share is > 0.

    Raises:
        WmzooError: too few episodes to leave one for training.
    """
    count = len(item.lengths)
    order = np.random.default_rng([seed, item.number]).permutation(count)
    tests = max(1, round(test * count)) if test else 0
    validations = max(1, round(validation * count)) if validation else 0
    if count - tests - validations < 1:
        raise WmzooError(
            f"set {item.key}: {count} episodes are too few to split into training, validation and test; "
            "collect more steps."
        )
    parts = np.split(order, [tests, tests + validations])
    return Split(test=np.sort(parts[0]), validation=np.sort(parts[1]), train=np.sort(parts[2]))


def fingerprints(item: TrajectorySet, episodes: Iterable[int]) -> list[str]:
    """A 64-bit hash of the rows of each episode, in hexadecimal: equal for copies, in whatever file they lie."""
    found = [hashlib.blake2b(item.rows(int(e)).tobytes(), digest_size=8).hexdigest() for e in episodes]
    item.forget()
    return found


def manifest(corpus: Corpus, splits: Mapping[str, Split], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a run trained, validated and may be tested on; logged with the run.

    Args:
        corpus: the corpus.
        splits: by set key.
        settings: of the split, for the record.

    Returns:
        Plain JSON; ``sha256`` covers everything but the corpus's path, ``fingerprints`` are those of the episodes
        that were trained or validated on.
    """
    sets = {
        key: {
            "sha256": corpus.sets[key].sha256,
            "train": part.train.tolist(),
            "validation": part.validation.tolist(),
            "test": part.test.tolist(),
            "fingerprints": fingerprints(corpus.sets[key], np.concatenate([part.train, part.validation])),
        }
        for key, part in splits.items()
    }
    body = {"settings": dict(settings), "sets": sets}
    sha = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return {"corpus": str(corpus.path), "sha256": sha, **body}


def known_episodes(manifest: Mapping[str, Any]) -> set[str]:
    """Fingerprints of the episodes that a run's weights may have learned from, ``earlier`` runs included."""
    own = {mark for about in manifest["sets"].values() for mark in about["fingerprints"]}
    return own | set(manifest.get("earlier", ()))


def merge_variates(
    parts: Sequence[tuple[TrajectorySet, np.ndarray]], widen: float = 0.0, trim: float = 0.0
) -> Variates:
    """Measure the columns of one environment on some episodes of its sets, and on nothing else.

    Args:
        parts: the sets of the environment, each with the indices of its training episodes.
        widen: added to each range at both ends, physical units.
        trim: share of the rows left outside of each end of a range, so that a spike does not stretch it; a variate
            that is nearly always the same, such as a sparse reward, keeps its whole range.

    Raises:
        WmzooError: a value is NaN or infinite, or the sets differ in their columns.
    """
    first = parts[0][0]
    for item, _ in parts:
        if item.names != first.names:
            raise WmzooError(f"sets {first.key} and {item.key} have different columns; name them as two environments.")
    moments = [_moments(item, episodes) for item, episodes in parts]
    count = sum(p.count for p in moments)
    mean = np.sum([p.total for p in moments], 0) / count
    variance = np.sum([p.squares for p in moments], 0) / count - mean**2
    low, high = np.min([p.low for p in moments], 0), np.max([p.high for p in moments], 0)
    low, high = _trimmed(parts, trim, low, high, count) if trim else (low, high)
    return Variates(
        names=first.names,
        roles=roles_of(first.states, first.actions),
        low=low - np.float32(widen),
        high=high + np.float32(widen),
        mean=mean.astype(np.float32),
        std=np.sqrt(np.maximum(variance, 0)).astype(np.float32),
        dt=first.dt,
    )


@dataclass(frozen=True, eq=False)
class _Moments:
    """Count, range, sum and sum of squares of the columns of some rows."""

    count: int
    low: np.ndarray
    high: np.ndarray
    total: np.ndarray
    squares: np.ndarray


def _trimmed(
    parts: Sequence[tuple[TrajectorySet, np.ndarray]], trim: float, low: np.ndarray, high: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The ranges between two quantiles of at most ``SAMPLED`` evenly spaced of the ``count`` rows."""
    every = -(-count // SAMPLED)
    chunks = (rows for item, episodes in parts for rows in _chunks(item, _mask(item, episodes)))
    sampled, seen = [], 0
    for rows in chunks:
        sampled.append(rows[-seen % every :: every])
        seen += len(rows)
    lower, upper = np.quantile(np.concatenate(sampled), [trim, 1 - trim], axis=0).astype(np.float32)
    changes = upper > lower
    return np.where(changes, lower, low), np.where(changes, upper, high)


def _mask(item: TrajectorySet, episodes: np.ndarray) -> np.ndarray:
    """``[episodes]`` bool, true for the chosen ones."""
    chosen = np.zeros(len(item.lengths), bool)
    chosen[episodes] = True
    return chosen


def _moments(item: TrajectorySet, episodes: np.ndarray) -> _Moments:
    chosen = _mask(item, episodes)
    low, high = np.full(item.data.shape[1], np.inf, "f4"), np.full(item.data.shape[1], -np.inf, "f4")
    total = squares = np.zeros(item.data.shape[1])
    count = 0
    for rows in _chunks(item, chosen):
        check_finite(item, rows)
        low, high = np.minimum(low, rows.min(0)), np.maximum(high, rows.max(0))
        wide = rows.astype(np.float64)
        total, squares, count = total + wide.sum(0), squares + (wide**2).sum(0), count + len(rows)
    return _Moments(count, low, high, total, squares)


def _chunks(item: TrajectorySet, chosen: np.ndarray) -> Iterable[np.ndarray]:
    """The rows of the chosen episodes, a bounded number at a time."""
    for start in range(0, len(item.data), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(item.data)))
        episode = item.episode_of(rows)
        kept = np.asarray(item.data[start : start + CHUNK])[chosen[episode]]
        if len(kept):
            yield kept
        item.forget()


def check_finite(item: TrajectorySet, rows: np.ndarray) -> None:
    """Refuse NaN and infinite values, with the set and the variates that hold them."""
    bad = ~np.isfinite(rows).all(0)
    if bad.any():
        names = ", ".join(np.asarray(item.names)[bad][:5])
        raise WmzooError(
            f"set {item.key}: NaN or infinite values in {names}; `wmzoo data info` counts them, remove their episodes."
        )
