"""Grids: a recipe whose ``grid:`` maps dotted paths to lists stands for one recipe a combination."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from wmzoo.errors import WmzooError
from wmzoo.recipe import PARTS, Source, override, read


def cells(recipe: str | Path, overrides: Sequence[str] = ()) -> list[Source]:
    """The merged recipes of a grid, in the order of its lists; one if there is no grid.

    An override ``grid.seed=[3]`` replaces a list; one of a path that the grid varies is overruled by the grid.

    Raises:
        WmzooError: the recipe can't be read, or its grid is not a mapping of lists.
    """
    source = read(recipe, overrides)
    base = dataclasses.replace(source, values={k: v for k, v in source.values.items() if k != "grid"})
    lists = dict(_lists(source.values.get("grid") or {}, ""))
    if not all(isinstance(values, list) and values for values in lists.values()):
        raise WmzooError(f"{source.place('grid')}: grid: must map dotted paths to lists, such as `seed: [0, 1]`.")
    cells_ = (dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values()))
    return [override(base, _named(cell), source.place("grid")) for cell in cells_]


def _named(cell: dict[str, Any]) -> dict[str, Any]:
    """The cell with a name that tells it from the others, whatever the seed: what it varies, parts by their name."""
    labels = [_label(path, value) for path, value in cell.items() if path not in ("seed", "name")]
    return {"name": "-".join(labels), **cell} if labels else cell


def _label(path: str, value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        return str(value["name"])
    return str(value) if path in PARTS else f"{path.rpartition('.')[2]}={value}"


def _lists(grid: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The lists of a grid by dotted path, whether its paths are dotted or nested; of two, the last one counts."""
    for key, value in grid.items() if isinstance(grid, dict) else [("", grid)]:
        if isinstance(value, dict):
            yield from _lists(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
