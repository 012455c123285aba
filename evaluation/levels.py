"""The comparison of results by test level: models, floors, their errors with intervals, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wmzoo.errors import WmzooError
from wmzoo.evaluation import tables
from wmzoo.evaluation.cells import IN, OUT
from wmzoo.evaluation.comparison import Comparison, Picture
from wmzoo.evaluation.entries import FLOOR, MODEL, Entry, best, focus, rows
from wmzoo.evaluation.records import RunRecord, heading

LEGEND = (
    "in: test episodes of the level trained on; OOD: mean over the other levels of the environment. nmae, crps and nll "
    "are per variate in training standard deviations, mae in physical units. 95 % intervals: bootstrap over seeds, "
    "then episodes (± is half the width). Bold: the best, where its interval does not overlap the next row's.",
    "skill: share of the best floor's nmae that is removed (0: no better, below 0: worse); vs last: the same of the "
    "last value's. 50 % and 90 %: share of true values inside those central intervals. nmae@k: k steps ahead.",
)
UNRANKED = "A teacher-forced row was given the true earlier variates of the row that it predicts, so it is not ranked."


def compare(records: Sequence[RunRecord], mixed: Sequence[str] = ()) -> Comparison:
    """Compare runs.

    Args:
        records: evaluated runs.
        mixed: what they differ in although they should not.

    Raises:
        WmzooError: the runs share no horizon.
    """
    entries, horizons = rows(records), _horizons(records)
    forced = [] if all(entry.ranked for entry in entries) else [UNRANKED]
    return Comparison(
        short=grids(entries, horizons[-1], full=False),
        full=grids(entries, horizons[-1], full=True),
        caption=[
            heading(records, [len(entry.seeds) for entry in entries if entry.seeds]),
            *LEGEND,
            *forced,
            *(f"MIXED: {problem}." for problem in mixed),
        ],
        lines=[_line(entry, key, horizons) for entry in entries for key in entry.results[0]],
        pictures=_pictures(entries, horizons),
    )


def _pictures(entries: Sequence[Entry], horizons: Sequence[int]) -> dict[str, Picture]:
    """Errors; calibration, if all models were evaluated since it is kept; and a matrix, if they trained on several."""
    models = [entry for entry in entries if entry.kind == MODEL]
    found = {
        "comparison.png": Picture("errors by level and by horizon", lambda path: _errors(entries, horizons, path)),
        "variates.png": Picture("errors by variate", lambda path: _variates(entries, path)),
    }
    if all("calibration" in cell for entry in models for result in entry.results for cell in result.values()):
        found["calibration.png"] = Picture("calibration", lambda path: _calibration(models, path))
    if len({tuple(sorted(entry.keys(IN))) for entry in models}) > 1:
        found["matrix.png"] = Picture("errors by training and test level", lambda path: _matrix(models, path))
    return found


def _errors(entries: Sequence[Entry], horizons: Sequence[int], path: Path) -> None:
    from wmzoo.evaluation import figures  # matplotlib is slow to import

    figures.comparison(entries, horizons, path)


def _variates(entries: Sequence[Entry], path: Path) -> None:
    from wmzoo.evaluation import figures  # matplotlib is slow to import

    figures.variates(entries, path)


def _calibration(models: Sequence[Entry], path: Path) -> None:
    """A panel for levels trained on and one for others, a curve for each model."""
    from wmzoo.evaluation import calibration, figures

    wheres = [where for where in (IN, OUT) if any(entry.keys(where) for entry in models)]
    calibration.draw(
        {
            figures.LEVELS[where]: {e.title: e.curve(e.keys(where), "calibration") for e in models if e.keys(where)}
            for where in wheres
        },
        path,
    )


def _matrix(models: Sequence[Entry], path: Path) -> None:
    from wmzoo.evaluation import heatmap

    heatmap.draw([entry for entry in models if entry.ranked], path)


def _horizons(records: Sequence[RunRecord]) -> list[int]:
    """Steps ahead that all records share, ascending."""
    shared = set.intersection(*(set(record.result["settings"]["horizons"]) for record in records))
    if not shared:
        raise WmzooError(f"{records[0].experiment}: the runs share no horizon; evaluate them with the same horizons.")
    return sorted(shared)


def grids(entries: Sequence[Entry], horizon: int, full: bool) -> list[tables.Grid]:
    """The two tables of a comparison: the level that was trained on; then other levels, rollouts and cost.

    Args:
        entries: rows, models first.
        horizon: steps ahead of the rollout errors.
        full: write intervals from end to end, rather than as half their width.
    """
    return [_own(entries, full), _other(entries, horizon, full)]


def _own(entries: Sequence[Entry], full: bool) -> tables.Grid:
    where = focus(entries)
    title = (
        "Accuracy on the level trained on, next row" if where == IN else "Accuracy on levels not trained on, next row"
    )
    heads = ("own level (in)" if where == IN else "", "nmae", "mae", "vs last", "skill", "nll", "crps", "50 %", "90 %")
    nmae, mae = ([e.estimate(e.keys(where), name) for e in entries] for name in ("nmae", "mae"))
    rows = []
    for i, entry in enumerate(entries):
        vs_last, skill, nll, crps, half, most = (
            entry.value(entry.keys(where), name)
            for name in ("vs_last", "skill", "nll", "crps", "coverage50", "coverage90")
        )
        errors = [tables.interval(nmae[i], full), tables.interval(mae[i], full)]
        scores = [
            tables.percent(vs_last),
            tables.percent(skill),
            tables.number(nll),
            tables.number(crps),
            tables.percent(half),
            tables.percent(most),
        ]
        rows.append([_name(entry), *errors, *scores])
    bold = {(row, column) for column, found in ((1, nmae), (2, mae)) if (row := best(entries, found)) is not None}
    return _grid(title, heads, rows, bold, entries)


def _other(entries: Sequence[Entry], horizon: int, full: bool) -> tables.Grid:
    heads = ("", "OOD nmae", "OOD skill", f"nmae@{horizon}", "params", "tokens", "FLOPs", "train s", "MB", "seeds")
    nmae = [e.estimate(e.keys(OUT), "nmae") if e.keys(OUT) else None for e in entries]
    where, rows = focus(entries), []
    for i, entry in enumerate(entries):
        skill, ahead = entry.value(entry.keys(OUT), "skill"), entry.value(entry.keys(where), "nmae", horizon)
        scores = [tables.interval(nmae[i], full), tables.percent(skill), tables.number(ahead)]
        costs = [tables.count(entry.cost.get(name)) for name in tables.COSTS[:-1]]
        rows.append([_name(entry), *scores, *costs, str(len(entry.seeds) or "-")])
    row = best(entries, nmae)
    return _grid("Other levels, several steps ahead, cost", heads, rows, set() if row is None else {(row, 1)}, entries)


def _grid(
    title: str, heads: tuple[str, ...], rows: list[list[str]], bold: set[tuple[int, int]], entries: Sequence[Entry]
) -> tables.Grid:
    return tables.Grid(title=title, heads=heads, rows=rows, bold=bold, models=sum(e.kind == MODEL for e in entries))


def _name(entry: Entry) -> str:
    return f"floor: {entry.title}" if entry.kind == FLOOR else entry.title


def _line(entry: Entry, key: str, horizons: Sequence[int]) -> dict[str, object]:
    about = entry.results[0][key]
    facts = ("environment", "level", "distribution", "windows", "episodes", "rollouts", "clipped")
    scores = ("mae_state", "mae_reward", "vs_last", "skill", "mae_vs_last", "mae_skill", "nll", "crps")
    line: dict[str, object] = {"model": entry.label, "kind": entry.kind, "mode": entry.mode}
    line |= {name: about[name] for name in facts} | {"seeds": " ".join(map(str, entry.seeds))}
    for metric in ("nmae", "mae"):
        found = entry.estimate([key], metric)
        ends = (None, None, None) if found is None else (found.mean, found.low, found.high)
        line |= dict(zip((metric, f"{metric}_low", f"{metric}_high"), ends, strict=True))
    line |= {name: entry.value([key], name) for name in (*scores, "coverage50", "coverage90", "windows_per_second")}
    for k in horizons:
        line |= {f"{metric}_h{k}": entry.value([key], metric, k) for metric in ("nmae", "mae")}
    line |= {name: entry.cost.get(name) for name in tables.COSTS}
    return {**line, "manifest_hash": entry.manifest, "run_ids": " ".join(entry.run_ids)}
