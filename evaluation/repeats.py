"""Whether runs that were repeated gave the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wmzoo import evaluation
from wmzoo.evaluation.records import RunRecord, settings_text

TIMES = ("windows_per_second", "ms")  # never repeat
TOLERANCE = 1e-6
"""Relative; what another batch size of the evaluation may change."""


def repeated(records: Sequence[RunRecord]) -> list[str]:
    """A sentence for each run whose repetition gave other numbers, and one for those that gave the same.

    Runs are repetitions if recipe, seed and data are the same, and so are the protocol and its settings.

    Args:
        records: evaluated runs, with the older ones that they replace.
    """
    said, same = [], 0
    for record in records:
        older = [run for run in record.older if _asked(run) == _asked(record)]
        apart = [words for run in older if (words := _apart(record, run))]
        same += len(older) - len(apart)
        said += [f"NOT REPRODUCED: {record.name} s{record.seed}, same recipe, seed and data: {one}." for one in apart]
    return said + ([f"Repeated runs with the same numbers, to {TOLERANCE:g}: {same}."] if same else [])


def _asked(record: RunRecord) -> tuple[str, str]:
    return record.result["protocol"], settings_text(record.result["settings"])


def _apart(record: RunRecord, older: RunRecord) -> str:
    """The number that differs most, in words; empty if none does."""
    mine, theirs = _numbers(record), _numbers(older)
    only = mine.keys() ^ theirs.keys()
    if only:
        return f"run {record.run_id[:8]} and run {older.run_id[:8]} do not both have {min(only)}; the newer is shown"
    sizes = {name: _relative(mine[name], theirs[name]) for name in mine}
    differing = [name for name, size in sizes.items() if not size <= TOLERANCE]
    if not differing:
        return ""
    worst = max(differing, key=lambda name: sizes[name])
    return (
        f"{len(differing)} of {len(mine)} numbers differ, {worst} most: {mine[worst]:.6g} in run {record.run_id[:8]}, "
        f"{theirs[worst]:.6g} in run {older.run_id[:8]}; the newer is shown"
    )


def _numbers(record: RunRecord) -> Mapping[str, float]:
    found = evaluation.find(record.result["protocol"]).summary(record.result)
    return {name: value for name, value in found.items() if name.rpartition("/")[2] not in TIMES}


def _relative(x: float, y: float) -> float:
    if x == y or (np.isnan(x) and np.isnan(y)):
        return 0.0
    return abs(x - y) / max(abs(x), abs(y), 1e-9)
