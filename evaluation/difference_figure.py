"""Differences from a baseline as a picture: a mark and an interval for each row, a panel for each metric."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from wmzoo.evaluation.against import Against, Column
from wmzoo.evaluation.style import COLOURS, GREYS, light_grid, save

WIDTH = 34
"""Letters of a panel's label that fit into a line."""


def draw(titles: Sequence[str], baseline: str, panels: Mapping[str, Column], unit: str, path: Path) -> None:
    """Draw the differences.

    Args:
        titles: of the rows.
        baseline: its title.
        panels: columns by what they show.
        unit: of all of them, if they share one.
        path: of the PNG.
    """
    shown = [i for i in range(len(titles)) if any(column[i] is not None for column in panels.values())]
    size = (2.4 + 3.1 * len(panels), 1.6 + 0.32 * len(shown))
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for panel, (name, column) in zip(axes[0], panels.items(), strict=True):
        _panel(panel, [column[i] for i in shown])
        panel.set_title(textwrap.fill(name, WIDTH), fontsize=10)
    axes[0, 0].set_yticks(range(len(shown)), [titles[i] for i in shown])
    axes[0, 0].set_ylim(len(shown) - 0.5, -0.5)
    said = f"difference from {baseline}, {unit}" if unit else f"difference from {baseline}"
    figure.supxlabel(f"{said}\n95 % intervals; filled: p < 0.05 after Holm's correction", fontsize=9)
    save(figure, path)


def _panel(axes: Axes, column: Sequence[Against | None]) -> None:
    axes.axvline(0.0, color="#222222", linewidth=0.9)
    for y, one in enumerate(column):
        if one is None:
            continue
        colour, found = COLOURS[0] if one.mark else GREYS[2], one.found
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [y, y], color=colour, linewidth=1.4)
        axes.plot(found.mean, y, "o", color=colour, markerfacecolor=colour if one.mark else "white", markersize=5.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    light_grid(axes, "x")
