"""Pictures of zero-shot predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from wmzoo.evaluation.board_rows import Board, Row
from wmzoo.evaluation.boards import FLOOR, MODEL
from wmzoo.evaluation.bootstrap import Estimate
from wmzoo.evaluation.style import COLOURS, ERROR, GREYS, MARKERS, light_grid, save

FUTURES = {"right": (COLOURS[0], ">", 5.0), "left": (COLOURS[1], "<", 3.2)}
"""Colour, mark and size of the mark; where both futures are the same, both are seen."""


def histories(boards: Sequence[Board], lengths: Sequence[int], parameter: str, path: Path) -> None:
    """Draw the errors by rows of history, a panel for each board, and by parameter.

    Args:
        boards: those held out first.
        lengths: rows of history.
        parameter: what its value is called, with its unit.
        path: of the PNG.
    """
    figure, axes = plt.subplots(1, len(boards) + 1, figsize=(4.1 * (len(boards) + 1), 4.3), layout="constrained")
    for panel, board in zip(axes, boards, strict=False):
        _by_length(panel, board, lengths)
    _by_parameter(axes[-1], boards, lengths, parameter)
    for panel in axes:
        panel.set_yscale("log")  # histories change errors that are small beside those of the floors
        for which in (panel.yaxis.set_major_formatter, panel.yaxis.set_minor_formatter):
            which(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "125" else ""))
        light_grid(panel, "both")
    limits = [panel.get_ylim() for panel in axes]
    for panel in axes:
        panel.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False, fontsize=9)
    save(figure, path)


def _by_length(axes: Axes, board: Board, lengths: Sequence[int]) -> None:
    """Error against rows of history, with 95 % intervals."""
    for row, style in _styled(board):
        found = [row.estimate(f"h{n}") for n in lengths]
        heights = [np.nan if one is None else one.mean for one in found]
        spans = np.array([_span(one) for one in found]).T
        axes.errorbar(range(len(lengths)), heights, spans, label=row.title, capsize=2, **style)
    axes.set_xticks(range(len(lengths)), [str(n) for n in lengths])
    axes.set(xlabel="rows of history given", ylabel=ERROR, title=f"parameters {board.environment}")


def _by_parameter(axes: Axes, boards: Sequence[Board], lengths: Sequence[int], parameter: str) -> None:
    """Error in each environment, given the shortest (open marks) and the longest history (filled)."""
    values: list[float] = []
    for board in boards:
        for row, style in _styled(board):
            each = [one for result in row.results for one in result["each"].values()]
            values += [one["value"] for one in each] if board is boards[0] else []
            ends = ((0, "white"), (len(lengths) - 1, style["color"])) if row.kind == MODEL else ((-1, "white"),)
            for place, face in ends:
                at = [(one["value"], one["errors"][place]) for one in each]
                axes.plot(*zip(*at, strict=True), **{**style, "linestyle": "none", "markerfacecolor": face})
    axes.axvspan(min(values), max(values), color="#F3EED9", zorder=0)
    title = f"held out shaded; open: {lengths[0]} row{'s' * (lengths[0] > 1)}, filled: {lengths[-1]}"
    axes.set(xlabel=parameter, ylabel=ERROR, title=title)


def pushes(boards: Sequence[Board], path: Path) -> None:
    """Draw true and imagined cart positions of one context, a row of panels for each environment, a panel a row.

    Args:
        boards: of carts with several poles.
        path: of the PNG.
    """
    most = max(len(board.rows) for board in boards)
    size = (2.9 * most + 0.6, 2.7 * len(boards) + 0.7)
    figure, axes = plt.subplots(len(boards), most, figsize=size, squeeze=False, layout="constrained", sharex=True)
    for board, panels in zip(boards, axes, strict=True):
        for i, panel in enumerate(panels):
            if i < len(board.rows):
                _paths(panel, board.rows[i])
            else:
                panel.set_visible(False)
        limits = [panel.get_ylim() for panel in panels[: len(board.rows)]]
        for panel in panels[: len(board.rows)]:
            panel.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        panels[0].set_ylabel(f"{board.environment.removeprefix('dmc-cartpole-')}\ncart's position [m]")
    figure.supxlabel("steps after the context", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=9)
    save(figure, path)


def _paths(axes: Axes, row: Row) -> None:
    """Of the first seed's first context, two true futures and two imagined ones."""
    example: Mapping[str, Any] = row.results[0]["example"]
    before = example["context"]
    axes.plot(range(1 - len(before), 1), before, color=GREYS[2], linewidth=1.6, label="context")
    for name, (colour, mark, size) in FUTURES.items():
        steps = range(len(example["true"][name]) + 1)
        axes.plot(steps, [before[-1], *example["true"][name]], color=colour, linewidth=1.6, label=f"true, {name}")
        imagined = [before[-1], *example["imagined"][name]]
        axes.plot(steps, imagined, mark, color=colour, markersize=size, label=f"imagined, {name}")
    separated = row.estimate("separated")
    share = "" if separated is None else f"\nright way: {separated.mean:.0%}"
    axes.set_title(row.title + share, fontsize=9.5)
    light_grid(axes, "both")


def _styled(board: Board) -> Iterator[tuple[Row, dict[str, Any]]]:
    """The rows with what they are drawn with; the floors are grey."""
    models = sorted({row.title for row in board.rows if row.kind == MODEL})
    for row in board.rows:
        own = [other.title for other in board.rows if other.kind == row.kind]
        place = own.index(row.title) if row.kind == FLOOR else models.index(row.title)
        colour = GREYS[place % len(GREYS)] if row.kind == FLOOR else COLOURS[place % len(COLOURS)]
        line = "--" if row.kind == FLOOR else "-"
        marker = MARKERS[(place + 3 * (row.kind == FLOOR)) % len(MARKERS)]
        yield row, {"color": colour, "linestyle": line, "marker": marker, "markersize": 5.0, "linewidth": 1.5}


def _span(found: Estimate | None) -> tuple[float, float]:
    if found is None or found.low is None or found.high is None:
        return np.nan, np.nan
    return max(found.mean - found.low, 0.0), max(found.high - found.mean, 0.0)
