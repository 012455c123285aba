"""Scaling laws as a picture: every point, the envelope, and the fits with their bands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from wmzoo.evaluation.style import BAND, BLACK, MARKERS, legend_below, light_grid, ordered, plt, save
from wmzoo.evaluation.tables import count
from wmzoo.scaling.points import Point

if TYPE_CHECKING:
    from wmzoo.scaling.report import Found

NAMES = {"flops": "training FLOPs", "parameters": "parameters", "tokens": "training tokens", "rows": "distinct rows"}


def draw(points: Sequence[Point], found: Sequence[Found], unit: str, title: str, path: Path) -> None:
    """Draw the error by compute, and beside it by every other axis that the grid varies.

    Args:
        points: by rising FLOPs.
        found: the laws of the error; the first one is the envelope.
        unit: of the error.
        title: of the picture.
        path: of the PNG.
    """
    shown = [f for f in found if f.of == "error"]
    ratios = [1.6, *[1.0] * (len(shown) - 1)]
    figure, axes = plt.subplots(
        1, len(shown), figsize=(2.9 * sum(ratios), 4.8), width_ratios=ratios, sharey=True, layout="constrained"
    )
    for one, axis in zip(shown, np.atleast_1d(axes), strict=True):
        _panel(axis, points, one)
    first = np.atleast_1d(axes)[0]
    first.set_ylabel(unit)
    first.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    first.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    first.yaxis.set_minor_formatter(NullFormatter())
    legend_below(figure, first)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    save(figure, path)


def _panel(axis: Axes, points: Sequence[Point], found: Found) -> None:
    sizes = sorted({point.parameters for point in points})
    colours = ordered(len(sizes))
    for i, size in enumerate(sizes):
        mine = [p for p in points if p.parameters == size]
        x, y = [float(getattr(p, found.along)) for p in mine], [p.value for p in mine]
        style = "-" if found.along in ("flops", "tokens") and len({p.rows for p in mine}) == 1 else "none"
        marker = MARKERS[i % len(MARKERS)]
        axis.plot(x, y, ls=style, marker=marker, color=colours[i], lw=0.8, ms=5, label=f"{count(size)} parameters")
    _law(axis, points, found)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(NAMES[found.along])
    axis.xaxis.set_minor_formatter(NullFormatter())
    if found.along != "flops":  # a decade or two, which powers of ten alone would leave almost without numbers
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    light_grid(axis, "both")


def _law(axis: Axes, points: Sequence[Point], found: Found) -> None:
    x = np.array([float(getattr(points[i], found.along)) for i in found.chosen])
    y = np.array([points[i].value for i in found.chosen])
    label = "points that the law is fitted to" if found.along == "flops" else None
    axis.plot(x, y, "o", ms=10, mfc="none", mec=BLACK, mew=0.9, label=label)
    law = found.law
    if law is None:
        return
    fine = np.geomspace(x.min(), x.max(), 60)
    axis.plot(fine, law.at(fine), color=BLACK, lw=1.4, ls="--", label="fitted law")
    if law.interval:
        low, high = law.band(fine)
        axis.fill_between(fine, low, high, color=BAND, alpha=0.4, lw=0, label="95 % of bootstrapped fits")
    floor = f", above {law.c:.2g}" if law.c else ""
    axis.set_title(f"exponent {-law.b:+.3f}{_ends(law.interval)}{floor}", fontsize=9)


def _ends(interval: tuple[float, float] | None) -> str:
    return f" [{-interval[1]:+.3f}, {-interval[0]:+.3f}]" if interval else ""
