"""Short names of the cells of a grid, from what the grid varies.

A name depends on the cell's own values, so that a grid which grows keeps the names, and the runs, of its old cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wmzoo.recipe import PARTS

SILENT = ("seed", "name")  # the seed stands beside the name wherever a run is told of


def named(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cells with a ``name`` each, the same for all seeds, such as ``tdm-one_hot`` or ``trajworld-steps=100``.

    A part is called by its name, and by the settings that tell it from others of that name; words stand alone, numbers
    behind the last piece of their path. What two paths have in common is said once if the names stay distinct.

    Args:
        cells: values by dotted path; all have the same paths.
    """
    paths = [path for path in cells[0] if path not in SILENT] if cells else []
    columns = [_labels(path, [cell[path] for cell in cells]) for path in paths]
    rows = list(zip(*columns, strict=True)) or [()] * len(cells)
    once = [tuple(dict.fromkeys(row)) for row in rows]
    names = ["-".join(row) for row in (once if len(set(once)) == len(set(rows)) else rows)]
    # A run's folder is called so.
    return [
        {"name": name.replace("/", "-"), **cell} if name else dict(cell)
        for name, cell in zip(names, cells, strict=True)
    ]


def short(value: Any) -> str:
    """A part by its name, a group by its settings, such as ``fraction=0.1``."""
    if isinstance(value, dict):
        return str(value["name"]) if "name" in value else _settings(value)
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)


def _settings(values: Mapping[str, Any]) -> str:
    return "-".join(f"{key}={short(value)}" for key, value in values.items())


def _labels(path: str, values: Sequence[Any]) -> list[str]:
    """What each value of an axis is called."""
    if path in PARTS:
        return [_part(value, values) for value in values]
    if path == "init_from":
        return ["scratch" if value is None else _start(str(value)) for value in values]
    plain = all(isinstance(value, dict) or _words(value) for value in values)
    return [short(value) if plain else f"{path.rpartition('.')[2]}={short(value)}" for value in values]


def _start(text: str) -> str:
    """A run or recipe to start from by its name, and the settings that change it."""
    name, *settings = text.split()
    return "-".join([name.rstrip("/").rpartition("/")[2], *changed(settings)])


def changed(settings: Sequence[str]) -> list[str]:
    """What ``key.path=value`` settings are called, such as ``fraction=0.1``."""
    pairs = [setting.partition("=") for setting in settings]
    return [f"{path.rpartition('.')[2]}={value}".translate(str.maketrans("", "", "[]'")) for path, _, value in pairs]


def _part(value: Any, values: Sequence[Any]) -> str:
    others = [other for other in values if isinstance(other, dict) and short(other) == short(value)]
    own = value if isinstance(value, dict) else {}
    differing = {k: v for k, v in own.items() if k != "name" and any(o.get(k) != v for o in others)}
    return "-".join([short(value), *([_settings(differing)] if differing else [])])


def _words(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))
