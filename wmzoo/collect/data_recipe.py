"""Data recipes: what a corpus is to hold, read and checked like any recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmzoo import recipe
from wmzoo.collect.environments import choose_environments
from wmzoo.collect.ladder import SHIPPED
from wmzoo.collect.levels import LADDER_LEVELS, LEVELS, buffer_share
from wmzoo.errors import WmzooError


@dataclass(frozen=True, kw_only=True)
class CollectRecipe:
    """A data recipe: what a corpus holds."""

    name: str = recipe.setting(help="of the corpus")
    corpus: str = recipe.setting(help="path of the HDF5 file to make")
    seed: int = recipe.setting(0, "of first states, actions and policies", low=0)
    steps: int = recipe.setting(help="transitions of each set", low=1)
    episode: int | None = recipe.setting(None, "most transitions of an episode; the environment's own if null", low=1)
    environments: tuple[str, ...] = recipe.setting(help="simulators by name; dmc-* matches all that are not held out")
    levels: tuple[str, ...] = recipe.setting(help="which behaviours", choices=LEVELS)
    training: int = recipe.setting(60_000, "transitions that policies without a ladder are trained for", low=1)
    policies: str | None = recipe.setting(
        None, "folder of policies, made by `wmzoo data policies`; the shipped if null"
    )

    @property
    def chosen(self) -> list[str]:
        """The environments that the patterns match."""
        return choose_environments(self.environments)

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Environment and level of each set."""
        return [(environment, level) for environment in self.chosen for level in self.levels]


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
    _check_names(source, report)
    if not problems:
        _check_ladders(checked, report)
        _check_buffers(checked, report)
    if problems:
        raise WmzooError(*problems)
    return checked


def _check_names(source: recipe.Source, report: Callable[[str, str], None]) -> None:
    names = source.values.get("environments")
    for name in names if isinstance(names, list) else ():
        try:
            choose_environments([str(name)])
        except WmzooError as error:
            report("environments", error.problems[0].removeprefix("environments: "))


def _check_ladders(wanted: CollectRecipe, report: Callable[[str, str], None]) -> None:
    """Levels of skill need policies, which the package ships for three environments."""
    need = [level for level in wanted.levels if level in LADDER_LEVELS]
    folder = Path(wanted.policies or SHIPPED)
    lacking = [name for name in wanted.chosen if not (folder / f"{name}.json").is_file()] if need else []
    if lacking:
        report(
            "levels",
            f"{need[0]} needs policies of {lacking[0]}, which {folder} has not; make them with `wmzoo data policies "
            f"{lacking[0]} --to DIR` and set policies: DIR, or choose levels such as graded or mixed.",
        )


def _check_buffers(wanted: CollectRecipe, report: Callable[[str, str], None]) -> None:
    """A buffer holds what was played in training, each episode once."""
    for level in wanted.levels:
        bought = round(wanted.steps * buffer_share(level))
        if bought > wanted.training:
            report("training", f"{level} takes {bought} transitions of the buffer of training; raise it to that.")
