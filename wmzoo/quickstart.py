"""``wmzoo quickstart``: from nothing to one comparison, by the commands that a user would type."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from wmzoo import grid, recipe, report
from wmzoo.errors import WmzooError
from wmzoo.files import read_json
from wmzoo.recipe import Recipe
from wmzoo.runs import run_folder

PROTOCOL = "transition/v1"


def run(overrides: Sequence[str] = ()) -> None:
    """Collect the quickstart's corpus, train and evaluate its models, and compare them; skips what is done.

    Args:
        overrides: ``key.path=value`` settings of the recipe.

    Raises:
        WmzooError: a step failed.
    """
    began = time.perf_counter()
    recipes = [recipe.check(source) for source in grid.cells("quickstart", overrides)]
    corpus, experiment, uri = recipes[0].data.corpus, recipes[0].experiment, recipes[0].tracking.uri
    _run("data", "collect", "quickstart", f"corpus={corpus}")
    for cell in recipes:
        _train_and_evaluate(cell, overrides)
    _say("compare", experiment, "--uri", uri)
    pictures = report.print_comparison(experiment, uri, PROTOCOL)
    _farewell([Path(corpus), *map(run_folder, recipes), *pictures], time.perf_counter() - began)


def _train_and_evaluate(cell: Recipe, overrides: Sequence[str]) -> None:
    """Train one model unless it is trained, evaluate it unless it is evaluated."""
    folder = run_folder(cell)
    done = (folder / "run.json").is_file() and read_json(folder / "run.json")["status"] == "finished"
    if not done:
        _run("train", "quickstart", f"name={cell.name}", f"seed={cell.seed}", *overrides, "--resume")
    if not (folder / f"{PROTOCOL.replace('/', '-')}.json").is_file():
        _say("evaluate", str(folder), PROTOCOL)
        report.print_evaluation(str(folder), PROTOCOL)


def _say(*arguments: str) -> None:
    print(f"\n$ wmzoo {shlex.join(arguments)}", flush=True)


def _run(*arguments: str) -> None:
    """Run a command in a process of its own, so that its peak memory is its own too."""
    _say(*arguments)
    code = subprocess.run([sys.executable, "-m", "wmzoo", *arguments], check=False).returncode
    if code:
        raise WmzooError("the quickstart stopped there; mend what it says and repeat it: it goes on where it was.")


def _farewell(paths: Sequence[Path], seconds: float) -> None:
    print(f"\nDone in {seconds / 60:.1f} minutes. What there is now:")
    for path in paths:
        print(f"  {path}")
    print("Type next:")
    print("  . .venv/bin/activate && wmzoo ui      # browse the runs in MLflow")
    print("  wmzoo check trajworld-cpu             # a larger model: what it costs, before you train it")
