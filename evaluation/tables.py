"""A comparison as text: for a terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from wmzoo.evaluation.bootstrap import Estimate
from wmzoo.evaluation.cells import IN, OUT
from wmzoo.evaluation.entries import FLOOR, MODEL, Entry, best, focus

COSTS = ("parameters", "train_tokens", "train_flops", "train_seconds", "peak_memory_mb", "steps")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of finished cells.

    Attributes:
        title: in a few words.
        heads: one a column.
        rows: one cell a column each.
        bold: (row, column) of the best.
        models: how many of the rows are models; the others are floors.
    """

    title: str
    heads: tuple[str, ...]
    rows: list[list[str]]
    bold: set[tuple[int, int]]
    models: int


def grids(entries: Sequence[Entry], horizon: int, full: bool) -> list[Grid]:
    """The two tables of a comparison: the level that was trained on; then other levels, rollouts and cost.

    Args:
        entries: rows, models first.
        horizon: steps ahead of the rollout errors.
        full: write intervals from end to end, rather than as half their width.
    """
    return [_own(entries, full), _other(entries, horizon, full)]


def _own(entries: Sequence[Entry], full: bool) -> Grid:
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
        errors = [_interval(nmae[i], full), _interval(mae[i], full)]
        scores = [_percent(vs_last), _percent(skill), _number(nll), _number(crps), _percent(half), _percent(most)]
        rows.append([_name(entry), *errors, *scores])
    bold = {(row, column) for column, found in ((1, nmae), (2, mae)) if (row := best(entries, found)) is not None}
    return _grid(title, heads, rows, bold, entries)


def _other(entries: Sequence[Entry], horizon: int, full: bool) -> Grid:
    heads = ("", "OOD nmae", "OOD skill", f"nmae@{horizon}", "params", "tokens", "FLOPs", "train s", "MB", "seeds")
    nmae = [e.estimate(e.keys(OUT), "nmae") if e.keys(OUT) else None for e in entries]
    where, rows = focus(entries), []
    for i, entry in enumerate(entries):
        skill, ahead = entry.value(entry.keys(OUT), "skill"), entry.value(entry.keys(where), "nmae", horizon)
        scores = [_interval(nmae[i], full), _percent(skill), _number(ahead)]
        costs = [_count(entry.cost.get(name)) for name in COSTS[:-1]]
        rows.append([_name(entry), *scores, *costs, str(len(entry.seeds) or "-")])
    row = best(entries, nmae)
    return _grid("Other levels, several steps ahead, cost", heads, rows, set() if row is None else {(row, 1)}, entries)


def _grid(
    title: str, heads: tuple[str, ...], rows: list[list[str]], bold: set[tuple[int, int]], entries: Sequence[Entry]
) -> Grid:
    return Grid(title=title, heads=heads, rows=rows, bold=bold, models=sum(e.kind == MODEL for e in entries))


def _name(entry: Entry) -> str:
    return f"floor: {entry.title}" if entry.kind == FLOOR else entry.title


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}".replace("-0%", "0%")


def _count(value: float | None) -> str:
    """Three digits and a prefix of a thousand; FLOPs of long runs go beyond T."""
    if value is None:
        return "-"
    for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.3g}"


def _interval(estimate: Estimate | None, full: bool) -> str:
    if estimate is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:.4f}"
    if full:
        return f"{estimate.mean:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"
    return f"{estimate.mean:.4f} ±{(estimate.high - estimate.low) / 2:.4f}"


def terminal(grid: Grid) -> Table:
    """A rich table of at most 100 columns, for names of usual length."""
    table = Table(
        title=grid.title, title_justify="left", title_style="bold", box=None, pad_edge=False, collapse_padding=True
    )
    for i, head in enumerate(grid.heads):
        table.add_column(head, justify="right" if i else "left", no_wrap=bool(i), header_style="dim")
    for r, row in enumerate(grid.rows):
        cells = [f"[bold]{cell}[/bold]" if (r, c) in grid.bold else cell for c, cell in enumerate(row)]
        table.add_row(*cells, style="dim" if r >= grid.models else None, end_section=r + 1 == grid.models)
    return table


def markdown(grid: Grid) -> str:
    """A Markdown table under its title."""
    ruler = ["---", *["---:"] * (len(grid.heads) - 1)]
    body = [
        [f"**{cell}**" if (r, c) in grid.bold else cell for c, cell in enumerate(row)]
        for r, row in enumerate(grid.rows)
    ]
    lines = [f"| {' | '.join(line)} |" for line in (list(grid.heads), ruler, *body)]
    return f"### {grid.title}\n\n" + "\n".join(lines) + "\n"


def as_csv(entries: Sequence[Entry], horizons: Sequence[int]) -> str:
    """One line for each row and test set, in full precision; empty where there is no number.

    Args:
        entries: rows.
        horizons: steps ahead of the rollout errors.
    """
    lines = [_line(entry, key, horizons) for entry in entries for key in entry.results[0]]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


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
    line |= {name: entry.cost.get(name) for name in COSTS}
    return {**line, "manifest_hash": entry.manifest, "run_ids": " ".join(entry.run_ids)}
