"""The picture of few-shot learning: error against the share of the episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from wmzoo.evaluation.board_rows import Board, Row
from wmzoo.evaluation.boards import FLOOR, MODEL
from wmzoo.evaluation.style import COLOURS, GREYS, MARKERS, light_grid, save

UNIT = "mean absolute error (deviations over all episodes)"
METRICS = {"nmae": "unseen episodes of the level trained on", "ood": "other levels"}


def by_share(boards: Sequence[Board], shares: Mapping[str, tuple[str, float]], path: Path) -> None:
    """Draw a row of panels for each environment, a line for each model and floor, with 95 % intervals.

    Args:
        boards: one for each environment and share.
        shares: the environment of each, and the share of the episodes.
        path: of the PNG.
    """
    environments = list(dict.fromkeys(shares[board.environment][0] for board in boards))
    size = (9.4, 3.7 * len(environments) + 0.6)
    figure, axes = plt.subplots(len(environments), 2, figsize=size, squeeze=False, layout="constrained")
    models = sorted({row.title for board in boards for row in board.rows if row.kind == MODEL})
    for environment, panels in zip(environments, axes, strict=True):
        own = [board for board in boards if shares[board.environment][0] == environment]
        own.sort(key=lambda board: shares[board.environment][1])
        lines: dict[str, list[tuple[float, Row]]] = {}
        for board in own:
            for row in board.rows:
                lines.setdefault(row.title, []).append((shares[board.environment][1], row))
        for panel, (metric, where) in zip(panels, METRICS.items(), strict=True):
            _lines(panel, lines, metric, models)
            panel.set(title=f"{environment}: {where}", xlabel="share of the episodes trained on")
        panels[0].set_ylabel(UNIT)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False, fontsize=9)
    save(figure, path)


def _lines(axes: Axes, lines: Mapping[str, Sequence[tuple[float, Row]]], metric: str, models: Sequence[str]) -> None:
    floors = [title for title, points in lines.items() if points[0][1].kind == FLOOR]
    for title, points in lines.items():
        found = [(share, row.estimate(metric)) for share, row in points]
        known = [(share, one) for share, one in found if one is not None]
        if not known:
            continue
        spans = [
            (0.0 if one.low is None else one.mean - one.low, (one.high or one.mean) - one.mean) for _, one in known
        ]
        axes.errorbar(
            [share for share, _ in known],
            [one.mean for _, one in known],
            np.maximum(np.array(spans).T, 0),
            label=title,
            capsize=2,
            **_style(title, models, floors),
        )
    axes.set(xscale="log", yscale="log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        which(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "125" else ""))
    light_grid(axes, "both")


def _style(title: str, models: Sequence[str], floors: Sequence[str]) -> dict[str, Any]:
    place = models.index(title) if title in models else floors.index(title)
    colour = (COLOURS if title in models else GREYS)[place % (len(COLOURS) if title in models else len(GREYS))]
    line = "-" if title in models else "--"
    return {"color": colour, "linestyle": line, "marker": MARKERS[place % len(MARKERS)], "markersize": 5.0}
