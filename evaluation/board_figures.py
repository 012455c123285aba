"""Pictures of boards: values of policies against the true ones, and returns of controlled episodes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from wmzoo.evaluation.board_rows import Board, Row
from wmzoo.evaluation.boards import BASELINE, CEILING, FLOOR, MODEL
from wmzoo.evaluation.style import BLACK, COLOURS, GREYS, MARKERS, light_grid, plt, save

NORMAL = 1.96
"""Half a 95 % interval, in standard errors."""
TITLE = 30
"""Letters of a panel's title that fit into a line."""
MARKS = {CEILING: ("--", BLACK), FLOOR: (":", GREYS[2])}


def policy_values(boards: Sequence[Board], path: Path) -> None:
    """Draw estimated against true values, a row of panels for each environment, a panel for each model and baseline.

    Args:
        boards: of off-policy evaluation.
        path: of the PNG.
    """
    colours = _colours(boards)
    shown = [[row for row in board.rows if row.kind in (MODEL, BASELINE)] for board in boards]
    columns = max(len(rows) for rows in shown)
    size = (2.7 * columns + 0.9, 2.9 * len(boards) + 0.5)
    figure, axes = plt.subplots(len(boards), columns, figsize=size, squeeze=False, layout="constrained")
    for board, rows, panels in zip(boards, shown, axes, strict=True):
        for i, panel in enumerate(panels):
            if i < len(rows):
                _values(panel, rows[i], [row for row in board.rows if row.kind == FLOOR], colours[rows[i].title])
            else:
                panel.set_visible(False)
        panels[0].set_ylabel(f"{board.environment}\nestimated value")
    note = "true value (discounted return); a mark for each policy and seed, with 95 % intervals"
    figure.supxlabel(note, fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9)
    save(figure, path)


def _values(axes: Axes, row: Row, floors: Sequence[Row], colour: str) -> None:
    """One panel."""
    for i, (result, policies) in enumerate(zip(row.results, row.policies, strict=True)):
        true, error = (np.array([policy[name] for policy in policies], float) for name in ("value", "error"))
        axes.errorbar(
            true,
            np.array(result["values"], float),
            xerr=NORMAL * error,
            yerr=NORMAL * np.array(result["errors"], float),
            fmt=MARKERS[i % len(MARKERS)],
            color=colour,
            markersize=4.5,
            elinewidth=0.8,
            alpha=0.75,
        )
    ends = [policy["value"] for policies in row.policies for policy in policies]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], "-", color=BLACK, linewidth=0.9, label="equal")
    for floor in floors:
        height = float(np.mean(floor.results[0]["values"]))
        axes.axhline(height, linestyle=":", color=GREYS[2], linewidth=1.2, label=floor.title)
    rank = row.estimate("spearman")
    title = "\n".join(textwrap.wrap(row.title, TITLE))
    axes.set_title(f"{title}\nSpearman {'-' if rank is None else f'{rank.mean:.2f}'}", fontsize=10)
    light_grid(axes, "both")


def returns(boards: Sequence[Board], path: Path) -> None:
    """Draw the return of every episode, a panel for each environment, a line for each row.

    Args:
        boards: of model-predictive control.
        path: of the PNG.
    """
    heights = [0.42 * len(board.rows) + 1.0 for board in boards]
    figure, axes = plt.subplots(
        len(boards), 1, figsize=(9.5, sum(heights) + 0.5), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for board, (panel,) in zip(boards, axes, strict=True):
        _returns(panel, board, _colours(boards))
    note = "return of an episode (undiscounted); marks: episodes of each seed, bars: mean and its 95 % interval"
    figure.supxlabel(note, fontsize=9)
    save(figure, path)


def _returns(axes: Axes, board: Board, colours: Mapping[str, str]) -> None:
    """One panel."""
    for y, row in enumerate(board.rows):
        colour, mean = colours[row.title], row.estimate("return")
        for i, result in enumerate(row.results):
            shift = 0.16 * (i - (len(row.results) - 1) / 2)
            places = np.full(len(result["returns"]), y + shift)
            axes.plot(result["returns"], places, MARKERS[i % len(MARKERS)], color=colour, markersize=4, alpha=0.45)
        if mean is None:
            continue
        axes.plot([mean.mean] * 2, [y - 0.3, y + 0.3], color=colour, linewidth=2.2)
        if mean.low is not None and mean.high is not None:
            axes.plot([mean.low, mean.high], [y, y], color=colour, linewidth=2.2)
        if row.kind in MARKS:
            style, grey = MARKS[row.kind]
            axes.axvline(mean.mean, linestyle=style, color=grey, linewidth=1.0, zorder=0.5)
    axes.set_yticks(range(len(board.rows)), [row.title for row in board.rows], fontsize=9)
    axes.set_ylim(len(board.rows) - 0.4, -0.6)
    axes.set_title(f"{board.environment}\n{board.about}", fontsize=8.5, loc="left")
    light_grid(axes, "x")


def _colours(boards: Sequence[Board]) -> dict[str, str]:
    """A colour for each model, the same in all panels; the ceiling is black, the rest grey."""
    rows = [row for board in boards for row in board.rows]
    models = sorted({row.title for row in rows if row.kind == MODEL})
    found = {row.title: MARKS[CEILING][1] if row.kind == CEILING else GREYS[2] for row in rows}
    return found | {title: COLOURS[i % len(COLOURS)] for i, title in enumerate(models)}
