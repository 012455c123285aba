"""The rows of a comparison: runs that differ in their seed alone are one row, and every floor is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmzoo.evaluation import paired
from wmzoo.evaluation.bootstrap import Estimate, draws_of, estimate
from wmzoo.evaluation.cells import FORCED, FREE, IN, OUT
from wmzoo.evaluation.floors import LAST
from wmzoo.evaluation.metrics import skill
from wmzoo.evaluation.paired import Group, Measured
from wmzoo.evaluation.records import RunRecord, mean_cost, units
from wmzoo.evaluation.records import rows as grouped

MODEL, FLOOR = "model", "floor"


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One row.

    Attributes:
        label: what it is called.
        kind: ``model`` or ``floor``.
        mode: of evaluation; empty for models with one only, and for floors.
        seeds: of its runs, in order; empty for a floor.
        results: for each seed (once for a floor), metrics and facts by test set.
        cost: means over seeds.
        manifest: hash of its data.
        run_ids: of its runs.
        units: what its runs are paired by with those of other rows, in the order of the results.
    """

    label: str
    kind: str
    mode: str = ""
    seeds: tuple[int, ...] = ()
    results: tuple[dict[str, dict[str, Any]], ...]
    cost: Mapping[str, float]
    manifest: str
    run_ids: tuple[str, ...] = ()
    units: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The label with the mode."""
        return f"{self.label} ({self.mode})" if self.mode else self.label

    @property
    def ranked(self) -> bool:
        """Whether it may be called the best; a teacher-forced model saw a part of what it predicts."""
        return self.mode != FORCED

    def keys(self, distribution: str) -> list[str]:
        """Its test sets that are ``in`` or ``out`` of the distribution that was trained on."""
        return [key for key, about in self.results[0].items() if about["distribution"] == distribution]

    def value(self, keys: Sequence[str], metric: str, horizon: int | None = None) -> float | None:
        """Mean of a metric over test sets and seeds; None where it has none or it is not finite.

        Args:
            keys: of the test sets.
            metric: its name.
            horizon: steps ahead, for an error of a rollout.
        """
        found = [_lookup(result[key], metric, horizon) for result in self.results for key in keys]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if found and len(known) == len(found) else None

    def curve(self, keys: Sequence[str], metric: str) -> list[float]:
        """Mean over test sets and seeds of a metric that is a list of numbers, such as ``calibration``."""
        return [float(x) for x in np.mean([result[key][metric] for result in self.results for key in keys], axis=0)]

    def estimate(self, keys: Sequence[str], metric: str) -> Estimate | None:
        """Mean of a metric over test sets and seeds with its interval; None where it is missing."""
        if self.value(keys, metric) is None:
            return None
        samples = [[_sample(result[key]["by_episode"], metric) for key in keys] for result in self.results]
        return estimate(samples)

    def group(self, keys: Sequence[str], metric: str) -> Group | None:
        """What its runs measured on test sets, to be compared with other rows; None where it is missing."""
        if not keys or self.value(keys, metric) is None:
            return None
        return Group(measured=tuple(self._measured(result, keys, metric) for result in self.results), units=self.units)

    def _measured(self, result: Mapping[str, Any], keys: Sequence[str], metric: str) -> Measured:
        samples = {key: _sample(result[key]["by_episode"], metric) for key in keys}
        counts = [(key, *result[key]["by_episode"]["episode"], *result[key]["by_episode"]["windows"]) for key in keys]
        return Measured(
            value=float(np.mean([np.average(values, weights=weights) for values, weights in samples.values()])),
            draws=draws_of(samples),
            episodes=min(len(values) for values, _ in samples.values()),
            where=(self.manifest, *counts),
        )


def _lookup(cell: Mapping[str, Any], metric: str, horizon: int | None) -> float | None:
    source = cell if horizon is None else cell["horizons"].get(str(horizon), {})
    return source.get(metric)


def _sample(episodes: Mapping[str, Any], metric: str) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(episodes[metric], float), np.asarray(episodes["windows"], float)


def rows(records: Sequence[RunRecord]) -> list[Entry]:
    """The rows of a comparison: models from the best to the worst on their own level, then floors.

    Args:
        records: evaluated runs.
    """
    models = [entry for label, runs in grouped(records) for entry in _models(label, runs)]
    firsts = {record.result["manifest_hash"]: record for record in reversed(records)}
    found = [entry for record in firsts.values() for entry in _floors(record, len(firsts) > 1)]
    return sorted(models, key=_order) + found


def _models(label: str, runs: Sequence[RunRecord]) -> list[Entry]:
    """One entry for each mode of a model; models that have one mode stand with the others' own, free-running."""
    known = dict.fromkeys(mode for run in runs for mode in run.result["modes"])
    modes = [mode for mode in known if not ("" in known and mode == FREE)]
    return [_model(label, mode, [run for run in runs if _metrics(run, mode)]) for mode in modes]


def _metrics(run: RunRecord, mode: str) -> dict[str, Any] | None:
    modes = run.result["modes"]
    return modes.get(mode) or (None if mode else modes.get(FREE))


def _model(label: str, mode: str, runs: Sequence[RunRecord]) -> Entry:
    return Entry(
        label=label,
        kind=MODEL,
        mode=mode,
        seeds=tuple(run.seed for run in runs),
        results=tuple(_joined(run.result, _metrics(run, mode) or {}) for run in runs),
        cost=mean_cost(runs),
        manifest=runs[0].result["manifest_hash"],
        run_ids=tuple(run.run_id for run in runs),
        units=units(runs),
    )


def _floors(record: RunRecord, several: bool) -> list[Entry]:
    result = record.result
    suffix = f" {result['manifest_hash'][:6]}" if several else ""
    return [
        Entry(
            label=f"{name}{suffix}",
            kind=FLOOR,
            results=(_joined(result, _with_skill(metrics, result["floors"])),),
            cost={},
            manifest=result["manifest_hash"],
        )
        for name, metrics in result["floors"].items()
    ]


def _with_skill(metrics: Mapping[str, Any], floors: Mapping[str, Any]) -> dict[str, Any]:
    """A floor's own metrics with its skill over the last value and over the best floor."""
    found = {}
    for key, cell in metrics.items():
        best = min(floor[key]["nmae"] for floor in floors.values())
        last = floors[LAST][key]["nmae"]
        found[key] = {**cell, "skill": skill(cell["nmae"], best), "vs_last": skill(cell["nmae"], last)}
    return found


def _joined(result: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Facts and metrics of each test set."""
    return {key: {**about, **metrics[key]} for key, about in result["tests"].items()}


def focus(entries: Sequence[Entry]) -> str:
    """The test sets that a comparison is mostly about: those trained on, or the others if no model was."""
    return IN if any(entry.keys(IN) for entry in entries) else OUT


def _order(entry: Entry) -> tuple[bool, float]:
    value = entry.value(entry.keys(focus([entry])), "nmae")
    return not entry.ranked, float("inf") if value is None else value


def best(entries: Sequence[Entry], keys: Sequence[Sequence[str]], metric: str) -> int | None:
    """Which row is the best: lowest, and apart from every other by its paired difference; None if undecided.

    Args:
        entries: rows; floors take part, rows that are not ranked don't.
        keys: of the test sets of each row.
        metric: an error.
    """
    ranked = [e.group(own, metric) if e.ranked else None for e, own in zip(entries, keys, strict=True)]
    return paired.winner(ranked)
