"""Data recipes: what a corpus is to hold, read and checked like any recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wmzoo import recipe
from wmzoo.collect.environments import ENVIRONMENTS
from wmzoo.collect.levels import LEVELS
from wmzoo.errors import WmzooError


@dataclass(frozen=True, kw_only=True)
class CollectRecipe:
    """A data recipe: what a corpus holds."""

    name: str = recipe.setting(help="of the corpus")
    corpus: str = recipe.setting(help="path of the HDF5 file to make")
    seed: int = recipe.setting(0, "of first states and actions", low=0)
    steps: int = recipe.setting(help="transitions of each set", low=1)
    environments: tuple[str, ...] = recipe.setting(help="which simulators", choices=tuple(ENVIRONMENTS))
    levels: tuple[str, ...] = recipe.setting(help="which behaviours", choices=LEVELS)
    policies: str | None = recipe.setting(
        None, "folder of policies, made by `wmzoo data policies`; the shipped if null"
    )

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Environment and level of each set."""
        return [(environment, level) for environment in self.environments for level in self.levels]


def read(name: str | Path, overrides: Sequence[str] = ()) -> CollectRecipe:
    """Read and check a data recipe.

    Args:
        name: its name or path.
        overrides: ``key=value`` settings.

    Raises:
        WmzooError: with every mistake found.
    """
    return check(recipe.read(name, overrides, recipe.data_names()))


def check(source: recipe.Source) -> CollectRecipe:
    """Turn a data recipe as written into a checked one.

    Raises:
        WmzooError: with every mistake found, each with its place.
    """
    problems: list[str] = []

    def report(path: str, message: str) -> None:
        problems.append(f"{source.place(path)}: {path}: {message}")

    checked = recipe.build_config(CollectRecipe, source.values, "", report)
    for key in ("environments", "levels"):
        names = source.values.get(key)
        if isinstance(names, list) and (not names or len(names) != len(set(map(str, names)))):
            report(key, "name at least one, and each once.")
    if problems:
        raise WmzooError(*problems)
    return checked
