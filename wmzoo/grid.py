"""Grids: a recipe with a ``grid:`` section stands for one recipe a combination.

    grid:
      model.backbone: [trajworld, tdm]            # every value of each list with every value of the others
      seed: [0, 1]
      zip:                                        # these lists move together
        - {model.tokenizer.bins: [64, 128], model.head.bins: [64, 128]}
      exclude:                                    # combinations to leave out; a list means any of its values
        - {model.backbone: tdm, seed: 1}

Paths are dotted or nested. A cell is named by what the grid varies; see :mod:`wmzoo.cellnames`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wmzoo.cellnames import named, short
from wmzoo.errors import WmzooError, nearest
from wmzoo.recipe import Source, override, parse_overrides, read

Cell = dict[str, Any]
"""Values of a cell by dotted path."""

ZIP, EXCLUDE = "zip", "exclude"


def cells(recipe: str | Path, overrides: Sequence[str] = ()) -> list[Source]:
    """The merged recipes of a grid, in the order of its lists; one if there is no grid.

    Args:
        recipe: name or path.
        overrides: ``key.path=value`` each. One of ``name`` or of a path that the grid varies chooses among the cells;
            one of ``grid.PATH`` replaces a list; any other changes all cells.

    Raises:
        WmzooError: the recipe can't be read, its grid is not well formed, or no cell is chosen.
    """
    narrowed = [text for text in overrides if text.startswith("grid.")]
    axes = _axes(read(recipe, narrowed))
    paths = {path for axis in axes for path in axis[0]}
    chosen = [text for text in overrides if axes and text.partition("=")[0] in {*paths, "name"}]
    source = read(recipe, [text for text in overrides if text not in chosen])
    base = dataclasses.replace(source, values={k: v for k, v in source.values.items() if k != "grid"})
    varied = [{path: value for part in parts for path, value in part.items()} for parts in itertools.product(*axes)]
    made = [override(base, cell, source.place("grid")) for cell in varied]
    kept = _kept(source, made, told=not narrowed)
    found = named([varied[i] for i in kept])
    for text in chosen:
        found = _choose(found, text)
    return [override(base, cell, source.place("grid")) for cell in found]


def _axes(source: Source) -> list[list[Cell]]:
    """The axes of the grid: of each the values that it takes, those of a zip group being of several paths at once."""
    grid = source.values.get("grid") or {}
    if not isinstance(grid, dict):
        raise _malformed(source)
    lists = dict(_flat({key: value for key, value in grid.items() if key not in (ZIP, EXCLUDE)}))
    _check_lists(source, lists, "grid")
    axes = [[{path: value} for value in values] for path, values in lists.items()]
    seen = set(lists)
    for place, group in _groups(source, grid, ZIP):
        together = dict(_flat(group))
        _check_lists(source, together, place)
        if len({len(values) for values in together.values()}) != 1:
            told = ", ".join(f"{path} has {len(values)}" for path, values in together.items())
            raise WmzooError(f"{source.place(place)}: {place}: its lists move together and must be as long: {told}.")
        if twice := seen & set(together):
            raise WmzooError(f"{source.place(place)}: {place}: {min(twice)} is varied twice; name it once.")
        seen |= set(together)
        axes.append([dict(zip(together, values, strict=True)) for values in zip(*together.values(), strict=True)])
    return axes


def _check_lists(source: Source, lists: Mapping[str, Any], place: str) -> None:
    if not all(isinstance(values, list) and values for values in lists.values()) or (place != "grid" and not lists):
        raise _malformed(source, place)


def _malformed(source: Source, place: str = "grid") -> WmzooError:
    return WmzooError(f"{source.place(place)}: {place}: must map dotted paths to lists, such as `seed: [0, 1]`.")


def _groups(source: Source, grid: Mapping[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The groups below ``zip`` or ``exclude``, a single one or a list of them, each with its place."""
    groups = grid.get(key) or []
    for number, group in enumerate(groups if isinstance(groups, list) else [groups]):
        place = f"grid.{key}[{number}]"
        if not isinstance(group, dict) or not group:
            raise WmzooError(f"{source.place(place)}: {place}: must be a mapping of dotted paths, not {group!r}.")
        yield place, group


def _flat(grid: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a grid by dotted path, whether its paths are dotted or nested; of two, the last one counts."""
    for key, value in grid.items() if isinstance(grid, dict) else [("", grid)]:
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _kept(source: Source, made: Sequence[Source], told: bool) -> list[int]:
    """The cells that no exclusion matches; one that matches none is a mistake, if the grid is as it was written."""
    left = set(range(len(made)))
    for place, group in _groups(source, source.values.get("grid") or {}, EXCLUDE):
        wanted = dict(_flat(group))
        hit = {i for i, cell in enumerate(made) if all(_matches(cell.values, *item) for item in wanted.items())}
        if not hit and told:
            raise WmzooError(f"{source.place(place)}: {place}: {_nothing(made, wanted)}")
        left -= hit
    if not left:
        raise WmzooError(f"{source.place('grid.exclude')}: grid.exclude: leaves no cell; exclude fewer.")
    return sorted(left)


def _matches(values: Any, path: str, wanted: Any) -> bool:
    found = _at(values, path)
    return any(short(found) == short(one) for one in (wanted if isinstance(wanted, list) else [wanted]))


def _at(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _nothing(made: Sequence[Source], wanted: Mapping[str, Any]) -> str:
    """Why an exclusion matches nothing: a path or a value that no cell has."""
    for path, value in wanted.items():
        there = {short(_at(cell.values, path)) for cell in made} - {"None"}
        if not there:
            return f"no cell sets {path}; correct the path."
        if not any(_matches(cell.values, path, value) for cell in made):
            return f"no cell has {path}: {short(value)}. {nearest(short(value), there)}"
    return "no cell has all of these; correct it or leave it out."


def _choose(made: list[Cell], text: str) -> list[Cell]:
    """The cells that an override asks for."""
    path, _, wanted = text.partition("=")
    value: Any = parse_overrides([f"value={wanted}"])["value"]
    kept = [cell for cell in made if short(cell.get(path)) == short(value)]
    if not kept:
        there = ", ".join(dict.fromkeys(short(cell.get(path)) for cell in made))
        other = "" if path == "name" else f", or set grid.{path}=[...]"
        raise WmzooError(f"command line: {text}: the grid holds {there}; choose one of them{other}.")
    return kept
