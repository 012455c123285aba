"""What is seen of a grid: a table that lives on a terminal, and a line an event elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from wmzoo.files import read_json
from wmzoo.gridrun import state
from wmzoo.gridrun.plan import Cell
from wmzoo.gridrun.schedule import DONE, ELSEWHERE, FAILED, RUNNING, WAITING, Track
from wmzoo.progress import console

COLOURS = {DONE: "green", FAILED: "bold red", RUNNING: "bold", ELSEWHERE: "cyan", WAITING: "dim"}
FIRST = (FAILED, RUNNING, ELSEWHERE, WAITING, DONE)  # to be seen, if there is no room for all
MARGIN = 8  # lines of a terminal that are not the table's


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as one would say."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def print_plan(cells: Sequence[Cell], slots: int) -> None:
    """List the cells with their cost and state, and the total of what is left to do."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for head in ("cell", "seed", "identity", "state"):
        table.add_column(head)
    for head in ("parameters", "steps", "FLOPs", "train s"):
        table.add_column(head, justify="right")
    for cell in cells:
        seconds = "-" if cell.seconds is None else f"{cell.seconds:.0f}"
        size = (f"{cell.cost.parameters:,}", f"{cell.recipe.train.steps:,}", f"{cell.flops:.3g}", seconds)
        table.add_row(cell.label, str(cell.recipe.seed), cell.identity, standing(cell), *size)
    console().print(table)
    print_total(cells, slots)


def standing(cell: Cell) -> str:
    """How far a cell is that nobody may be working on."""
    if cell.done:
        return "done"
    if state.claimed(cell.folder):
        return "running"
    if state.trained(cell.folder):
        return "to evaluate"
    note = state.progress(cell.folder, 0.0)
    return "to resume" if note else "to do"


def print_total(cells: Sequence[Cell], slots: int) -> None:
    """One line: how many cells, how many of them to do, and what that takes."""
    left = [cell for cell in cells if not cell.done]
    text = f"{len(cells)} cells, {len(cells) - len(left)} of them done"
    if left:
        text += f"; to train: {sum(cell.flops for cell in left):.3g} FLOPs"
    seconds = [cell.seconds for cell in left if cell.seconds is not None]
    if left and len(seconds) == len(left):
        total, most = sum(seconds), min(slots, len(left))
        wall = max(total / most, *seconds)
        text += f", about {duration(total)} of work, {duration(wall)} by {most} at a time, without evaluation"
    console().print(text + ".", highlight=False, soft_wrap=True)


class View:
    """Shows the cells of a grid.

    Args:
        quiet: show nothing but failures.
        slots: how many cells run at a time.
    """

    def __init__(self, quiet: bool, slots: int):
        self.out: Console = console()
        self.lively, self.quiet, self.slots = self.out.is_terminal and not quiet, quiet, slots
        self.tracks: Sequence[Track] = []

    def event(self, track: Track) -> None:
        """Tell of a cell whose status has changed, in a line; on a terminal the table does."""
        if not self.lively and (not self.quiet or track.status == FAILED):
            ended = sum(other.status in (DONE, FAILED) for other in self.tracks)
            text = f"[{ended}/{len(self.tracks)}] {track.cell.title}: {track.status}{_ending(track)}"
            self.out.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def shown(self, tracks: Sequence[Track]) -> Iterator[Callable[[], None]]:
        """Show the cells meanwhile; yields what draws them anew."""
        self.tracks = tracks
        if not self.lively:
            yield lambda: None
            return
        with Live(console=self.out, auto_refresh=False) as live:
            yield lambda: live.update(self._table(), refresh=True)

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
        longest = max(len(track.cell.label) for track in self.tracks)
        table.add_column("cell", no_wrap=True, min_width=min(longest, self.out.width // 2))
        for head, width in (("seed", 4), ("state", 9), ("time", 6)):
            table.add_column(head, no_wrap=True, min_width=width)
        table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
        room = max(4, self.out.height - MARGIN)
        shown = sorted(self.tracks, key=lambda t: FIRST.index(t.status))[:room]
        for track in (t for t in self.tracks if t in shown):
            cell = (track.cell.label, str(track.cell.recipe.seed))
            table.add_row(*cell, Text(track.status, COLOURS[track.status]), _time(track), Text(_how_far(track)))
        more = len(self.tracks) - len(shown)
        lines = [f"and {more} more"] if more else []
        return Group(table, Text("\n".join([*lines, self._summary()]), "dim"))

    def _summary(self) -> str:
        counts = {status: sum(t.status == status for t in self.tracks) for status in COLOURS}
        told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        left = time_left(self.tracks, self.slots, time.time())
        return f"{told}; about {duration(left)} left" if left else told


def _ending(track: Track) -> str:
    """What is worth saying at the end of a cell."""
    if track.status == DONE and not track.before:
        cost = read_json(track.cell.folder / "run.json")["cost"]
        took = f" in {duration(track.ended - track.began)}" if track.began else ""
        return f"{took}, {cost['peak_memory_mb']:,.0f} MB at most in training"
    if track.status == FAILED:
        return f": {track.words}"
    return " by another process" if track.status == ELSEWHERE else ""


def _how_far(track: Track) -> str:
    if track.status == FAILED:
        return track.words
    note = state.progress(track.cell.folder, track.began - 60) if track.status in (RUNNING, ELSEWHERE) else None
    if note is None:
        return "before" if track.before else ""
    job = "training" if note["title"] == track.cell.recipe.name else note["title"].removesuffix(track.cell.recipe.name)
    return f"{note['done'] / max(1, note['total']):4.0%} of {job.strip()}  {note['text']}"


def _time(track: Track) -> str:
    if track.status in (RUNNING, ELSEWHERE):
        return duration(time.time() - track.began)
    return duration(track.ended - track.began) if track.began and track.ended else ""


def time_left(tracks: Sequence[Track], slots: int, now: float) -> float:
    """Seconds until the last cell ends, from the estimates and from how wrong they have been; 0 if it is not known.

    Args:
        tracks: all cells.
        slots: how many run at a time.
        now: Unix time.
    """
    ended = [t for t in tracks if t.status == DONE and not t.before and t.began]
    taken, expected = sum(t.ended - t.began for t in ended), sum(_work(t.cell) for t in ended)
    known = all(t.cell.seconds is not None for t in tracks)
    rate = taken / expected if expected else (1.0 if known else 0.0)
    running = [t for t in tracks if t.status in (RUNNING, ELSEWHERE)]
    rest = [_rest(t, _work(t.cell) * rate, now - t.began) for t in running]
    waiting = [_work(t.cell) * rate for t in tracks if t.status == WAITING]
    if any(t.status == WAITING and t.handle for t in tracks):
        slots = len(running)  # a cluster has no room for more
    together = max(1, min(slots, len(running) + len(waiting)))
    return max([(sum(rest) + sum(waiting)) / together, *rest, *waiting], default=0.0)


def _rest(track: Track, expected: float, elapsed: float) -> float:
    """Seconds that a running cell still takes: by how far its training is or, before and after, as expected."""
    note = state.progress(track.cell.folder, track.began - 60)
    if note and note["title"] == track.cell.recipe.name and note["done"]:
        return elapsed * (note["total"] / float(note["done"]) - 1)
    return max(0.0, expected - elapsed)


def _work(cell: Cell) -> float:
    """The estimated seconds of training or, if those are not known, the FLOPs."""
    return float(cell.flops) if cell.seconds is None else cell.seconds
