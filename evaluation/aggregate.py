"""One number a model over many training and test sets: its errors as shares of TrajWorld's from scratch.

Each cell, a training set and a test set of its environment, is divided by the error of TrajWorld trained from scratch
on it (the mean over seeds); the shares are averaged over cells, and the interval is over seeds, then episodes. Below 1
is better than TrajWorld from scratch. Floors stand beside.

Paper: Yin et al. 2025 (arXiv 2502.01366), figure 1 and appendix B.3: 15 training sets by 5 test sets, by ``mae``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from wmzoo.evaluation import tables
from wmzoo.evaluation.bootstrap import Estimate, estimate
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
        By title, from the best to the worst; models before floors.
    """
    whole = {(entry.manifest, key): entry.value([key], metric) for entry in of for key in entry.results[0]}
    least = {cell: value for cell, value in whole.items() if value}
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        title = entry.title.removesuffix(f" {entry.manifest[:6]}")
        groups.setdefault((entry.kind, title), []).append(entry)
    found = []
    for (kind, title), own in groups.items():
        seeds = list(_samples(own, least, metric))
        if seeds and np.isfinite([value for samples in seeds for values, _ in samples for value in values]).all():
            found.append((kind == FLOOR, f"floor: {title}" if kind == FLOOR else title, estimate(seeds)))
    return {title: value for _, title, value in sorted(found, key=lambda item: (item[0], item[2].mean))}


def _samples(
    own: Sequence[Entry], least: Mapping[Cell, float], metric: str
) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """For each seed of a model, the relative errors of the episodes of each cell; nothing if a cell lacks."""
    by_manifest = {entry.manifest: entry for entry in own}
    count = min((len(entry.results) for entry in own), default=0)
    if any(manifest not in by_manifest or key not in by_manifest[manifest].results[0] for manifest, key in least):
        return
    for seed in range(count):
        samples = []
        for (manifest, key), value in least.items():
            episodes = by_manifest[manifest].results[seed][key]["by_episode"]
            errors = np.asarray([np.nan if e is None else e for e in episodes[metric]], float)
            samples.append((errors / value, np.asarray(episodes["windows"], float)))
        yield samples


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
