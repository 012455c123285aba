"""What a run is tested on: sets and episodes that it never trained on, and the windows drawn from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmzoo.data.splits import check_finite, fingerprints, known_episodes
from wmzoo.data.store import Corpus, TrajectorySet
from wmzoo.data.terminated import as_trained
from wmzoo.data.windows import gather
from wmzoo.errors import WmzooError
from wmzoo.trajectories import Variates, Window

IN, OUT = "in", "out"
FREE, FORCED = "free-running", "teacher-forced"  # modes of models that decode a row variate by variate


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One test set.

    Attributes:
        item: the set.
        episodes: indices of the episodes to test on.
        distribution: ``in`` for a level that the run trained on, ``out`` for any other.
        seen: how many of the episodes the run trained on; 0 unless that was asked for.
    """

    item: TrajectorySet
    episodes: np.ndarray
    distribution: str
    seen: int


def choose(
    corpus: Corpus, manifest: Mapping[str, Any], variates: Mapping[str, Variates], accept_seen: bool = False
) -> list[Cell]:
    """The test sets of a run: every set of the environments that it trained on.

    Of a level that it trained on, only the episodes that its manifest kept for tests; of others, all. The manifest of
    an imported model says what its ranges and the floors were measured on; all levels are new to the model itself.

    Args:
        corpus: of the test sets.
        manifest: of the run.
        variates: the run's, by environment.
        accept_seen: take episodes that the run trained on, and mark their sets as ``in``.

    Raises:
        WmzooError: the corpus is not the run's, the run kept no test episodes, or it has seen a test episode.
    """
    for key, about in manifest["sets"].items():
        _check_trained(corpus, key, about)
    environments = {corpus.sets[key].environment for key in manifest["sets"]}
    items = [item for item in corpus.sets.values() if item.environment in environments]
    known = known_episodes(manifest)
    return [_cell(item, manifest, variates[item.environment], known, accept_seen) for item in items]


def unseen(corpus: Corpus, manifest: Mapping[str, Any], variates: Mapping[str, Variates]) -> list[Cell]:
    """The test sets of environments that a run did not train on, with all their episodes.

    Args:
        corpus: of the test sets.
        manifest: of the run.
        variates: what to take for their statistics, by environment; other environments are left out.

    Raises:
        WmzooError: the columns differ, or the run has seen an episode under another name.
    """
    known = known_episodes(manifest)
    items = [item for item in corpus.sets.values() if item.environment in variates]
    return [_cell(item, manifest, variates[item.environment], known, accept_seen=False) for item in items]


def _check_trained(corpus: Corpus, key: str, about: Mapping[str, Any]) -> None:
    """The manifest's episode indices mean something only in the set that it was written for."""
    if key not in corpus.sets:
        raise WmzooError(f"{corpus.path}: lacks {key}, which the run was trained on; use the run's own corpus.")
    if corpus.sets[key].sha256 != about["sha256"]:
        raise WmzooError(
            f"{corpus.path}: {key} is not as it was when the run was trained; restore the corpus or train again."
        )
    if not about["test"]:
        raise WmzooError(f"set {key}: the run kept no episodes for tests; train again with data.split.test above 0.")


def _cell(
    item: TrajectorySet, manifest: Mapping[str, Any], variates: Variates, known: set[str], accept_seen: bool
) -> Cell:
    plain, item = item, as_trained(item, variates)
    if item.names != variates.names:
        raise WmzooError(f"set {item.key}: its columns differ from those trained on; name it as another environment.")
    trained = item.key in manifest["sets"]
    episodes = np.asarray(manifest["sets"][item.key]["test"] if trained else np.arange(len(item.lengths)), np.int64)
    seen = [e for e, mark in zip(episodes, fingerprints(plain, episodes), strict=True) if mark in known]
    if seen and not accept_seen:
        raise WmzooError(
            f"set {item.key}: the run, or one that it started from, was trained or validated on episode {seen[0]} (one "
            f"of {len(seen)}), so this is no test; leave the set out of the corpus, or accept it as in-distribution: "
            "in_distribution=true."
        )
    inside = (trained and "imported" not in manifest) or bool(seen)
    return Cell(item=item, episodes=episodes, distribution=IN if inside else OUT, seen=len(seen))


def draw(cell: Cell, history: int, most: int) -> np.ndarray:
    """Rows to predict, evenly over the episodes, the same each time.

    Args:
        cell: the test set.
        history: rows of the same episode that must lie before each, at least 1.
        most: how many at the most.

    Returns:
        ``[N]`` row indices into the set's ``data``, ascending; empty if all episodes are too short.
    """
    offsets = cell.item.offsets
    rows = np.concatenate([np.arange(offsets[e] + history, offsets[e + 1]) for e in cell.episodes])
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    return rows


def cut(cell: Cell, rows: np.ndarray, length: int, variates: Mapping[str, Variates]) -> Window:
    """The windows whose last rows are given, ``[N, length, M]``.

    Raises:
        WmzooError: they hold NaN or infinite values.
    """
    window = gather([cell.item], np.zeros(len(rows), np.int64), rows, length, variates)
    check_finite(cell.item, window.values.flatten(0, 1).numpy())
    return window
