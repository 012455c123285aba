"""How much of a training is spent on tracking: ``python tests/tracking_overhead.py RECIPE [key.path=value ...]``."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from wmzoo import grid, tracking, training
from wmzoo.recipe import check


def measure(recipe: str, settings: list[str]) -> tuple[float, float, int]:
    """Train; seconds of the loop, those of them that tracking took, and the number of times."""
    taken: list[float] = []

    def timed(call: Callable[..., None]) -> Callable[..., None]:
        def measured(*arguments: object) -> None:
            began = time.perf_counter()
            call(*arguments)
            taken.append(time.perf_counter() - began)

        return measured

    with tempfile.TemporaryDirectory() as folder:
        places = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.folder={folder}/runs"]
        tracking.log = timed(tracking.log)
        trainer = training.Trainer(check(grid.cells(recipe, [*settings, *places])[0]))
        loop, spans = trainer._loop, []

        def whole(quiet: bool) -> None:
            began = time.perf_counter()
            loop(quiet)
            spans.append(time.perf_counter() - began)

        trainer._loop = whole
        trainer.run(quiet=True)
    return spans[0], sum(taken), len(taken)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"usage: python {Path(__file__).name} RECIPE [key.path=value ...]")
    span, told, times = measure(sys.argv[1], sys.argv[2:])
    print(f"training {span:.2f} s, tracking {told:.3f} s in {times} batches: {told / span:.2%}")
