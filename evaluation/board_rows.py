"""The rows of a comparison of boards: runs that differ in their seed alone are one row, and so is every other row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmzoo.errors import WmzooError
from wmzoo.evaluation.boards import KINDS, MODEL, Column
from wmzoo.evaluation.bootstrap import Estimate, pooled
from wmzoo.evaluation.paired import Group, Measured
from wmzoo.evaluation.records import RunRecord, labels, mean_cost, rows, settings_text, units


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One row.

    Attributes:
        label: what it is called.
        kind: ``model``, ``baseline``, ``floor`` or ``ceiling``.
        seeds: of its runs, in order; empty but for models.
        results: the row of each run's board; of one, if it is no model.
        policies: of each run's off-policy evaluation, with their true ``value`` and its ``error``; else empty.
        cost: of training, means over seeds.
        manifest: hash of its data.
        run_ids: of its runs.
        units: what its runs are paired by with those of other rows, in the order of the results.
        where: equal for rows whose draws resampled the same episodes.
    """

    label: str
    kind: str
    seeds: tuple[int, ...] = ()
    results: tuple[Mapping[str, Any], ...]
    policies: tuple[Sequence[Mapping[str, Any]], ...]
    cost: Mapping[str, float]
    manifest: str
    run_ids: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    where: str = ""

    @property
    def title(self) -> str:
        """The label; with the kind in front, if it is no model."""
        return self.label if self.kind == MODEL else f"{self.kind}: {self.label}"

    def estimate(self, metric: str) -> Estimate | None:
        """Mean of a metric over seeds with its interval; None where any seed has none."""
        found = [result["metrics"].get(metric) for result in self.results]
        known = [one for one in found if one is not None and one["value"] is not None]
        if len(known) < len(found):
            return None
        if len(known) == 1:
            return Estimate(mean=known[0]["value"], low=known[0]["low"], high=known[0]["high"])
        return pooled([(one["value"], one["draws"]) for one in known])

    def group(self, metric: str) -> Group | None:
        """What its runs measured, to be compared with other rows; None where any has nothing."""
        found = [(result["metrics"].get(metric), result) for result in self.results]
        if any(one is None or one["value"] is None for one, _ in found):
            return None
        measured = (_measured_by(one, result, self.where) for one, result in found if one is not None)
        return Group(measured=tuple(measured), units=self.units)

    @property
    def seconds(self) -> float | None:
        """What its evaluation took, mean over seeds; None if that was not measured."""
        found = [result["seconds"] for result in self.results if "seconds" in result]
        return float(np.mean(found)) if found else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Board:
    """The rows of one environment.

    Attributes:
        environment: its name.
        about: how it was evaluated, in a few words.
        rows: models from the best to the worst, then the ceiling, baselines and floors.
    """

    environment: str
    about: str
    rows: Sequence[Row]


def columns_of(records: Sequence[RunRecord]) -> list[Column]:
    """What the boards of runs of one protocol measure."""
    return [Column(**column) for column in records[0].result["columns"]]


def boards(records: Sequence[RunRecord], mixed: bool = False) -> list[Board]:
    """The boards of a comparison, one for each environment.

    Args:
        records: evaluated runs.
        mixed: whether they may differ in what is not of a model.

    Raises:
        WmzooError: what no model has a part in differs between runs.
    """
    environments = dict.fromkeys(name for record in records for name in record.result["boards"])
    return [_board(name, records, mixed) for name in environments]


def _board(environment: str, records: Sequence[RunRecord], mixed: bool) -> Board:
    first = columns_of(records)[0]
    named = [
        (label, record)
        for label, record in zip(labels(records), records, strict=True)
        if environment in record.result["boards"]
    ]
    models = [_model(label, environment, runs) for label, runs in rows([record for _, record in named])]
    return Board(
        environment=environment,
        about=named[0][1].result["boards"][environment]["about"],
        rows=[*sorted(models, key=lambda row: _order(row, first)), *_references(environment, named, mixed)],
    )


def _model(label: str, environment: str, runs: Sequence[RunRecord]) -> Row:
    own = [run.result["boards"][environment] for run in runs]
    return Row(
        label=label,
        kind=MODEL,
        seeds=tuple(run.seed for run in runs),
        results=tuple(board["rows"][MODEL] for board in own),
        policies=tuple(board.get("policies", []) for board in own),
        cost=mean_cost(runs),
        manifest=runs[0].result["manifest_hash"],
        run_ids=tuple(run.run_id for run in runs),
        units=units(runs),
        where=_where(runs[0]),
    )


def _where(record: RunRecord) -> str:
    """What decides which first states and episodes a draw resamples."""
    return f"{record.result['manifest_hash']} {settings_text(record.result['settings'])}"


def _measured_by(found: Mapping[str, Any], result: Mapping[str, Any], where: str) -> Measured:
    draws = np.asarray(found["draws"] or [], float)
    return Measured(
        value=found["value"],
        draws=draws,
        episodes=len(result["returns"]) if "returns" in result else None,
        where=(where, len(draws)),
    )


def _order(row: Row, column: Column) -> float:
    found = row.estimate(column.name)
    if found is None:
        return float("inf")
    return found.mean if column.better == "low" else -found.mean


def _references(environment: str, named: Sequence[tuple[str, RunRecord]], mixed: bool) -> list[Row]:
    """The rows that no model has a part in: each once, or once for every way in which mixed runs have it."""
    found: list[Row] = []
    measured: dict[str, list[np.ndarray]] = {}
    for label, record in named:
        board = record.result["boards"][environment]
        for name, result in board["rows"].items():
            numbers, known = _measured(board, result), measured.setdefault(name, [])
            if result["kind"] == MODEL or any(_agree(numbers, other) for other in known):
                continue
            if known and not mixed:
                raise WmzooError(
                    f'{record.experiment}: "{name}" in {environment} differs between {named[0][0]} and {label}, though '
                    "data and settings are the same; evaluate the runs again, all on one machine beside one corpus."
                )
            row = Row(
                label=f"{name} (of {label} s{record.seed})" if known else name,
                kind=result["kind"],
                results=(result,),
                policies=(board.get("policies", []),),
                cost={},
                manifest=record.result["manifest_hash"],
                where=_where(record),
            )
            known.append(numbers)
            found.append(row)
    return sorted(found, key=lambda row: KINDS.index(row.kind))


def _measured(board: Mapping[str, Any], result: Mapping[str, Any]) -> np.ndarray:
    """What a row measured, and the true values that it is judged by; times are left out, they never repeat."""
    true = [policy["value"] for policy in board.get("policies", [])]
    return np.array([*result.get("values", []), *result.get("returns", []), *true], float)


def _agree(some: np.ndarray, others: np.ndarray) -> bool:
    return some.shape == others.shape and np.allclose(some, others, rtol=1e-6, atol=1e-9, equal_nan=True)
