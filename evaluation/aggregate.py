"""One number a model over many training and test sets: its errors as shares of TrajWorld's from scratch.

Each cell, a training set and a test set of its environment, is divided by the error of TrajWorld trained from scratch
on it (the mean over seeds); the shares are averaged over cells. The interval is over seeds, then episodes, of both: a
draw takes the same episodes and, where there are as many, the same seeds for what is divided and what it is divided by.
Below 1 is better than TrajWorld from scratch. Floors stand beside.

Paper: Yin et al. 2025 (arXiv 2502.01366), figure 1 and appendix B.3: 15 training sets by 5 test sets, by ``mae``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmzoo.evaluation import tables
from wmzoo.evaluation.bootstrap import Estimate, Sample, draws_of
from wmzoo.evaluation.entries import FLOOR, MODEL, Entry
from wmzoo.evaluation.records import RunRecord

METRICS = ("mae", "nmae")
TITLE = "Errors as shares of those of TrajWorld from scratch, mean over training and test sets"
Cell = tuple[str, str]
"""Hash of the training data, and the test set."""


def reference(records: Sequence[RunRecord], entries: Sequence[Entry]) -> list[Entry]:
    """TrajWorld from scratch, one entry for each training set; empty if there is none, or there are several of it."""
    fresh = {
        record.run_id
        for record in records
        if record.tags.get("backbone") == "trajworld" and not record.tags.get("init_from")
    }
    found = [entry for entry in entries if entry.kind == MODEL and set(entry.run_ids) <= fresh]
    return found if len({entry.manifest for entry in found}) == len(found) else []


def relative(entries: Sequence[Entry], of: Sequence[Entry], metric: str) -> dict[str, Estimate]:
    """The aggregate of each model and floor that was measured on every cell that the reference was.

    Args:
        entries: of all models and floors, on all training sets; those of one title are one model.
        of: the reference, see :func:`reference`.
        metric: ``mae``, as in the paper, or ``nmae``.

    Returns:
        By title, from the best to the worst; models before floors. The reference itself has no interval: it is 1.
    """
    whole = {(entry.manifest, key): entry.value([key], metric) for entry in of for key in entry.results[0]}
    cells = [cell for cell, value in whole.items() if value]
    base = _measured(of, cells, metric)
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        title = entry.title.removesuffix(f" {entry.manifest[:6]}")
        groups.setdefault((entry.kind, title), []).append(entry)
    found = []
    for (kind, title), own in groups.items():
        mine = _measured(own, cells, metric)
        if base is not None and mine is not None and len(cells):
            found.append((kind == FLOOR, f"floor: {title}" if kind == FLOOR else title, _share(mine, base)))
    return {title: value for _, title, value in sorted(found, key=lambda item: (item[0], item[2].mean))}


@dataclass(frozen=True, eq=False)
class _Measured:
    """Errors of each seed in each cell: the mean ``[S, C]``, and means of resampled episodes ``[S, C, D]``."""

    value: np.ndarray
    draws: np.ndarray

    def drawn(self) -> np.ndarray:
        """Means ``[C, D]`` over resampled seeds; rows of as many seeds, which are the same ones, draw the same."""
        count, _, draws = self.draws.shape
        picked = np.random.default_rng(0).integers(0, count, (count, draws))
        return np.asarray(self.draws[picked, :, np.arange(draws)].mean(0).T)  # an index on both sides comes first


def _measured(own: Sequence[Entry], cells: Sequence[Cell], metric: str) -> _Measured | None:
    """The errors of a model; None if a cell lacks, or holds an error that is not finite."""
    by_manifest = {entry.manifest: entry for entry in own}
    if any(manifest not in by_manifest or key not in by_manifest[manifest].results[0] for manifest, key in cells):
        return None
    values, draws = [], []
    for seed in range(min(len(entry.results) for entry in own)):
        samples = [(key, _sample(by_manifest[manifest].results[seed][key], metric)) for manifest, key in cells]
        values.append([np.average(errors, weights=windows) for _, (errors, windows) in samples])
        draws.append([draws_of({key: sample}) for key, sample in samples])
    return _Measured(np.array(values), np.array(draws)) if np.isfinite(values).all() else None


def _sample(cell: Mapping[str, Any], metric: str) -> Sample:
    episodes = cell["by_episode"]
    errors = [np.nan if error is None else error for error in episodes[metric]]
    return np.asarray(errors, float), np.asarray(episodes["windows"], float)


def _share(mine: _Measured, base: _Measured) -> Estimate:
    """The mean over cells of one model's error over the reference's, in every draw of the same episodes."""
    mean = float((mine.value.mean(0) / base.value.mean(0)).mean())
    drawn = (mine.drawn() / base.drawn()).mean(0)
    if not np.ptp(drawn) > 0:
        return Estimate(mean=mean)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(mean=mean, low=float(low), high=float(high))


def grid(records: Sequence[RunRecord], entries: Sequence[Entry], full: bool) -> tables.Grid | None:
    """The table of the aggregate; None without a reference, or where nothing else is compared with it.

    Args:
        records: evaluated runs.
        entries: their rows.
        full: write intervals from end to end.
    """
    of = reference(records, entries)
    if not of or not any(entry.kind == MODEL and entry not in of for entry in entries):
        return None
    found = [relative(entries, of, metric) for metric in METRICS]
    cells = str(sum(len(entry.results[0]) for entry in of))
    rows = [
        [title, tables.interval(value, full), tables.interval(found[1].get(title), full), cells]
        for title, value in found[0].items()
    ]
    models = sum(not row[0].startswith("floor: ") for row in rows)
    return tables.Grid(title=TITLE, heads=("", *METRICS, "cells"), rows=rows, bold=set(), models=models)
