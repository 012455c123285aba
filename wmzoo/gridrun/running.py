"""``wmzoo grid`` from its plan to the comparison."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wmzoo import report, tracking
from wmzoo.errors import FailedError
from wmzoo.gridrun import engines, state, view
from wmzoo.gridrun.plan import Cell, plan, protocols
from wmzoo.gridrun.schedule import DONE, FAILED, Schedule, Track
from wmzoo.interrupts import terminated_is_interrupted
from wmzoo.progress import console
from wmzoo.recipe import read


def run(
    name: str,
    overrides: Sequence[str] = (),
    *,
    workers: int | None = None,
    engine: str = "local",
    options: Mapping[str, Any] | None = None,
    dry: bool = False,
    quiet: bool = False,
    compare: bool = True,
) -> list[Path]:
    """Train and evaluate the cells of a grid, and compare them; skips what is done and resumes what was broken off.

    Each is evaluated by the protocols that the recipe's ``evaluate`` section names, and by ``transition/v1`` if it
    names none. Other processes may run the same grid at the same time: they share the cells.

    Args:
        name: or path of the recipe.
        overrides: ``key.path=value`` settings of it.
        workers: cells at a time; as many as there are cores or GPUs if None.
        engine: ``local``, ``ray`` or ``slurm``.
        options: for the cluster's library.
        dry: only list the cells and what they cost.
        quiet: no progress.
        compare: whether to compare them at the end.

    Returns:
        The files of the comparisons.

    Raises:
        WmzooError: the recipe is wrong, in any of its cells.
        FailedError: a cell failed; the others were run.
        KeyboardInterrupt: with how to go on.
    """
    where = engines.make(engine, workers, options or {})
    with contextlib.closing(where):
        cells = plan(name, overrides, timed=engine == "local", quiet=quiet)
        if dry:
            view.print_plan(cells, where.slots)
            return []
        if not quiet:
            view.print_total(cells, where.slots)
        first = cells[-1].recipe  # the runs that others start from may belong to another experiment
        manifests = [cell.manifest for cell in cells if not cell.prepares]
        parent = tracking.grid_run(first, str(read(name).values.get("name", name)), manifests)
        status = "KILLED"
        try:
            tracks = _run(cells, where, parent, quiet, again=shlex.join(["wmzoo", "grid", name, *overrides]))
            failed = [track for track in tracks if track.status == FAILED]
            done = [track.cell for track in tracks if track.status == DONE and not track.cell.prepares]
            paths = _compare(done, parent, quiet) if compare else []
            status = "FAILED" if failed else "FINISHED"
        finally:
            tracking.end(first, parent, status)
    _tell_failed(failed, len(cells))
    return paths


def _run(cells: Sequence[Cell], where: engines.Engine, parent: str, quiet: bool, again: str) -> list[Track]:
    """Run the cells to their end; interrupted, stop them and say how to go on."""
    shown = view.View(quiet, where.slots)
    schedule = Schedule(cells, where, parent, shown.event)
    try:
        with terminated_is_interrupted(), shown.shown(schedule.tracks) as draw:
            with contextlib.closing(schedule.run()) as steps:
                for _ in steps:
                    draw()
            draw()
    except KeyboardInterrupt:
        done = sum(track.status == DONE for track in schedule.tracks)
        raise KeyboardInterrupt(f"{done} of {len(cells)} cells are done; to go on: {again}") from None
    return schedule.tracks


def _compare(cells: Sequence[Cell], parent: str, quiet: bool) -> list[Path]:
    """Compare the cells by each of their protocols; the files also go to the run above them."""
    found: list[Path] = []
    for protocol in dict.fromkeys(name for cell in cells for name in protocols(cell.recipe)):
        first = cells[0].recipe
        print(f"\n$ wmzoo compare {first.experiment} --protocol {protocol} --uri {first.tracking.uri}", flush=True)
        paths = report.print_comparison(first.experiment, first.tracking.uri, protocol, quiet=quiet)
        tracking.log_comparison(first.tracking.uri, [parent], protocol, paths)
        found += paths
    return found


def _tell_failed(failed: Sequence[Track], count: int) -> None:
    """Tell of the cells that failed, with their last words.

    Raises:
        FailedError: there are some.
    """
    if not failed:
        return
    out = console()
    out.print(f"\n{len(failed)} of {count} cells failed:")
    for track in failed:
        text = f"  {track.cell.title}: {track.words}\n    log: {track.cell.folder / state.LOG}"
        out.print(text, highlight=False, markup=False, soft_wrap=True)
    raise FailedError(f"{len(failed)} of {count} cells failed; mend the cause and repeat the command: it goes on.")
