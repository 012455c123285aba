"""A comparison as pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from wmzoo.evaluation.bootstrap import Estimate
from wmzoo.evaluation.cells import IN, OUT
from wmzoo.evaluation.entries import FLOOR, Entry, focus
from wmzoo.evaluation.style import (
    BLACK,
    COLOURS,
    ERROR,
    GREYS,
    MARKERS,
    SMALL,
    legend_below,
    light_grid,
    plain_ticks,
    plt,
    save,
)

LEVELS = {IN: "level trained on", OUT: "levels not trained on"}


def comparison(entries: Sequence[Entry], horizons: Sequence[int], path: Path) -> None:
    """Draw the errors by test set, and by steps ahead on the levels that were trained on.

    Args:
        entries: rows of the comparison, models first.
        horizons: steps ahead, ascending.
        path: of the PNG.
    """
    levels = _levels(entries)
    bars = max(4.5, 0.17 * len(entries) * len(levels) + 1.5)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(bars + 4.5, 4.2), width_ratios=(bars, 4.0), layout="constrained"
    )
    _bars(left, entries, levels)
    _lines(right, entries, horizons)
    legend_below(figure, left)
    save(figure, path)


def shares(found: Mapping[str, Estimate], title: str, path: Path) -> None:
    """Draw one bar for each model and floor, on a logarithmic axis that begins at 1, which is what they are shares of.

    Args:
        found: by title, models first; those of floors begin with the word.
        title: of the picture.
        path: of the PNG.
    """
    figure, axes = plt.subplots(figsize=(7.2, 1.5 + 0.34 * len(found)), layout="constrained")
    for y, (name, one) in enumerate(found.items()):
        colour = GREYS[0] if name.startswith(f"{FLOOR}: ") else COLOURS[0]
        axes.barh(y, one.mean - 1, 0.62, left=1.0, color=colour)
        if one.low is not None and one.high is not None:
            axes.plot([one.low, one.high], [y, y], color=BLACK, linewidth=1.2)
        axes.annotate(
            f"{one.mean:.3g}", (1, y), (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=SMALL
        )
    axes.axvline(1.0, color=BLACK, linewidth=0.9)
    axes.set_yticks(range(len(found)), list(found))
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xscale("log")
    plain_ticks(axes, "x")
    axes.set_xlabel("mean absolute error, as a share (below 1: better)")
    axes.set_title(textwrap.fill(title, 60), fontsize=SMALL + 1)
    light_grid(axes, "x")
    save(figure, path)


def variates(entries: Sequence[Entry], path: Path) -> None:
    """Draw the error of each variate on the levels that were trained on.

    Args:
        entries: rows of the comparison.
        path: of the PNG.
    """
    where = focus(entries)
    names = list(dict.fromkeys(name for e in entries for key in e.keys(where) for name in _names(e, key)))
    tall = max(0.36, 0.06 * len(entries))
    figure, axes = plt.subplots(figsize=(7.5, 1.9 + tall * len(names)), layout="constrained")
    for i, entry in enumerate(entries):
        each = _by_variate(entry, where)
        # so that equal values do not hide each other, and no mark strays into the next row
        shift = min(0.09, 0.8 / len(entries)) * (i - (len(entries) - 1) / 2)
        places = [(each[name], y + shift) for y, name in enumerate(names) if name in each]
        axes.plot(*zip(*places, strict=True), linestyle="none", label=_label(entry), **marker(entries, i))
    for y in range(1, len(names), 2):
        axes.axhspan(y - 0.5, y + 0.5, color="#F4F4F4", zorder=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.set(xlabel=ERROR, title=f"Next row, {LEVELS[where]}, by variate")
    plain_ticks(axes, "x")
    light_grid(axes, "x")
    legend_below(figure, axes)
    save(figure, path)


def _levels(entries: Sequence[Entry]) -> list[str]:
    """Test sets, those that any row was trained on first."""
    keys = {key: about["distribution"] for e in entries for key, about in e.results[0].items()}
    return sorted(keys, key=lambda key: (keys[key] != IN, list(keys).index(key)))


def _bars(axes: Axes, entries: Sequence[Entry], levels: Sequence[str]) -> None:
    """A group of bars for each test set, with 95 % intervals."""
    width = 0.84 / len(entries)
    for i, entry in enumerate(entries):
        at = np.arange(len(levels)) + (i - (len(entries) - 1) / 2) * width
        found = [entry.estimate([key], "nmae") if key in entry.results[0] else None for key in levels]
        heights = [np.nan if e is None else e.mean for e in found]
        spans = [
            (np.nan, np.nan) if e is None or e.low is None or e.high is None else (e.mean - e.low, e.high - e.mean)
            for e in found
        ]
        axes.bar(at, heights, width * 0.92, label=_label(entry), **_fill(entries, i))
        axes.errorbar(at, heights, np.abs(np.array(spans).T), fmt="none", ecolor="#222222", elinewidth=0.9)
    inside = {key for entry in entries for key in entry.keys(IN)}
    for x, key in enumerate(levels):
        if key in inside:
            axes.axvspan(x - 0.5, x + 0.5, color="#F3EED9", zorder=0)
    axes.set_xticks(range(len(levels)), [_level_label(key, key in inside) for key in levels], fontsize=9)
    axes.set(ylabel=ERROR, title="Next row, by test level", xlim=(-0.5, len(levels) - 0.5))
    light_grid(axes, "y")


def _lines(axes: Axes, entries: Sequence[Entry], horizons: Sequence[int]) -> None:
    """Error against steps ahead, both logarithmic."""
    where = focus(entries)
    for i, entry in enumerate(entries):
        values = [entry.value(entry.keys(where), "nmae", k) for k in horizons]
        if any(value is not None for value in values):
            heights = [np.nan if value is None else value for value in values]
            line = "--" if entry.kind == FLOOR else "-"
            axes.plot(horizons, heights, line, linewidth=1.6, **marker(entries, i))
    axes.set(xscale="log", yscale="log", xlabel="steps ahead", ylabel=ERROR)
    axes.set_title(f"Rollouts, {LEVELS[where]}")
    axes.set_xticks(horizons, [str(k) for k in horizons])
    axes.xaxis.set_minor_formatter(NullFormatter())
    plain_ticks(axes, "y")
    light_grid(axes, "both")


def _by_variate(entry: Entry, where: str) -> dict[str, float]:
    """Mean over seeds and the levels ``in`` or ``out`` of distribution of each variate's error."""
    found: dict[str, list[float]] = {}
    for result in entry.results:
        for key in entry.keys(where):
            about = result[key]["variates"]
            for name, value in zip(about["name"], about["nmae"], strict=True):
                if value is not None:
                    found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _names(entry: Entry, key: str) -> list[str]:
    return entry.results[0][key]["variates"]["name"]


def _label(entry: Entry) -> str:
    return f"floor: {entry.title}" if entry.kind == FLOOR else entry.title


def _level_label(key: str, inside: bool) -> str:
    environment, _, level = key.partition("/")
    return f"{level}\n{environment}" + ("\ntrained on" if inside else "")


def _colour(entries: Sequence[Entry], i: int) -> str:
    """Models of one label share a colour; floors are grey."""
    if entries[i].kind == FLOOR:
        return GREYS[[e.label for e in entries if e.kind == FLOOR].index(entries[i].label) % len(GREYS)]
    return COLOURS[_model(entries, i) % len(COLOURS)]


def _model(entries: Sequence[Entry], i: int) -> int:
    """Which of the models a row is of, in the order of the rows."""
    return list(dict.fromkeys(e.label for e in entries if e.kind != FLOOR)).index(entries[i].label)


def _fill(entries: Sequence[Entry], i: int) -> dict[str, Any]:
    again = entries[i].kind != FLOOR and _model(entries, i) >= len(COLOURS)  # its colour was used before
    hatch = ("...." if again else "") + ("" if entries[i].ranked else "////")
    return {"color": _colour(entries, i), "hatch": hatch, "edgecolor": "white"}


def marker(entries: Sequence[Entry], i: int) -> dict[str, Any]:
    """How a row is marked in every picture: by its model's colour, hollow if it is not ranked.

    Args:
        entries: all rows, models first.
        i: its place.
    """
    colour = _colour(entries, i)
    face = colour if entries[i].ranked else "white"
    return {"marker": MARKERS[i % len(MARKERS)], "color": colour, "markerfacecolor": face, "markersize": 5.5}
