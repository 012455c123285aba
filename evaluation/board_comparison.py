"""The comparison of boards: a table for each environment, and what the models cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from wmzoo.evaluation import board_rows, tables
from wmzoo.evaluation.board_rows import Board, Row
from wmzoo.evaluation.boards import CEILING, MODEL, Column, cell, legend, short
from wmzoo.evaluation.bootstrap import Estimate, winner
from wmzoo.evaluation.comparison import Comparison, Picture
from wmzoo.evaluation.records import RunRecord, heading
from wmzoo.evaluation.tables import Grid

RULES = (
    "95 % intervals: bootstrap over seeds, then {resampled} (± is half the width). Bold: the best, where its interval "
    "does not overlap the next row's; a ceiling is not ranked. s: seconds of evaluation."
)


def compare(
    records: Sequence[RunRecord],
    mixed: Sequence[str],
    resampled: str,
    what: str,
    draw: Callable[[Sequence[Board], Path], None],
) -> Comparison:
    """Compare runs.

    Args:
        records: evaluated runs.
        mixed: what they differ in although they should not.
        resampled: what the intervals of one run are drawn from, in a few words.
        what: the picture shows.
        draw: draws it.

    Raises:
        WmzooError: what no model has a part in differs between runs.
    """
    columns, boards = board_rows.columns_of(records), board_rows.boards(records, bool(mixed))
    models = list({row.run_ids: row for board in boards for row in board.rows if row.kind == MODEL}.values())
    return Comparison(
        short=[*(_grid(board, columns, full=False) for board in boards), _costs(models)],
        full=[*(_grid(board, columns, full=True) for board in boards), _costs(models)],
        caption=[
            heading(records, [len(row.seeds) for row in models]),
            legend(columns),
            RULES.format(resampled=resampled),
            *(f"MIXED: {problem}." for problem in mixed),
        ],
        lines=[_line(board, row, columns, records) for board in boards for row in board.rows],
        pictures={"comparison.png": Picture(what, lambda path: draw(boards, path))},
    )


def _grid(board: Board, columns: Sequence[Column], full: bool) -> Grid:
    estimates = [[row.estimate(column.name) for row in board.rows] for column in columns]
    shown = _full if full else _short
    return Grid(
        title=f"{board.environment}: {board.about}",
        heads=("", *(column.head for column in columns), "s"),
        rows=[
            [row.title, *(shown(found[i]) for found in estimates), _seconds(row.seconds)]
            for i, row in enumerate(board.rows)
        ],
        bold={
            (best, c)
            for c, (column, found) in enumerate(zip(columns, estimates, strict=True), 1)
            if (best := _best(board.rows, found, column)) is not None
        },
        models=sum(row.kind == MODEL for row in board.rows),
    )


def _best(rows: Sequence[Row], found: Sequence[Estimate | None], column: Column) -> int | None:
    """Baselines and floors take part; the true simulator is beyond what can be reached."""
    ranked = [None if row.kind == CEILING else one for row, one in zip(rows, found, strict=True)]
    return winner(ranked, higher=column.better == "high")


def _costs(models: Sequence[Row]) -> Grid:
    """What training cost."""
    rows = [
        [row.label, *(tables.count(row.cost.get(name)) for name in tables.COSTS[:-1]), str(len(row.seeds))]
        for row in models
    ]
    heads = ("", "params", "tokens", "FLOPs", "train s", "MB", "seeds")
    return Grid(title="Cost of training", heads=heads, rows=rows, bold=set(), models=len(rows))


def _full(found: Estimate | None) -> str:
    return cell(None if found is None else {"value": found.mean, "low": found.low, "high": found.high})


def _short(found: Estimate | None) -> str:
    return "-" if found is None else short(found.mean, found.low, found.high)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _line(board: Board, row: Row, columns: Sequence[Column], records: Sequence[RunRecord]) -> dict[str, object]:
    """A line of the CSV file."""
    trained = {key for r in records if r.result["manifest_hash"] == row.manifest for key in r.result["trained_on"]}
    line: dict[str, object] = {"environment": board.environment, "model": row.label, "kind": row.kind}
    line |= {"trained_on": " ".join(sorted(trained)), "seeds": " ".join(map(str, row.seeds))}
    for column in columns:
        found = row.estimate(column.name)
        ends = (None, None, None) if found is None else (found.mean, found.low, found.high)
        names = (column.name, f"{column.name}_low", f"{column.name}_high")
        line |= dict(zip(names, ends, strict=True))
    line |= {"seconds": row.seconds, **{name: row.cost.get(name) for name in tables.COSTS}}
    return {**line, "manifest_hash": row.manifest, "run_ids": " ".join(row.run_ids)}
