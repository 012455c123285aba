"""The comparison of results by test level: models, floors, their errors with intervals, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wmzoo.errors import WmzooError
from wmzoo.evaluation import against, aggregate, tables
from wmzoo.evaluation.bootstrap import Estimate
from wmzoo.evaluation.cells import IN, OUT
from wmzoo.evaluation.comparison import Comparison, Picture
from wmzoo.evaluation.entries import FLOOR, MODEL, Entry, best, focus, rows
from wmzoo.evaluation.paired import Difference
from wmzoo.evaluation.records import RunRecord, few, heading, seeds_text

LEGEND = (
    "in: test episodes of the level trained on; OOD: mean over the other levels of the environment. nmae, crps and nll "
    "are per variate in training standard deviations, mae in physical units. 95 % intervals: bootstrap over seeds, "
    "then episodes (± is half the width). Bold: the best, where the 95 % interval of its paired difference from every "
    "other row leaves out 0.",
    "skill: share of the best floor's nmae that is removed (0: no better, below 0: worse); vs last: the same of the "
    "last value's. 50 % and 90 %: share of true values inside those central intervals. nmae@k: k steps ahead.",
)
UNRANKED = "A teacher-forced row was given the true earlier variates of the row that it predicts, so it is not ranked."


def compare(records: Sequence[RunRecord], mixed: Sequence[str] = (), baseline: str = "") -> Comparison:
    """Compare runs.

    Args:
        records: evaluated runs.
        mixed: what they differ in although they should not.
        baseline: the row to measure the others by, if any.

    Raises:
        WmzooError: the runs share no horizon, or there is no such row.
    """
    entries, horizons = rows(records), _horizons(records)
    forced = [] if all(entry.ranked for entry in entries) else [UNRANKED]
    made = _compare(entries, horizons, [*few(e.seeds for e in entries), *forced], records, mixed)
    return made.widened(_against(entries, baseline)) if baseline else made


def _compare(
    entries: Sequence[Entry],
    horizons: Sequence[int],
    notes: Sequence[str],
    records: Sequence[RunRecord],
    mixed: Sequence[str],
) -> Comparison:
    shares = [aggregate.grid(records, entries, full) for full in (False, True)]
    several = len({entry.manifest for entry in entries}) > 1 and shares[0] is not None
    return Comparison(
        # Of many training sets, a terminal shows the aggregate alone.
        short=[*([] if several else grids(entries, horizons[-1], full=False)), *filter(None, shares[:1])],
        full=[*grids(entries, horizons[-1], full=True), *filter(None, shares[1:])],
        caption=[
            heading(records, [len(set(entry.seeds)) for entry in entries if entry.seeds]),
            *LEGEND,
            *notes,
            *(f"MIXED: {problem}." for problem in mixed),
        ],
        lines=[_line(entry, key, horizons) for entry in entries for key in entry.results[0]],
        pictures=_pictures_of_many(records, entries) if several else _pictures(entries, horizons),
    )


def _against(entries: Sequence[Entry], baseline: str) -> Comparison:
    """The rows beside one of them: on the level that was trained on, on the others, and on each test set."""
    titles = [_name(entry) for entry in entries]
    place, where = against.place(titles, [e.label if e.ranked else e.title for e in entries], baseline), focus(entries)
    heads = {IN: "nmae (in)", OUT: "OOD nmae"}
    shown = [one for one in dict.fromkeys((where, OUT)) if entries[place].keys(one)]
    columns = {heads[one]: _column(entries, place, [e.keys(one) for e in entries]) for one in shown}
    models = sum(e.kind == MODEL for e in entries)
    short, full = (against.grid("", titles, models, place, columns, show) for show in (_short, _full))
    sets = list(entries[place].results[0])
    each = {key: _column(entries, place, [[key] if key in e.results[0] else [] for e in entries]) for key in sets}
    panels = {against.PANELS.get(head, head): column for head, column in columns.items()}
    return Comparison(
        short=[short],
        full=[full],
        caption=against.caption(titles, place, list(columns.values()), "episodes"),
        lines=[
            against.line(titles[place], "nmae", each[key][i] if key in each else None)
            for i, entry in enumerate(entries)
            for key in entry.results[0]
        ],
        pictures=against.picture(titles, place, panels, "nmae in training std"),
    )


def _column(entries: Sequence[Entry], place: int, keys: Sequence[Sequence[str]]) -> against.Column:
    groups = [entry.group(own, "nmae") for entry, own in zip(entries, keys, strict=True)]
    return against.column(groups, place)


def _full(found: Difference) -> str:
    return tables.interval(Estimate(mean=found.mean, low=found.low, high=found.high), full=True)


def _short(found: Difference) -> str:
    return tables.interval(Estimate(mean=found.mean, low=found.low, high=found.high), full=False)


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


def _pictures_of_many(records: Sequence[RunRecord], entries: Sequence[Entry]) -> dict[str, Picture]:
    """Of many training sets: one number a model, and all numbers in a matrix; a bar for each could not be read."""
    models = [entry for entry in entries if entry.kind == MODEL]
    return {
        "comparison.png": Picture("shares of the errors of TrajWorld", lambda path: _shares(records, entries, path)),
        "matrix.png": Picture("errors by training and test level", lambda path: _matrix(models, path)),
    }


def _shares(records: Sequence[RunRecord], entries: Sequence[Entry], path: Path) -> None:
    from wmzoo.evaluation import figures  # matplotlib is slow to import

    found = aggregate.relative(entries, aggregate.reference(records, entries), aggregate.METRICS[0])
    figures.shares(found, aggregate.TITLE, path)


def _errors(entries: Sequence[Entry], horizons: Sequence[int], path: Path) -> None:
    from wmzoo.evaluation import figures  # matplotlib is slow to import

    figures.comparison(entries, horizons, path)


def _variates(entries: Sequence[Entry], path: Path) -> None:
    from wmzoo.evaluation import figures  # matplotlib is slow to import

    figures.variates(entries, path)


def _calibration(models: Sequence[Entry], path: Path) -> None:
    """A panel for levels trained on and one for others, a curve for each model."""
    from wmzoo.evaluation import calibration, figures

    styles = {e.title: {**figures.marker(models, i), "ls": "-" if e.ranked else "--"} for i, e in enumerate(models)}
    wheres = [where for where in (IN, OUT) if any(entry.keys(where) for entry in models)]
    calibration.draw(
        {
            figures.LEVELS[where]: {e.title: e.curve(e.keys(where), "calibration") for e in models if e.keys(where)}
            for where in wheres
        },
        path,
        styles,
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
    keys = [entry.keys(where) for entry in entries]
    bold = {(row, c) for c, name in ((1, "nmae"), (2, "mae")) if (row := best(entries, keys, name)) is not None}
    return _grid(title, heads, rows, bold, entries)


def _other(entries: Sequence[Entry], horizon: int, full: bool) -> tables.Grid:
    heads = ("", "OOD nmae", "OOD skill", f"nmae@{horizon}", "params", "tokens", "FLOPs", "train s", "MB", "seeds")
    nmae = [e.estimate(e.keys(OUT), "nmae") if e.keys(OUT) else None for e in entries]
    where, rows = focus(entries), []
    for i, entry in enumerate(entries):
        skill, ahead = entry.value(entry.keys(OUT), "skill"), entry.value(entry.keys(where), "nmae", horizon)
        scores = [tables.interval(nmae[i], full), tables.percent(skill), tables.number(ahead)]
        costs = [tables.count(entry.cost.get(name)) for name in tables.COSTS[:-1]]
        rows.append([_name(entry), *scores, *costs, seeds_text(entry.seeds)])
    row = best(entries, [entry.keys(OUT) for entry in entries], "nmae")
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
