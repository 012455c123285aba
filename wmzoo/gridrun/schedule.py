"""The life of a grid's cells: started where there is room, watched, shared with other processes, stopped together."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from wmzoo.files import write_json
from wmzoo.gridrun import state
from wmzoo.gridrun.cell import CLAIMED
from wmzoo.gridrun.engines import Engine, Job
from wmzoo.gridrun.plan import Cell, job

WAITING, RUNNING, ELSEWHERE, DONE, FAILED = "waiting", "running", "elsewhere", "done", "failed"
LOOK_EVERY = 0.2  # seconds
LOOK_ELSEWHERE = 1.0  # seconds between two looks at a cell that another process has
GRACE = 20.0  # seconds for a cell to end by itself


@dataclass(eq=False)
class Track:
    """A cell and how it is getting on.

    Attributes:
        cell: that is followed.
        status: one of the above.
        before: whether it was done before this process began.
        handle: of a cell that the engine has; it waits, if on a cluster's queue, until its process tells of itself.
        noted: when the last process that told of itself before began, by the clock of its machine.
        began: Unix time at which it was handed to the engine, then at which it ran, or was found elsewhere.
        ended: Unix time.
        words: the last ones, of a failed cell.
    """

    cell: Cell
    status: str = WAITING
    before: bool = False
    handle: Job | None = None
    noted: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    words: str = ""


class Schedule:
    """Runs the cells of a grid.

    Args:
        cells: of the grid.
        engine: where they run.
        parent: MLflow run that they hang under.
        tell: is called with each cell whose status has changed.
    """

    def __init__(self, cells: Sequence[Cell], engine: Engine, parent: str, tell: Callable[[Track], None]):
        self.engine, self.parent, self.tell = engine, parent, tell
        self.began, self.looked = time.time(), 0.0
        done = {cell.identity for cell in cells if cell.done}
        self.tracks = [Track(c, DONE, before=True) if c.identity in done else Track(c) for c in cells]

    def run(self) -> Generator[None, None, None]:
        """Run all cells to their end, yielding at every look; closed before, it stops those that run."""
        try:
            while any(track.status in (WAITING, RUNNING, ELSEWHERE) for track in self.tracks):
                self._collect()
                self._start()
                yield
                time.sleep(LOOK_EVERY)
        finally:
            self._stop()

    def _collect(self) -> None:
        for track in self.tracks:
            code = track.handle.poll() if track.handle else None
            if code is None:
                continue
            track.handle = None
            if code == 0:
                self._set(track, DONE)
            elif code == CLAIMED:
                self._set(track, ELSEWHERE)
            else:
                self._set_failed(track, state.failure(track.cell.folder, self.began), code)

    def _set_failed(self, track: Track, words: str, code: int) -> None:
        killed = f"it was killed by signal {-code}, perhaps for want of memory"
        track.words = words or (killed if code < 0 else f"code {code}: {state.last_words(track.cell.folder)}")
        if not words:  # it was killed and could not tell
            state.fail(track.cell.folder, track.words)
        self._set(track, FAILED)

    def _set(self, track: Track, status: str) -> None:
        if track.status != status:
            track.status, track.ended = status, time.time()
            self.tell(track)

    def _start(self) -> None:
        """Start cells while there is room; one that another process has is left to it, and taken if it lets go."""
        due = time.monotonic() - self.looked > LOOK_ELSEWHERE
        for track in self.tracks:
            if track.handle:
                if due and track.status == WAITING and state.began(track.cell.folder) != track.noted:
                    track.began = time.time()
                    self._set(track, RUNNING)
            elif track.status == WAITING or (track.status == ELSEWHERE and due):
                room = sum(other.handle is not None for other in self.tracks) < self.engine.slots
                self._settle(track, room)
        if due:
            self.looked = time.monotonic()

    def _settle(self, track: Track, room: bool) -> None:
        folder = track.cell.folder
        if track.status == WAITING and (not room or self._awaited(track)):
            return
        if state.claimed(folder):
            track.began = track.began or time.time()
            self._set(track, ELSEWHERE)
        elif words := state.failure(folder, self.began):
            self._set_failed(track, words, 1)
        elif track.cell.done:
            self._set(track, DONE)
        elif room:
            write_json(folder / state.JOB, job(track.cell, self.parent, self.engine.threads))
            track.noted, track.status = state.began(folder), WAITING
            track.began, track.handle = time.time(), self.engine.start(folder)

    def _awaited(self, track: Track) -> bool:
        """Whether a cell can't begin yet, or never can, for want of the run that it starts from."""
        before = track.cell.before
        if before is None or state.trained(before):
            return False
        for other in self.tracks:
            if other.cell.folder == before and other.status == FAILED:
                self._set_failed(track, f"{before}, which it starts from, failed", 1)
        return True

    def _stop(self) -> None:
        """End what still runs: gently, so that MLflow knows, and then not."""
        running = [track.handle for track in self.tracks if track.handle]
        for handle in running:
            handle.stop(force=False)
        until = time.monotonic() + GRACE
        with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C is for the impatient
            while any(handle.poll() is None for handle in running) and time.monotonic() < until:
                time.sleep(LOOK_EVERY)
        for handle in running:
            if handle.poll() is None:
                handle.stop(force=True)
