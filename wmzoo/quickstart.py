"""``wmzoo quickstart``: from nothing to one comparison, by the commands that a user would type."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from wmzoo import grid, recipe
from wmzoo.errors import FailedError
from wmzoo.gridrun import running
from wmzoo.runs import run_folder


def run(overrides: Sequence[str] = ()) -> None:
    """Collect the quickstart's corpus, train and evaluate its models, and compare them; skips what is done.

    Args:
        overrides: ``key.path=value`` settings of the recipe.

    Raises:
        WmzooError: a step failed.
    """
    began = time.perf_counter()
    recipes = [recipe.check(source) for source in grid.cells("quickstart", overrides)]
    corpus = recipes[0].data.corpus
    _command("data", "collect", "quickstart", f"corpus={corpus}")
    print(f"\n$ wmzoo grid {shlex.join(['quickstart', *overrides])}", flush=True)
    pictures = running.run("quickstart", overrides)
    _farewell([Path(corpus), *map(run_folder, recipes), *pictures], time.perf_counter() - began)


def _command(*arguments: str) -> None:
    """Run a command in a process of its own, as a user would type it after ``wmzoo``."""
    print(f"\n$ wmzoo {shlex.join(arguments)}", flush=True)
    if subprocess.run([sys.executable, "-m", "wmzoo", *arguments], check=False).returncode:
        raise FailedError("it stopped there; mend what it says and repeat the command: it goes on where it was.")


def _farewell(paths: Sequence[Path], seconds: float) -> None:
    print(f"\nDone in {seconds / 60:.1f} minutes. What there is now:")
    for path in paths:
        print(f"  {path}")
    print("Type next:")
    print("  . .venv/bin/activate && wmzoo ui      # browse the runs in MLflow")
    print("  wmzoo check trajworld-cpu             # a larger model: what it costs, before you train it")
