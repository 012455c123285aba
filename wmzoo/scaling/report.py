"""``wmzoo scaling`` from the grid to the laws: a table, files and a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmzoo import grid, recipe, tracking
from wmzoo.errors import WmzooError
from wmzoo.evaluation.tables import Grid, as_csv, count, markdown, terminal
from wmzoo.files import read_json, replacing
from wmzoo.gridrun import running
from wmzoo.progress import console
from wmzoo.recipe import Recipe
from wmzoo.runs import run_folder
from wmzoo.scaling import laws
from wmzoo.scaling.laws import Law
from wmzoo.scaling.points import NMAE, Point, check_metric, collect

UNITS = {NMAE: "mean absolute error (training std)", "validation_loss": "validation loss (nats, summed over variates)"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A law and the points that it was fitted to.

    Attributes:
        of: what depends on what.
        along: name of the axis in :class:`wmzoo.scaling.points.Point`.
        chosen: indices of the points: the lowest ones along the axis.
        law: None if they are too few.
    """

    of: str
    along: str
    chosen: np.ndarray
    law: Law | None


def run(
    name: str,
    overrides: Sequence[str] = (),
    metric: str | None = None,
    folder: Path | None = None,
    **how: Any,
) -> list[Path]:
    """Train and evaluate a grid of sizes, lengths and data, fit the laws that it follows, and write them down.

    Args:
        name: or path of a recipe with a ``grid:``.
        overrides: ``key.path=value`` settings of it.
        metric: what the laws are of, see :func:`wmzoo.scaling.points.collect`.
        folder: for the files; ``comparisons/<experiment>/scaling`` if None.
        how: the grid is run, see :func:`wmzoo.gridrun.running.run`: ``workers``, ``engine``, ``options``, ``dry``,
            ``quiet``.

    Returns:
        The files written: points and laws as CSV, both as Markdown, the picture. None of a dry run.

    Raises:
        WmzooError: the recipe is wrong, a cell failed, or there is no such metric.
    """
    metric = metric or NMAE
    check_metric(metric)
    cells = [recipe.check(source) for source in grid.cells(name, overrides)]
    if len(cells) < laws.FEWEST:
        raise WmzooError(f"{name}: a law needs three cells or more; give it a grid, or name scaling/trajworld, say.")
    if any(cell.evaluate and "transition" not in cell.evaluate for cell in cells):
        raise WmzooError(f"{name}: evaluate: laws are of transition/v1; name it, or nothing.")
    _check_one_family(name, cells)
    running.run(name, overrides, compare=False, **how)
    if how.get("dry"):
        return []
    first, points = cells[0], collect(cells, metric)
    found = fit(points)
    folder = folder or Path("comparisons") / first.experiment / "scaling"
    out = console()
    for table in (points_table(points, found, metric), laws_table(found)):
        out.print(terminal(table))
    out.print(CAVEAT, highlight=False)
    paths = write(points, found, metric, first.experiment, folder)
    tracking.log_comparison(first.tracking.uri, _runs(cells), "scaling", paths)
    out.print("\n".join(f"wrote {path}" for path in paths), highlight=False, soft_wrap=True)
    return paths


def _check_one_family(name: str, cells: Sequence[Recipe]) -> None:
    """A law that went through models of several kinds would be of none.

    Raises:
        WmzooError: the grid varies a part.
    """
    for path in recipe.PARTS:
        kinds = dict.fromkeys(_part(cell, path) for cell in cells)
        if len(kinds) > 1:
            raise WmzooError(
                f"{name}: grid: laws are of one {path}, not of {' and '.join(kinds)}; choose one of them by "
                f"grid.{path}=[...]."
            )


def _part(cell: Recipe, path: str) -> str:
    value: Any = cell
    for key in path.split("."):
        value = getattr(value, key)
    return str(value.name)


def fit(points: Sequence[Point]) -> list[Found]:
    """The laws of the lowest values: of compute on the envelope, of size, tokens and data for the best of each.

    Args:
        points: by rising FLOPs.
    """
    value = np.array([point.value for point in points])
    axes = {name: np.array([float(getattr(p, name)) for p in points]) for name in ("flops", *AXES)}
    envelope = laws.frontier(axes["flops"], value)
    found = [Found(of="error", along="flops", chosen=envelope, law=laws.fit(axes["flops"][envelope], value[envelope]))]
    for name, x in axes.items():
        if name != "flops" and len(np.unique(x)) > 1:
            best = laws.lowest(x, value)
            found.append(Found(of="error", along=name, chosen=best, law=laws.fit(x[best], value[best])))
    sizes = laws.fit(axes["flops"][envelope], axes["parameters"][envelope], floor=False)
    return [*found, Found(of="best size", along="flops", chosen=envelope, law=sizes)]


AXES = {"parameters": "parameters", "tokens": "training tokens", "rows": "distinct training rows"}
SYMBOLS = {"flops": "C", "parameters": "N", "tokens": "D", "rows": "U"}
ALONG = {"flops": "training FLOPs", **AXES}
CAVEAT = (
    "Intervals: 95 %, bootstrap-t of the residuals of the points that a law was fitted to. They hold that choice of "
    "points fixed, and know nothing of sizes and lengths beyond the grid or of other learning rates. An irreducible "
    "part is fitted where the points clearly ask for one; where they don't, but there is one, the exponent is too flat."
)


def points_table(points: Sequence[Point], found: Sequence[Found], metric: str) -> Grid:
    """A line for each point; those of the envelope are marked."""
    on = set(found[0].chosen.tolist())
    rows = [
        [count(p.parameters), count(p.tokens), count(p.rows), count(p.flops), f"{p.value:.4g}", _spread(p)]
        + ["*" if i in on else ""]
        for i, p in enumerate(points)
    ]
    heads = ("parameters", "tokens", "distinct rows", "FLOPs", metric, "seeds", "envelope")
    return Grid(title="Points", heads=heads, rows=rows, bold=set(), models=len(rows))


def _spread(point: Point) -> str:
    many = len(point.values)
    return f"{many}: {min(point.values):.4g} to {max(point.values):.4g}" if many > 1 else "1"


def laws_table(found: Sequence[Found]) -> Grid:
    """A line for each law."""
    rows = [[f"{f.of} by {ALONG[f.along]}", *_law(f)] for f in found]
    heads = ("law", "formula", "exponent", "95 %", "points", "residuals")
    return Grid(title="Power laws", heads=heads, rows=rows, bold=set(), models=len(rows))


def _law(found: Found) -> list[str]:
    law, x = found.law, SYMBOLS[found.along]
    if law is None:
        return [f"none: {laws.FEWEST} values of {x} are needed", "-", "-", str(len(found.chosen)), "-"]
    floor = f" + {law.c:.3g}" if law.c else ""
    told = f"{-law.interval[1]:+.3f} to {-law.interval[0]:+.3f}" if law.interval else "too few points"
    formula = f"{law.a:.3g} {x}^{-law.b:+.3f}{floor}"
    return [formula, f"{-law.b:+.3f}", told, str(law.points), f"{math.expm1(law.spread):.1%}"]


def write(points: Sequence[Point], found: Sequence[Found], metric: str, title: str, folder: Path) -> list[Path]:
    """Write the points and the laws as CSV and Markdown, and draw them."""
    from wmzoo.scaling import picture

    paths = [folder / name for name in ("points.csv", "laws.csv", "scaling.md", "scaling.png")]
    on = set(found[0].chosen.tolist())
    lines = [
        {**vars(p), "values": " ".join(map(str, p.values)), "envelope": int(i in on)} for i, p in enumerate(points)
    ]
    tables = [points_table(points, found, metric), laws_table(found)]
    texts = [as_csv(lines), as_csv([_line(f) for f in found]), "\n".join([*map(markdown, tables), CAVEAT + "\n"])]
    for path, text in zip(paths[:3], texts, strict=True):
        with replacing(path) as partial:
            partial.write_text(text)
    picture.draw(points, found, UNITS.get(metric, metric), title, paths[3])
    return paths


def _line(found: Found) -> dict[str, object]:
    law = found.law
    about: dict[str, object] = {"of": found.of, "along": found.along, "points": len(found.chosen)}
    if law is None:
        return about
    low, high = law.interval or ("", "")
    return {**about, "a": law.a, "b": law.b, "b_low": low, "b_high": high, "c": law.c, "spread": law.spread}


def _runs(cells: Sequence[Recipe]) -> list[str]:
    return [read_json(run_folder(cell) / "run.json")["mlflow_run_id"] for cell in cells]
