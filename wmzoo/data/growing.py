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

    Attributes:
        records: one ``RECORD`` an episode so far.
    """

    def __init__(self, path: Path, columns: int):
        self.path, self.columns = path, columns
        self.rows_path, self.records_path = path.with_name(f"{path.name}.rows"), path.with_name(f"{path.name}.episodes")
        self.records = self._whole()

    def _whole(self) -> np.ndarray:
        """The records whose rows are all there."""
        if not (self.records_path.is_file() and self.rows_path.is_file()):
            return np.zeros(0, RECORD)
        size = self.records_path.stat().st_size
        records = np.fromfile(self.records_path, RECORD, size // RECORD.itemsize)
        ends = np.cumsum(records["length"]) * self.columns * 4
        return records[ends <= self.rows_path.stat().st_size]

    @property
    def transitions(self) -> int:
        """So far; each episode has one row more."""
        return int(self.records["length"].sum()) - len(self.records)

    def add(self, rows: np.ndarray, record: tuple[float, bool, bool, int, int]) -> None:
        """Append an episode, its rows on the disk before its record.

        Args:
            rows: ``[L+1, M]``.
            record: the values of ``EPISODE``.

        Raises:
            WmzooError: the files can't be written, or the disk is full.
        """
        entry = np.array([(len(rows), record)], RECORD)
        start = int(self.records["length"].sum()) * self.columns * 4
        self._write(self.rows_path, start, np.ascontiguousarray(rows, "<f4").tobytes())
        self._write(self.records_path, len(self.records) * RECORD.itemsize, entry.tobytes())
        self.records = np.concatenate([self.records, entry])

    def _write(self, path: Path, place: int, data: bytes) -> None:
        try:
            with path.open("r+b" if place else "wb") as file:
                file.seek(place)
                file.truncate()
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WmzooError(f"{path}: can't be written ({error.strerror}); free some space, then go on.") from error

    def rows(self) -> np.ndarray:
        """All rows, ``[R, M]`` float32, mapped from the file."""
        count = int(self.records["length"].sum())
        return np.memmap(self.rows_path, "<f4", "r", 0, (count, self.columns))
