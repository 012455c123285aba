"""Recipes with nothing left unsaid: printed as YAML, and compared setting by setting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml
from rich.markup import escape
from rich.table import Table

from wmzoo import grid, recipe
from wmzoo.progress import console
from wmzoo.tracking import flatten


def cells(name: str, overrides: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Every setting of a recipe, of each cell of its grid, with parents merged and defaults filled in.

    Args:
        name: of the recipe, or its path; ``data/NAME`` for collecting data.
        overrides: ``key.path=value`` each; one of what the grid varies chooses among its cells.

    Raises:
        WmzooError: with every mistake found.
    """
    if name in recipe.data_names("data/"):
        from wmzoo.collect import data_recipe

        return [recipe.plain(data_recipe.read(name.removeprefix("data/"), overrides))]
    return [recipe.check(source).to_dict() for source in grid.cells(name, overrides)]


def print_resolved(name: str, overrides: Sequence[str] = ()) -> None:
    """Print a recipe that says everything, as YAML that is a recipe itself; a document for each cell of a grid."""
    found = cells(name, overrides)
    print(yaml.safe_dump_all(found, sort_keys=False, explicit_start=len(found) > 1), end="")


def differences(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Dotted paths of settings that differ, with what each side has: all values of its cells, or ``-`` for none."""
    ours, theirs = _values(first), _values(second)
    paths = [*ours, *(path for path in theirs if path not in ours)]
    rows = [(path, " | ".join(ours.get(path, ["-"])), " | ".join(theirs.get(path, ["-"]))) for path in paths]
    return [row for row in rows if row[1] != row[2]]


def print_diff(first: str, second: str, overrides: Sequence[str] = ()) -> None:
    """Print the settings in which two recipes differ.

    Args:
        first, second: names or paths.
        overrides: ``key.path=value`` settings of the second.

    Raises:
        WmzooError: with every mistake found in either.
    """
    ours, theirs = cells(first), cells(second, overrides)
    rows = differences(ours, theirs)
    title = f"{first} ({_count(ours)}) and {' '.join([second, *overrides])} ({_count(theirs)})"
    if not rows:
        return console().print(f"{title} say the same.", highlight=False, markup=False)
    table = Table("setting", first, second, title=title, title_justify="left", box=None, header_style="dim")
    for row in rows:
        table.add_row(*map(escape, row))
    console().print(table, highlight=False, markup=False)
    console().print(f"{len(rows)} settings differ; those of a grid show all values, `-` where there is none.")


def _count(found: Sequence[Any]) -> str:
    return "one recipe" if len(found) == 1 else f"{len(found)} cells"


def _values(found: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """The distinct values of each dotted path over all cells, in their order."""
    values: dict[str, dict[str, None]] = {}
    for cell in found:
        for path, value in flatten(cell):
            values.setdefault(path, {})[value if isinstance(value, str) and value else json.dumps(value)] = None
    return {path: list(distinct) for path, distinct in values.items()}
