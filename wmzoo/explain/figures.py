"""The pictures of an explanation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from wmzoo.evaluation.style import COLOURS, ERROR, GREYS, light_grid, save


def attention(found: Mapping[str, Any], title: str, path: Path) -> None:
    """Draw the map of each layer, the names of the variates on both axes."""
    names, layers = found["names"], found["layers"]
    columns = math.ceil(math.sqrt(len(layers)))
    rows = -(-len(layers) // columns)
    side = max(3.2, 0.19 * len(names) + 1.6)
    figure, axes = plt.subplots(
        rows, columns, figsize=(side * columns + 1.2, side * rows + 0.5), squeeze=False, layout="constrained"
    )
    top = max(np.max(layer["map"]) for layer in layers)
    for panel, layer in zip(axes.flat, layers, strict=False):
        image = panel.imshow(layer["map"], cmap="viridis", vmin=0, vmax=top)
        panel.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        panel.set_yticks(range(len(names)), names, fontsize=7)
        panel.set_title(_maps_title(layer), fontsize=9)
    for panel in axes.flat[len(layers) :]:
        panel.set_visible(False)
    figure.supylabel("variate that looks", fontsize=9)
    figure.supxlabel(f"variate looked at ({title}; mean over heads, rows and windows)", fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.7, label="weight; each row adds up to 1")
    save(figure, path)


def _maps_title(layer: Mapping[str, Any]) -> str:
    if layer["position_velocity"] is None:
        return str(layer["layer"])
    other = "" if layer["other"] is None else f", other states {layer['other']:.3f}"
    return f"{layer['layer']}\nposition and velocity {layer['position_velocity']:.3f}{other}"


def head(found: Mapping[str, Any], title: str, path: Path) -> None:
    """Draw the t-SNE of the bins, coloured by bin, and the place of each along their curve."""
    points, position = np.array(found["points"]), np.array(found["position"])
    bins = np.arange(len(points))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 4.2), layout="constrained")
    drawn = left.scatter(*points.T, c=bins, cmap="viridis", s=26)
    left.set(xlabel="t-SNE 1", ylabel="t-SNE 2")
    left.set_title("Weights of the head, a point for each bin", fontsize=9.5)
    left.set_aspect("equal", "datalim")
    figure.colorbar(drawn, ax=left, label="bin, from the low to the high end of the range", shrink=0.85)
    right.scatter(bins, position, c=bins, cmap="viridis", s=26)
    right.set(xlabel="bin", ylabel="place along the curve (t-SNE units)")
    weights = f"rank correlation, along the weights: {found['rank_correlation_weights']:.3f}"
    said = f"along the t-SNE: {found['rank_correlation']:.3f} (chance: below {found['chance']:.2f})"
    right.set_title(f"{weights}\n{said}", fontsize=9.5)
    for panel in (left, right):
        light_grid(panel, "both")
    save(figure, path)


def variates(found: Mapping[str, Any], title: str, path: Path) -> None:
    """Draw the error of each variate beside the last value's; variates that never change are left out."""
    known = [i for i, error in enumerate(found["model"]["nmae"]) if error is not None]
    names = [found["name"][i] for i in known]
    figure, axes = plt.subplots(figsize=(7.5, 1.4 + 0.34 * len(names)), layout="constrained")
    rows = (("last value", "last", GREYS[0], -0.2), ("model", "model", COLOURS[0], 0.2))
    for label, key, colour, shift in rows:
        axes.barh(
            np.arange(len(names)) + shift, [found[key]["nmae"][i] for i in known], 0.38, color=colour, label=label
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set(xlabel=ERROR, title=f"Next row, {title}, by variate")
    axes.legend(frameon=False, fontsize=9)
    light_grid(axes, "x")
    save(figure, path)


DRAW = {"attention": attention, "head": head, "variates": variates}
