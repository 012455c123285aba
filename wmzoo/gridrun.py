"""``wmzoo grid``: every cell of a grid trained and evaluated, and all of them compared, one after another."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wmzoo import evaluation, grid, recipe, report
from wmzoo.errors import WmzooError
from wmzoo.files import read_json
from wmzoo.recipe import Recipe
from wmzoo.runs import run_folder


def run(name: str, overrides: Sequence[str] = (), compare: bool = True) -> list[Path]:
    """Train and evaluate the cells of a grid, and compare them; skips what is done.

    Each is evaluated by the protocols that the recipe's ``evaluate`` section names, and by ``transition/v1`` if it
    names none.

    Args:
        name: or path of the recipe.
        overrides: ``key.path=value`` settings of it.
        compare: whether to compare them.

    Returns:
        The files of the comparisons.

    Raises:
        WmzooError: the recipe is wrong, in any of its cells, or a step failed.
    """
    cells = [recipe.check(source) for source in grid.cells(name, overrides)]
    for number, cell in enumerate(cells):
        print(f"\n[{number + 1}/{len(cells)}] {cell.name}, seed {cell.seed}", flush=True)
        _train(name, cell, overrides)
        for protocol in protocols(cell):
            _evaluate(cell, protocol)
    found: list[Path] = []
    first = cells[0]
    for protocol in protocols(first) if compare else ():
        _say("compare", first.experiment, "--protocol", protocol, "--uri", first.tracking.uri)
        found += report.print_comparison(first.experiment, first.tracking.uri, protocol)
    return found


def protocols(cell: Recipe) -> list[str]:
    """The versioned names of the protocols that a recipe is evaluated by."""
    wanted = list(cell.evaluate) or ["transition"]
    return [full for full in evaluation.protocols() if full.partition("/")[0] in wanted]


def _train(name: str, cell: Recipe, overrides: Sequence[str]) -> None:
    """Train one cell unless it is trained."""
    about = run_folder(cell) / "run.json"
    if about.is_file() and read_json(about)["status"] == "finished":
        return
    others = [text for text in overrides if text.partition("=")[0] not in ("name", "seed")]
    command("train", name, f"name={cell.name}", f"seed={cell.seed}", *others, "--resume")


def _evaluate(cell: Recipe, protocol: str) -> None:
    """Evaluate one cell unless it is evaluated by these settings."""
    folder, short = run_folder(cell), protocol.partition("/")[0]
    path = folder / f"{protocol.replace('/', '-')}.json"
    wanted = recipe.plain(cell.evaluate[short]) if short in cell.evaluate else None
    if path.is_file() and wanted in (None, read_json(path)["settings"]):
        return
    _say("evaluate", str(folder), protocol)
    report.print_evaluation(str(folder), protocol, like=cell)


def _say(*arguments: str) -> None:
    print(f"\n$ wmzoo {shlex.join(arguments)}", flush=True)


def command(*arguments: str) -> None:
    """Run a command in a process of its own, so that its peak memory is its own too.

    Args:
        arguments: what a user would type after ``wmzoo``.

    Raises:
        WmzooError: it failed.
    """
    _say(*arguments)
    code = subprocess.run([sys.executable, "-m", "wmzoo", *arguments], check=False).returncode
    if code:
        raise WmzooError("it stopped there; mend what it says and repeat the command: it goes on where it was.")
