"""A comparison as text: for a terminal, as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from wmzoo.evaluation.bootstrap import Estimate

COSTS = ("parameters", "train_tokens", "train_flops", "train_seconds", "peak_memory_mb", "steps")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of finished cells.

    Attributes:
        title: in a few words.
        heads: one a column.
        rows: one cell a column each.
        bold: (row, column) of the best.
        models: how many of the rows are models; the others are what they are measured by.
    """

    title: str
    heads: tuple[str, ...]
    rows: list[list[str]]
    bold: set[tuple[int, int]]
    models: int


def number(value: float | None) -> str:
    """Three digits."""
    return "-" if value is None else f"{value:.3g}"


def percent(value: float | None) -> str:
    """A share in whole percents."""
    return "-" if value is None else f"{value:.0%}".replace("-0%", "0%")


def count(value: float | None) -> str:
    """Three digits and a prefix of a thousand; FLOPs of long runs go beyond T."""
    if value is None:
        return "-"
    for prefix, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.3g}"


def interval(estimate: Estimate | None, full: bool) -> str:
    """A mean with its interval, from end to end if ``full``, else as half its width."""
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


LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
LATEX |= {"^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "−": "--"}


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def latex(grid: Grid) -> str:
    """A LaTeX table with the rules of the package booktabs; models stand above a rule, the others below.

    One that is wider than the page is made smaller, for which it needs graphicx.
    """
    body = [
        " & ".join(
            rf"\textbf{{{escaped(cell)}}}" if (r, c) in grid.bold else escaped(cell) for c, cell in enumerate(row)
        )
        for r, row in enumerate(grid.rows)
    ]
    lines = [rf"{row} \\" for row in body]
    if 0 < grid.models < len(lines):
        lines.insert(grid.models, r"\midrule")
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(grid.title)}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(grid.heads) - 1)}}}",
            r"\toprule",
            rf"{' & '.join(map(escaped, grid.heads))} \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def as_csv(lines: Sequence[Mapping[str, object]]) -> str:
    """Lines in full precision; empty where there is no number, or a line has no such column.

    Args:
        lines: by column.
    """
    columns = dict.fromkeys(name for line in lines for name in line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
