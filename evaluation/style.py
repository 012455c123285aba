"""One style for all pictures: colours that colour-blind readers can tell apart, faint grids, readable numbers.

Colours are those of Okabe and Ito (Color Universal Design, 2008), with a brown for an eighth row; what has an order,
such as sizes, is drawn in viridis. Markers and line styles differ too, so that a picture also reads in grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from wmzoo.files import replacing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
GREYS = ("#B5B5B5", "#8F8F8F", "#6B6B6B")
BLACK, BAND = "#000000", "#B5B5B5"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # one less than the colours, so that a ninth row is another pair of both
SMALL, TITLE = 9, 11  # points
ERROR = "mean absolute error (training std)"


def ordered(count: int) -> Sequence[tuple[float, ...]]:
    """Colours from dark to light for things that have an order; the palest yellow is left out."""
    return [tuple(colour) for colour in plt.get_cmap("viridis")(np.linspace(0.0, 0.9, count))]


def light_grid(axes: Axes, which: Literal["x", "y", "both"]) -> None:
    """Faint lines behind what is drawn, and no frame above and to the right."""
    axes.grid(axis=which, which="major", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def plain_ticks(axes: Axes, which: Literal["x", "y"]) -> None:
    """Numbers such as 0.05 rather than powers of ten on a logarithmic axis."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    if high / low < 30:  # less than three labelled decades: label some ticks in between
        axis.set_minor_formatter(FuncFormatter(lambda v, _: f"{v:g}" if f"{v:.0e}"[0] in "235" else ""))
    else:
        axis.set_minor_formatter(NullFormatter())


def legend_columns(labels: Sequence[str], width: float) -> int:
    """How many entries of a legend stand side by side in so many inches."""
    longest = max((len(label) for label in labels), default=0)
    return max(1, min(len(labels), int(width / (0.08 * longest + 0.6))))


def legend_below(figure: Figure, axes: Axes) -> None:
    """What the lines and marks of one panel mean, under the whole picture, where nothing else is written."""
    handles, labels = axes.get_legend_handles_labels()
    columns = legend_columns(labels, figure.get_figwidth())
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=SMALL)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, whole or not at all, and forget the figure."""
    with replacing(path) as partial:
        figure.savefig(partial, dpi=150, format="png")
    plt.close(figure)
