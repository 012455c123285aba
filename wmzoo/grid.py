"""Grids: a recipe whose ``grid:`` maps dotted paths to lists stands for one recipe a combination."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wmzoo.errors import WmzooError
from wmzoo.recipe import PARTS, Source, override, parse_overrides, read


def cells(recipe: str | Path, overrides: Sequence[str] = ()) -> list[Source]:
    """The merged recipes of a grid, in the order of its lists; one if there is no grid.

    Args:
        recipe: name or path.
        overrides: ``key.path=value`` each. One of ``name`` or of a path that the grid varies chooses among the cells;
            one of ``grid.PATH`` replaces a list; any other changes all cells.

    Raises:
        WmzooError: the recipe can't be read, its grid is not a mapping of lists, or no cell is chosen.
    """
    lists = _lists_of(read(recipe, [text for text in overrides if text.startswith("grid.")]))
    chosen = [text for text in overrides if lists and text.partition("=")[0] in (*lists, "name")]
    source = read(recipe, [text for text in overrides if text not in chosen])
    base = dataclasses.replace(source, values={k: v for k, v in source.values.items() if k != "grid"})
    varied = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    made = [_named(cell) for cell in varied]
    for text in chosen:
        made = _choose(made, text)
    return [override(base, cell, source.place("grid")) for cell in made]


def _lists_of(source: Source) -> dict[str, list[Any]]:
    lists = dict(_flat(source.values.get("grid") or {}, ""))
    if not all(isinstance(values, list) and values for values in lists.values()):
        raise WmzooError(f"{source.place('grid')}: grid: must map dotted paths to lists, such as `seed: [0, 1]`.")
    return lists


def _flat(grid: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The lists of a grid by dotted path, whether its paths are dotted or nested; of two, the last one counts."""
    for key, value in grid.items() if isinstance(grid, dict) else [("", grid)]:
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _named(cell: Mapping[str, Any]) -> dict[str, Any]:
    """The cell with a name that tells it from the others, whatever the seed: what it varies, parts by their name."""
    labels = [_label(path, value) for path, value in cell.items() if path not in ("seed", "name")]
    name = "-".join(labels).replace("/", "-")  # a run's folder is called so
    return {"name": name, **cell} if labels else dict(cell)


def _label(path: str, value: Any) -> str:
    short = _short(value)
    return short if path in PARTS or isinstance(value, dict) else f"{path.rpartition('.')[2]}={short}"


def _short(value: Any) -> str:
    """A part by its name, a group by its settings, such as ``fraction=0.1``."""
    if isinstance(value, dict):
        return str(value["name"]) if "name" in value else "-".join(_label(key, item) for key, item in value.items())
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _choose(made: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The cells that an override asks for."""
    path, _, wanted = text.partition("=")
    value: Any = parse_overrides([f"value={wanted}"])["value"]
    kept = [cell for cell in made if _short(cell.get(path)) == _short(value)]
    if not kept:
        there = ", ".join(dict.fromkeys(_short(cell.get(path)) for cell in made))
        other = "" if path == "name" else f", or set grid.{path}=[...]"
        raise WmzooError(f"command line: {text}: the grid holds {there}; choose one of them{other}.")
    return kept
