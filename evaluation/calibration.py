"""Calibration: how many true values lie inside central intervals, against how many should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wmzoo.evaluation.metrics import CENTRAL
from wmzoo.evaluation.style import (
    BLACK,
    COLOURS,
    GREYS,
    MARKERS,
    SMALL,
    legend_below,
    legend_columns,
    light_grid,
    plt,
    save,
)


def draw(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    path: Path,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Draw the observed against the expected coverage.

    Args:
        panels: by title, the curves by label: the observed share for each level of ``metrics.CENTRAL``. A label has the
            same colour in all panels.
        path: of the PNG.
        styles: of matplotlib's lines, by label; the common colours and markers in their order if None.
    """
    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    width = 4.0 * len(panels) + 0.6
    lines = -(-(len(labels) + 1) // legend_columns(labels, width))
    size = (width, 4.6 + 0.2 * lines)
    styles = styles or {
        label: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        for i, label in enumerate(labels)
    }
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for panel, (title, curves) in zip(axes[0], panels.items(), strict=True):
        panel.plot([0, 100], [0, 100], color=GREYS[1], lw=1.0, ls=":", label="calibrated")
        for label, shares in curves.items():
            expected, observed = ([100 * share for share in values] for values in (CENTRAL, shares))
            panel.plot(expected, observed, lw=1.4, markevery=3, label=label, **{**styles[label], "markersize": 4})
        panel.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", xlabel="central interval (% of probability)")
        panel.set_title(title, fontsize=SMALL + 1)
        light_grid(panel, "both")
        panel.annotate("intervals too wide", (4, 96), fontsize=SMALL, color=BLACK, va="top")
        panel.annotate("intervals too narrow", (96, 4), fontsize=SMALL, color=BLACK, ha="right")
    axes[0, 0].set_ylabel("true values inside (%)")
    legend_below(figure, axes[0, 0])
    save(figure, path)
