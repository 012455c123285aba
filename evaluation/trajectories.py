"""Imagined beside true trajectories of every variate, from one window of each of the first sets trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmzoo.errors import WmzooError
from wmzoo.evaluation import cells
from wmzoo.evaluation.cells import IN, Cell
from wmzoo.model import WorldModel
from wmzoo.trajectories import Variates

SETS, SAMPLES, PANELS = 4, 32, 24  # most sets that are imagined; trajectories drawn of each; most variates in a picture
BAND = (0.05, 0.95)


def choose(found: Sequence[Cell]) -> list[Cell]:
    """The test sets to imagine: the first that were trained on, or the first at all if none was."""
    return ([cell for cell in found if cell.distribution == IN] or list(found))[:SETS]


def imagine(
    model: WorldModel, cell: Cell, variates: Mapping[str, Variates], context: int, horizon: int
) -> dict[str, Any]:
    """Roll out one window of a test set along its true actions: by expectations, and by drawing rows.

    Args:
        model: in evaluation mode.
        cell: the test set.
        variates: that windows are cut with, by environment.
        context: rows given.
        horizon: rows imagined.

    Returns:
        Plain JSON: ``names`` of the ``J`` predicted variates, ``dt`` (s), ``context``, ``truth`` ``[context + horizon]
        [J]``, and ``mean``, ``low`` and ``high`` ``[horizon][J]`` of imagined values, physical units; ``low`` and
        ``high`` hold 90 % of the drawn ones. Empty if all episodes are too short.
    """
    rows = cells.draw(cell, context + horizon - 1, 1)
    if not len(rows):
        return {}
    device = next(model.parameters(), torch.empty(0)).device
    window = cells.cut(cell, rows, context + horizon, variates).to(device)
    width, history = window.columns.width, window.until(-horizon)
    actions = window.values[:, -horizon - 1 : -1, width:]
    generator = torch.Generator(device).manual_seed(0)
    try:
        mean = model.rollout(history, actions, horizon).values[0]
        many = model.rollout(history, actions.expand(SAMPLES, -1, -1), horizon, sample=True, generator=generator).values
    except WmzooError:  # it left all bounds; a picture less is no reason to lose the numbers
        return {}
    if not (mean.isfinite().all() and many.isfinite().all()):
        return {}
    low, high = np.quantile(many.cpu().numpy(), BAND, axis=0)
    own = variates[cell.item.environment]
    return {
        "names": list(own.names[:width]),
        "dt": own.dt,
        "context": context,
        "truth": window.values[0, :, :width].tolist(),
        "mean": mean.tolist(),
        "low": low.tolist(),
        "high": high.tolist(),
    }


def draw(imagined: Mapping[str, Any], title: str, path: Path) -> None:
    """Draw a panel for each variate.

    Args:
        imagined: of :func:`imagine`.
        title: of the picture.
        path: of the PNG.
    """
    from wmzoo.evaluation.style import BAND as GREY
    from wmzoo.evaluation.style import BLACK, COLOURS, SMALL, TITLE, legend_below, light_grid, plt, save

    shown = _shown(imagined["names"])
    truth, mean, low, high = (np.array(imagined[name]) for name in ("truth", "mean", "low", "high"))
    given, steps = imagined["context"], len(mean)
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    size = (2.6 * columns + 0.6, 1.55 * lines + 1.1)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharex=True, squeeze=False, layout="constrained")
    past, ahead = np.arange(1 - given, steps + 1), np.arange(1, steps + 1)
    for panel, j in zip(axes.flat, shown, strict=False):
        panel.axvspan(1 - given, 0, color="#F3EED9", zorder=0)
        panel.fill_between(ahead, low[:, j], high[:, j], color=GREY, alpha=0.5, lw=0, label="90 % of drawn rollouts")
        panel.plot(past, truth[:, j], color=BLACK, lw=1.2, label="true")
        panel.plot(ahead, mean[:, j], "--", color=COLOURS[1], lw=1.6, label="imagined")
        panel.set_title(imagined["names"][j], fontsize=SMALL)
        panel.tick_params(labelsize=SMALL - 1)
        panel.set_ylim(*_limits(truth[:, j], low[:, j], high[:, j]))
        light_grid(panel, "both")
    for panel in axes.flat[len(shown) :]:
        panel.set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel("steps", fontsize=SMALL)
    left = len(imagined["names"]) - len(shown)
    told = f"shaded: rows given; a step: {imagined['dt']:g} s" + (f"; {left} more variates not shown" if left else "")
    figure.suptitle(f"{title}\n{told}", fontsize=TITLE)
    figure.supylabel("value (units of the environment)", fontsize=SMALL)
    legend_below(figure, axes[0, 0])
    save(figure, path)


def _shown(names: Sequence[str]) -> list[int]:
    """The variates that have a panel: all, or the first states and the reward."""
    count = len(names)
    return list(range(count)) if count <= PANELS else [*range(PANELS - 1), count - 1]


def _limits(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """All of the truth, and as much of what was imagined as leaves the truth readable."""
    span = max(float(np.ptp(truth)), 1e-6)
    least, most = max(low.min(), truth.min() - 1.5 * span), min(high.max(), truth.max() + 1.5 * span)
    least, most = min(float(least), float(truth.min())), max(float(most), float(truth.max()))
    margin = 0.06 * (most - least)
    return least - margin, most + margin
