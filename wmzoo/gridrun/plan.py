"""A grid made ready: all its cells checked, told apart by recipe and data, and their cost counted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmzoo import checkpoint, evaluation, grid, pretraining
from wmzoo.cellnames import short
from wmzoo.errors import WmzooError
from wmzoo.files import read_json
from wmzoo.gridrun import state
from wmzoo.progress import bar
from wmzoo.recipe import Recipe, Source, check, plain
from wmzoo.runs import RunData, prepare, run_folder
from wmzoo.tracking import flatten

if TYPE_CHECKING:
    from wmzoo.cost import Cost


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One recipe of a grid.

    Attributes:
        recipe: resolved.
        manifest: of its data.
        cost: of a training step.
        seconds: estimated, of its training on this machine; None if it is not known.
        before: folder of the run that it starts from, if that is to be made first.
        prepares: others start from its run; it is not evaluated itself.
        apart: what tells it from other cells of its name and seed, such as ``fraction=0.1``.
    """

    recipe: Recipe
    manifest: dict[str, Any]
    cost: Cost
    seconds: float | None
    before: Path | None = None
    prepares: bool = False
    apart: str = ""

    @property
    def identity(self) -> str:
        """Of the resolved recipe and the data, 12 hexadecimal digits: cells with the same one are the same run."""
        return hashlib.sha256(f"{self.recipe.hash} {self.manifest['sha256']}".encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Of its run."""
        return run_folder(self.recipe)

    @property
    def title(self) -> str:
        """What it is called, with its seed."""
        return f"{self.label}, seed {self.recipe.seed}"

    @property
    def label(self) -> str:
        """What it is called, without its seed."""
        return f"{self.recipe.name} {self.apart}".rstrip()

    @property
    def flops(self) -> int:
        """Of its training."""
        return self.cost.flops * self.recipe.train.steps

    @property
    def wanted(self) -> dict[str, Any]:
        """The settings of each protocol that it is evaluated by; None stands for any."""
        own = self.recipe.evaluate
        if self.prepares:
            return {}
        short = {name: evaluation.short_name(name) for name in protocols(self.recipe)}
        return {name: _json(plain(own[key])) if key in own else None for name, key in short.items()}

    @property
    def done(self) -> bool:
        """Whether it is trained and evaluated."""
        return state.done(self.folder, self.wanted)


def protocols(recipe: Recipe) -> list[str]:
    """The versioned names of the protocols that a recipe is evaluated by: ``transition/v1`` if it names none."""
    wanted = list(recipe.evaluate) or ["transition"]
    return [full for full in evaluation.protocols() if evaluation.short_name(full) in wanted]


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def plan(name: str, overrides: Sequence[str] = (), *, timed: bool = True, quiet: bool = False) -> list[Cell]:
    """The cells of a grid, all of them checked against the data before anything is started.

    The runs of recipes that cells start from come first.

    Args:
        name: or path of the recipe.
        overrides: ``key.path=value`` settings of it.
        timed: also time a training step of each different model, for an estimate of the seconds.
        quiet: no progress.

    Raises:
        WmzooError: with the mistakes of all cells, or two cells are the same, or a run of a cell has other data.
    """
    sources = grid.cells(name, overrides)
    own = _checked(sources)
    earlier = {run_folder(start): start for source in sources if (start := pretraining.named(source.values))}
    recipes = [*earlier.values(), *own]
    data: dict[str, RunData] = {}
    costs: dict[str, tuple[Cost, float | None]] = {}
    found: list[Cell] = []
    with bar(f"check the cells of {name}", len(recipes), unit="cells", quiet=quiet or len(recipes) < 2) as report:
        for recipe in recipes:
            if repr(recipe.data) not in data:
                data[repr(recipe.data)] = prepare(recipe)
            chosen = data[repr(recipe.data)]
            settings = repr((recipe.data, recipe.model, recipe.objective, recipe.train))
            if settings not in costs:
                costs[settings] = _cost(recipe, chosen, timed)
            cost, seconds = costs[settings]
            found.append(
                Cell(
                    recipe=recipe,
                    manifest=chosen.manifest,
                    cost=cost,
                    seconds=seconds,
                    before=_before(recipe, earlier),
                    prepares=len(found) < len(earlier),
                )
            )
            report(len(found), "")
    found = _told_apart(found)
    _check_distinct(found)
    return found


def _told_apart(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, each with what tells it from those of its name and seed, if there are any."""
    values = [dict(flatten(cell.recipe.to_dict())) for cell in cells]
    found = []
    for cell, own in zip(cells, values, strict=True):
        alike = [
            other
            for twin, other in zip(cells, values, strict=True)
            if (twin.recipe.name, twin.recipe.seed, twin.prepares)
            == (cell.recipe.name, cell.recipe.seed, cell.prepares)
        ]
        paths = [path for path, value in own.items() if any(other.get(path) != value for other in alike)]
        apart = " ".join(f"{path.rpartition('.')[2]}={short(own[path])}" for path in paths)
        found.append(dataclasses.replace(cell, apart=apart))
    return found


def _before(recipe: Recipe, earlier: Collection[Path]) -> Path | None:
    """The run that a recipe starts from, if the grid makes it.

    Raises:
        WmzooError: it starts from a run that is not there.
    """
    if recipe.init_from and Path(recipe.init_from) in earlier:
        return Path(recipe.init_from)
    if recipe.init_from:
        checkpoint.find(recipe.init_from)
    return None


def _checked(sources: Sequence[Source]) -> list[Recipe]:
    """The recipes of all cells; a mistake that several of them share is told once."""
    problems: dict[str, None] = {}
    found = []
    for source in sources:
        try:
            found.append(check(source))
        except WmzooError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise WmzooError(*problems)
    return found


def _cost(recipe: Recipe, data: RunData, timed: bool) -> tuple[Cost, float | None]:
    """Of a step; and the estimated seconds of training, if that is asked for."""
    from wmzoo.cost import step_cost, step_seconds
    from wmzoo.training import choose_device

    device = choose_device(recipe.train.device)
    cost = step_cost(recipe, data.variates, data.shares(recipe))
    return cost, step_seconds(recipe, data.variates, cost, device) * recipe.train.steps if timed else None


def _check_distinct(cells: Sequence[Cell]) -> None:
    seen: dict[str, Cell] = {}
    for cell in cells:
        if cell.identity in seen:
            other = seen[cell.identity].title
            raise WmzooError(f"grid: {cell.title} and {other} are the same run; leave one of them out.")
        seen[cell.identity] = cell
        path = cell.folder / "manifest.json"
        if path.is_file() and read_json(path)["sha256"] != cell.manifest["sha256"]:
            raise WmzooError(
                f"{cell.folder}: was trained on other data than {cell.recipe.data.corpus} holds now; restore them, "
                "delete the folder, or set another tracking.folder."
            )


def job(cell: Cell, parent: str, threads: int) -> dict[str, Any]:
    """What a process needs to know to run a cell: ``job.json``.

    Args:
        cell: to run.
        parent: MLflow run that it hangs under.
        threads: of its products; those of an interrupted run are kept, as sums depend on them.
    """
    path = cell.folder / state.JOB
    threads = read_json(path)["threads"] if path.is_file() else threads
    told = {"identity": cell.identity, "parent": parent, "threads": threads, "protocols": cell.wanted}
    return {**told, "recipe": cell.recipe.to_dict()}
