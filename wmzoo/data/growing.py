"""Episodes on their way into a corpus: two files that grow by whole episodes, so that a kill loses only the next."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from wmzoo.data.store import EPISODE
from wmzoo.errors import WmzooError

RECORD = np.dtype([("length", "<i8"), ("episode", EPISODE)])


class Growing:
    """The files ``<path>.rows`` and ``<path>.episodes``.

    Args:
        path: of both, without the ending; what is there already is kept, up to its last whole episode.
        columns: of the rows, ``M``.
        most: episodes to keep of what is there; what comes after them is overwritten. All if None.
        synced: each episode is on the disk before the next one begins: for episodes that cost more to make than the
            milliseconds that this takes.

    Attributes:
        episodes: how many there are so far; they have ``length`` rows.
    """

    def __init__(self, path: Path, columns: int, most: int | None = None, synced: bool = True):
        self.path, self.columns, self.synced = path, columns, synced
        self.rows_path, self.records_path = path.with_name(f"{path.name}.rows"), path.with_name(f"{path.name}.episodes")
        whole = self._whole()[:most]
        self.episodes, self.length = len(whole), int(whole["length"].sum())

    def _whole(self) -> np.ndarray:
        """The records whose rows are all there."""
        if not (self.records_path.is_file() and self.rows_path.is_file()):
            return np.zeros(0, RECORD)
        size = self.records_path.stat().st_size
        records = np.fromfile(self.records_path, RECORD, size // RECORD.itemsize)
        ends = np.cumsum(records["length"]) * self.columns * 4
        return records[ends <= self.rows_path.stat().st_size]

    @property
    def records(self) -> np.ndarray:
        """One ``RECORD`` an episode so far, read from the file."""
        return np.fromfile(self.records_path, RECORD, self.episodes) if self.episodes else np.zeros(0, RECORD)

    @property
    def transitions(self) -> int:
        """So far; each episode has one row more."""
        return self.length - self.episodes

    def add(self, rows: np.ndarray, record: tuple[float, bool, bool, int, int]) -> None:
        """Append an episode, its rows before its record.

        Args:
            rows: ``[L+1, M]``.
            record: the values of ``EPISODE``.

        Raises:
            WmzooError: the files can't be written, or the disk is full.
        """
        entry = np.array([(len(rows), record)], RECORD)
        self._write(self.rows_path, self.length * self.columns * 4, np.ascontiguousarray(rows, "<f4").tobytes())
        self._write(self.records_path, self.episodes * RECORD.itemsize, entry.tobytes())
        self.episodes, self.length = self.episodes + 1, self.length + len(rows)

    def _write(self, path: Path, place: int, data: bytes) -> None:
        """Write at a place of a file; what an interrupted call had written there is cut off."""
        try:
            with path.open("r+b" if place else "wb") as file:
                file.seek(place)
                file.truncate()
                file.write(data)
                if self.synced:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise WmzooError(f"{path}: can't be written ({error.strerror}); free some space, then go on.") from error

    def rows(self) -> np.ndarray:
        """All rows, ``[R, M]`` float32, mapped from the file."""
        return np.memmap(self.rows_path, "<f4", "r", 0, (self.length, self.columns))
