"""``wmzoo quickstart``: from nothing to one comparison, by the commands that a user would type next."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from wmzoo import checkpoint, grid, recipe, report, training
from wmzoo.collect import collector
from wmzoo.files import read_json
from wmzoo.recipe import Recipe
from wmzoo.runs import run_folder

PROTOCOL = "transition/v1"


def run(overrides: Sequence[str] = ()) -> None:
    """Collect the quickstart's corpus, train and evaluate its models, and compare them; skips what is done.

    Args:
        overrides: ``key.path=value`` settings of the recipe.
    """
    began = time.perf_counter()
    recipes = [recipe.check(source) for source in grid.cells("quickstart", overrides)]
    _say("wmzoo data collect quickstart")
    corpus = collector.collect(collector.read("quickstart", [f"corpus={recipes[0].data.corpus}"]))
    folders = [_train_and_evaluate(r) for r in recipes]
    experiment, uri = recipes[0].experiment, recipes[0].tracking.uri
    _say(f"wmzoo compare {experiment}")
    pictures = report.print_comparison(experiment, uri, PROTOCOL, None, mixed=False)
    _farewell([corpus, *folders, *pictures], experiment, folders[0], time.perf_counter() - began)


def _train_and_evaluate(cell: Recipe) -> Path:
    """Train one model unless it is trained, evaluate it unless it is evaluated; its folder."""
    folder = run_folder(cell)
    done = (folder / "run.json").is_file() and read_json(folder / "run.json")["status"] == "finished"
    if not done:
        parts = [f"model.backbone.name={cell.model.backbone.name}", f"seed={cell.seed}"]
        _say(f"wmzoo train quickstart  # {' '.join(parts)}")
        training.train(cell, resume=True)
    if not (folder / f"{PROTOCOL.replace('/', '-')}.json").is_file():
        _say(f"wmzoo evaluate {shlex.quote(str(folder))} {PROTOCOL}")
        report.print_evaluation(str(checkpoint.find(folder).parent), PROTOCOL, ())
    return folder


def _say(command: str) -> None:
    print(f"\n$ {command}", flush=True)


def _farewell(paths: Sequence[Path], experiment: str, run: Path, seconds: float) -> None:
    print(f"\nDone in {seconds / 60:.1f} minutes. What there is now:")
    for path in dict.fromkeys(paths):
        print(f"  {path}")
    print("Type next:")
    print("  wmzoo ui                     # browse the runs in MLflow")
    print(
        f"  wmzoo check quickstart       # what the recipe of these {experiment} runs costs; then change a line of it"
    )
