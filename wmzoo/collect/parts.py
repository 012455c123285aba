"""What is kept of an unfinished collection: finished parts of sets, each written whole or not at all."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmzoo.data.store import EPISODE
from wmzoo.errors import WmzooError
from wmzoo.files import replacing


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Consecutive episodes of a set.

    Attributes:
        rows: ``[L+1, M]`` float32 of each episode.
        episodes: one ``EPISODE`` record each.
    """

    rows: list[np.ndarray]
    episodes: np.ndarray

    @property
    def transitions(self) -> int:
        """Of all its episodes; each has one row more."""
        return sum(len(rows) - 1 for rows in self.rows)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The folder ``<corpus>.parts`` beside a corpus in the making."""

    folder: Path

    def path(self, name: str, index: int) -> Path:
        """The file of a part; its name holds a hash of all that determines its content, so none is ever mixed up."""
        return self.folder / f"{name}-{index:04d}.npz"

    def prepare(self) -> None:
        """Make the folder, to find out before the work whether there is a right to.

        Raises:
            WmzooError: there is none.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WmzooError(
                f"{self.folder}: can't be written ({error.strerror or error}); choose another place by corpus=PATH."
            ) from error

    def load_all(self, name: str) -> list[Part]:
        """All finished parts of that name, in order.

        Raises:
            WmzooError: one was deleted or damaged since it was written.
        """
        parts = [self.load(name, index) for index in range(len(list(self.folder.glob(f"{name}-*.npz"))))]
        if not parts or None in parts:
            raise WmzooError(
                f"{self.folder}: parts of {name} went missing or are damaged; repeat the command to go on."
            )
        return [part for part in parts if part is not None]

    def load(self, name: str, index: int) -> Part | None:
        """A finished part, or None if it is not there or unreadable (it is then collected again)."""
        try:
            with np.load(self.path(name, index), allow_pickle=False) as file:
                data, offsets, episodes = file["data"], file["offsets"], file["episodes"]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return None
        if episodes.dtype != EPISODE:
            return None
        return Part(rows=np.split(data, offsets[1:-1]), episodes=episodes)

    def save(self, name: str, index: int, part: Part) -> None:
        """Keep a finished part.

        Raises:
            WmzooError: the folder can't be written, or the disk is full.
        """
        data, offsets = np.concatenate(part.rows), _offsets(part.rows)
        with replacing(self.path(name, index)) as partial, partial.open("wb") as file:
            np.savez(file, data=data, offsets=offsets, episodes=part.episodes)

    def remove(self) -> None:
        """Delete the parts once the corpus holds them, with those of other settings and of killed writings."""
        for path in self.folder.glob("*.npz*"):
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def _offsets(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
