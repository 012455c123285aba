"""The comparison of boards: a table for each environment, and what the models cost."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wmzoo.errors import WmzooError, nearest
from wmzoo.evaluation import against, board_rows, paired, tables
from wmzoo.evaluation.board_rows import Board, Row
from wmzoo.evaluation.boards import CEILING, MODEL, Column, cell, legend, short
from wmzoo.evaluation.bootstrap import Estimate
from wmzoo.evaluation.comparison import Comparison, Picture
from wmzoo.evaluation.paired import Difference, Group
from wmzoo.evaluation.records import RunRecord, few, heading, seeds_text
from wmzoo.evaluation.tables import Grid

RULES = (
    "95 % intervals: bootstrap over seeds, then {resampled} (± is half the width). Bold: the best, where the 95 % "
    "interval of its paired difference from every other row leaves out 0; a ceiling is not ranked. "
    "s: seconds of evaluation."
)


def compare(
    records: Sequence[RunRecord],
    mixed: Sequence[str],
    resampled: str,
    what: str,
    draw: Callable[[Sequence[Board], Path], None],
    baseline: str = "",
) -> Comparison:
    """Compare runs.

    Args:
        records: evaluated runs.
        mixed: what they differ in although they should not.
        resampled: what the intervals of one run are drawn from, in a few words.
        what: the picture shows.
        draw: draws it.
        baseline: the row to measure the others by, if any.

    Raises:
        WmzooError: what no model has a part in differs between runs, or there is no such baseline.
    """
    columns, boards = board_rows.columns_of(records), board_rows.boards(records, bool(mixed))
    models = {row.run_ids: (row, board.environment) for board in boards for row in board.rows if row.kind == MODEL}
    costs = _costs(list(models.values()))
    made = Comparison(
        short=[*(_grid(board, columns, full=False) for board in boards), costs],
        full=[*(_grid(board, columns, full=True) for board in boards), costs],
        caption=[
            heading(records, [len(set(row.seeds)) for row, _ in models.values()]),
            legend(columns),
            RULES.format(resampled=resampled),
            *few(row.seeds for row, _ in models.values()),
            *(f"MIXED: {problem}." for problem in mixed),
        ],
        lines=[_line(board, row, columns, records) for board in boards for row in board.rows],
        pictures={"comparison.png": Picture(what, lambda path: draw(boards, path))},
    )
    return made.widened(_against(boards, columns, resampled, baseline)) if baseline else made


def _against(boards: Sequence[Board], columns: Sequence[Column], resampled: str, baseline: str) -> Comparison:
    """The rows of every board beside one of them."""
    known = {title for board in boards for title in _titles(board)}
    found = [board for board in boards if baseline in (*_titles(board), *(row.label for row in board.rows))]
    if not found:
        raise WmzooError(f'--baseline: no row "{baseline}". {nearest(baseline, known)}')
    made = [_board_against(board, columns, resampled, baseline, len(boards) > 1) for board in found]
    none = [{"baseline": baseline} for board in boards if board not in found for _ in board.rows]
    whole = functools.reduce(Comparison.beside, made)
    lines = {board.environment: list(one.lines) for board, one in zip(found, made, strict=True)}
    ordered = [line for board in boards for line in lines.get(board.environment, none[: len(board.rows)])]
    return dataclasses.replace(whole, lines=ordered, caption=list(dict.fromkeys(whole.caption)))


def _board_against(board: Board, columns: Sequence[Column], resampled: str, baseline: str, several: bool) -> Comparison:
    titles = _titles(board)
    place = against.place(titles, [row.label for row in board.rows], baseline)
    found = {c.name: against.column([row.group(c.name) for row in board.rows], place) for c in columns}
    models, title = sum(row.kind == MODEL for row in board.rows), f"{board.environment}: "
    heads = {column.head: found[column.name] for column in columns}
    short, full = (against.grid(title, titles, models, place, heads, show) for show in (_short_difference, _full))
    pictures = against.picture(titles, place, heads, of=board.environment if several else "")
    return Comparison(
        short=[short],
        full=[full],
        caption=against.caption(titles, place, list(found.values()), resampled),
        lines=[_joined(titles[place], {name: one[i] for name, one in found.items()}) for i in range(len(titles))],
        pictures=pictures,
    )


def _joined(name: str, found: Mapping[str, against.Against | None]) -> dict[str, object]:
    line: dict[str, object] = {}
    for metric, one in found.items():
        line |= against.line(name, metric, one)
    return line


def _titles(board: Board) -> list[str]:
    return [row.title for row in board.rows]


def _short_difference(found: Difference) -> str:
    return short(found.mean, found.low, found.high)


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
            for c, column in enumerate(columns, 1)
            if (best := _best(board.rows, [row.group(column.name) for row in board.rows], column)) is not None
        },
        models=sum(row.kind == MODEL for row in board.rows),
    )


def _best(rows: Sequence[Row], found: Sequence[Group | None], column: Column) -> int | None:
    """Baselines and floors take part; the true simulator is beyond what can be reached."""
    ranked = [None if row.kind == CEILING else one for row, one in zip(rows, found, strict=True)]
    return paired.winner(ranked, higher=column.better == "high")


def _costs(models: Sequence[tuple[Row, str]]) -> Grid:
    """What training cost; with the board behind the label, where runs of several boards have the same."""
    count = Counter(row.label for row, _ in models)
    rows = [
        [
            f"{row.label} ({board})" if count[row.label] > 1 else row.label,
            *(tables.count(row.cost.get(name)) for name in tables.COSTS[:-1]),
            seeds_text(row.seeds),
        ]
        for row, board in models
    ]
    heads = ("", "params", "tokens", "FLOPs", "train s", "MB", "seeds")
    return Grid(title="Cost of training", heads=heads, rows=rows, bold=set(), models=len(rows))


def _full(found: Estimate | Difference | None) -> str:
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
