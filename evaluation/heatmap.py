"""The transition matrix: every model's error on every test set, beside what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from wmzoo.evaluation.cells import IN
from wmzoo.evaluation.entries import Entry
from wmzoo.evaluation.style import BLACK, ERROR, SMALL, plt, save

DARK = 0.62  # of the colour map; beyond it numbers are written in black


def draw(entries: Sequence[Entry], path: Path) -> None:
    """Draw a row for each model, a column for each test set; sets that it was trained on are framed.

    Args:
        entries: models.
        path: of the PNG.
    """
    entries = sorted(entries, key=lambda entry: entry.title)
    keys = list(dict.fromkeys(key for entry in entries for key in entry.results[0]))
    known = [[entry.value([key], "nmae") if key in entry.results[0] else None for key in keys] for entry in entries]
    errors = np.array([[np.nan if value is None else value for value in row] for row in known])
    labels = [f"{entry.title}\non {_levels(entry.keys(IN))}" for entry in entries]
    wide = max(len(line) for label in labels for line in label.splitlines())
    size = (1.05 * len(keys) + 0.075 * wide + 2.0, 0.5 * len(entries) + 1.9)
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    norm = LogNorm()
    shown = axes.imshow(errors, norm=norm, cmap="viridis", aspect="auto")
    trained = {(y, keys.index(key)) for y, entry in enumerate(entries) for key in entry.keys(IN)}
    _numbers(axes, errors, norm, trained)
    several = len({key.partition("/")[0] for key in keys}) > 1
    columns = [key.replace("/", "\n", 1) if several else key.partition("/")[2] for key in keys]
    axes.set_xticks(range(len(keys)), columns, fontsize=SMALL)
    axes.set_yticks(range(len(entries)), labels, fontsize=SMALL)
    axes.set(xlabel="tested on" if several else f"tested on, of {keys[0].partition('/')[0]}")
    axes.set_title("Next row; frames: trained on", fontsize=SMALL + 1)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(shown, ax=axes, pad=0.02)
    bar.set_label(ERROR, fontsize=SMALL)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    save(figure, path)


def _numbers(axes: Axes, errors: np.ndarray, norm: LogNorm, framed: set[tuple[int, int]]) -> None:
    """Write every error into its cell, and frame some: light on dark colours and dark on light ones."""
    for (y, x), value in np.ndenumerate(errors):
        if not np.isfinite(value):
            continue
        colour = BLACK if norm(value) > DARK else "white"
        axes.text(x, y, f"{value:.2g}", ha="center", va="center", color=colour, fontsize=SMALL)
        if (y, x) in framed:
            axes.add_patch(Rectangle((x - 0.46, y - 0.42), 0.92, 0.84, fill=False, ec=colour, lw=2.2))


def _levels(keys: Sequence[str]) -> str:
    """The sets trained on, in few words."""
    return ", ".join(keys) if len(keys) < 4 else f"{keys[0]} and {len(keys) - 1} more" if keys else "other data"
