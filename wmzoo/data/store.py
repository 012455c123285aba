"""The corpus: one HDF5 file of trajectory sets, flat and uncompressed so that windows are slices of a memory map.

Layout, version 3::

    /                              attrs: format = "wmzoo-corpus", version = 3, about (JSON)
    /sets/<environment>/<level>    attrs: component, states, actions, names, bodies (JSON), dt [s], sha256, about (JSON)
        data       [R, M] float32  rows (s_t, r_t, a_t) of all episodes, one after another
        offsets    [episodes + 1]  int64, row at which each episode begins
        episodes   [episodes]      return, terminated, truncated, behaviour, seed
        statistics [M]             range, moments, quantiles and typical change of each variate

and the seal behind it all (:mod:`wmzoo.data.sealing`).
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wmzoo.data.sealing import check_seal, seal
from wmzoo.data.statistics import STATISTICS, measure
from wmzoo.errors import WmzooError
from wmzoo.files import read_json, replacing, require_room

FORMAT, VERSION = "wmzoo-corpus", 3
SPARE = 1 << 20
"""Bytes of room to ask for beyond the rows: a write that fails spoils HDF5's memory, and with it this process."""
EPISODE = np.dtype([("return", "<f4"), ("terminated", "?"), ("truncated", "?"), ("behaviour", "<i2"), ("seed", "<i8")])


@dataclass(frozen=True, kw_only=True, eq=False)
class TrajectorySet:
    """The episodes of one environment at one level of behaviour.

    Attributes:
        environment, level: the two halves of its key in a corpus, such as ``hopper`` and ``medium``.
        names: one name a column, ``[M]``: states, reward, actions.
        states: number of state dims, ``m``.
        dt: control interval in seconds.
        data: ``[R, M]`` float32 rows ``(s_t, r_t, a_t)``, physical units; a memory map when read from a file.
        offsets: ``[episodes + 1]`` int64 row offsets.
        episodes: ``[episodes]`` records of return, terminated, truncated, behaviour and seed.
        about: how it was made: behaviours, versions, parameters.
        component: the part of a mixture that it belongs to, such as ``dmc``; a collection or format of one kind.
        bodies: the kinematic position of each column, ``[M]``: the path of bodies from the root to the one that it
            belongs to, such as ``torso/thigh``; empty where it is not known. Empty altogether if none is.
        statistics: ``[M]`` records of all rows, see :mod:`wmzoo.data.statistics`; None until the set is written.
        sha256: of the rows and the offsets.
    """

    environment: str
    level: str
    names: tuple[str, ...]
    states: int
    dt: float
    data: np.ndarray
    offsets: np.ndarray
    episodes: np.ndarray
    about: dict[str, Any]
    component: str = ""
    bodies: tuple[str, ...] = ()
    statistics: np.ndarray | None = None
    sha256: str = ""

    @property
    def key(self) -> str:
        """``environment/level``, the name that a recipe uses."""
        return f"{self.environment}/{self.level}"

    @property
    def actions(self) -> int:
        """Number of action dims, ``n``."""
        return len(self.names) - self.states - 1

    @property
    def lengths(self) -> np.ndarray:
        """Rows of each episode (one more than its transitions), ``[episodes]``."""
        return np.diff(self.offsets)

    @property
    def transitions(self) -> int:
        """Of all episodes; each has one row more."""
        return len(self.data) - len(self.episodes)

    @property
    def kinds(self) -> list[str]:
        """The kind of each behaviour that its collection names; empty strings where it does not say."""
        told = self.about.get("behaviours", [])
        return [str(b["kind"]) if isinstance(b, dict) and "kind" in b else "" for b in told]

    @property
    def number(self) -> int:
        """A 64-bit hash of its key, so that random choices differ from set to set."""
        return int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:8], "little")

    def episode_of(self, rows: np.ndarray) -> np.ndarray:
        """The index of the episode that each row belongs to."""
        return np.searchsorted(self.offsets, rows, side="right") - 1

    def forget(self) -> None:
        """Let go of the pages of a memory map that were read; they are read again when they are needed."""
        if isinstance(self.data.base, mmap.mmap):
            self.data.base.madvise(mmap.MADV_DONTNEED)

    def rows(self, episode: int) -> np.ndarray:
        """The rows of one episode, ``[L+1, M]``."""
        return self.data[self.offsets[episode] : self.offsets[episode + 1]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Corpus:
    """An opened corpus: its path, its sets by key, and how it was made."""

    path: Path
    sets: dict[str, TrajectorySet]
    about: dict[str, Any]


def cost_path(corpus: Path) -> Path:
    """Where it says how many seconds each set of a corpus took to collect: ``{"seconds": {key: s}}``."""
    return corpus.with_name(f"{corpus.name}.cost.json")


def costs_of(path: Path) -> dict[str, float]:
    """Seconds that each set of a corpus took to collect; none if it was imported.

    Raises:
        WmzooError: the file beside the corpus is damaged.
    """
    beside = cost_path(path)
    if not beside.is_file():
        return {}
    try:
        return {str(key): float(seconds) for key, seconds in read_json(beside)["seconds"].items()}
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise WmzooError(f"{beside}: is not what a collection wrote; delete it, it only tells seconds.") from error


def corpus_path(to: Path) -> Path:
    """Where a corpus is written: ``.h5`` is added to a path without an ending."""
    return to if to.suffix else to.with_suffix(".h5")


def digest(data: np.ndarray, offsets: np.ndarray) -> str:
    """SHA-256 of the rows and the offsets of a set."""
    sha = hashlib.sha256(np.ascontiguousarray(offsets, "<i8").tobytes())
    for start in range(0, len(data), 1 << 18):
        sha.update(np.ascontiguousarray(data[start : start + (1 << 18)], "<f4").tobytes())
    return sha.hexdigest()


def make_set(
    environment: str,
    level: str,
    names: Sequence[str],
    states: int,
    dt: float,
    rows: Sequence[np.ndarray],
    episodes: np.ndarray,
    about: dict[str, Any],
    *,
    component: str = "",
    bodies: Sequence[str] = (),
) -> TrajectorySet:
    """Join the rows of episodes into a set.

    Args:
        environment, level: the two halves of its key.
        names: ``[M]`` column names.
        states: number of state dims.
        dt: control interval in seconds.
        rows: one ``[L+1, M]`` array an episode, as :func:`wmzoo.trajectories.episode_rows` gives them.
        episodes: one ``EPISODE`` record each.
        about: how the set was made; plain JSON values.
        component: the part of a mixture that it belongs to.
        bodies: ``[M]`` kinematic positions of the columns, or none.
    """
    data = np.concatenate(rows).astype("<f4")
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype("<i8")
    return TrajectorySet(
        environment=environment,
        level=level,
        names=tuple(names),
        states=states,
        dt=dt,
        data=data,
        offsets=offsets,
        episodes=np.asarray(episodes, EPISODE),
        about=about,
        component=component,
        bodies=tuple(bodies),
        sha256=digest(data, offsets),
    )


def write_corpus(path: Path, sets: Iterable[TrajectorySet], about: dict[str, Any]) -> None:
    """Write a corpus; the file appears whole or not at all.

    Args:
        path: where to.
        sets: each is written as it comes, so a generator keeps memory small.
        about: how the corpus was made; plain JSON values.

    Raises:
        WmzooError: the folder cannot be written, or the disk is full.
    """
    with replacing(path) as partial:
        require_room(partial, SPARE)
        try:
            # HDF5's newer layout takes attributes of any length.
            with h5py.File(partial, "w", libver="v110") as file:
                file.attrs.update({"format": FORMAT, "version": VERSION, "about": json.dumps(about)})
                rows = [_write_set(file, item, partial) for item in sets]
            seal(partial, rows)
        except RuntimeError as error:  # what h5py makes of a disk that fills up
            raise OSError(str(error)) from error


def _write_set(file: h5py.File, item: TrajectorySet, path: Path) -> tuple[int, int]:
    """Write a set; the place of its rows in the file, offset and bytes."""
    require_room(path, item.data.size * 4 + item.offsets.nbytes + item.episodes.nbytes + SPARE)
    group = file.create_group(f"sets/{item.key}")
    group.attrs.update({"states": item.states, "actions": item.actions, "dt": item.dt, "sha256": item.sha256})
    group.attrs.update({"component": item.component, "bodies": json.dumps(item.bodies)})
    group.attrs.update({"names": json.dumps(item.names), "about": json.dumps(item.about)})
    data = group.create_dataset("data", data=np.asarray(item.data, "<f4"))
    group.create_dataset("offsets", data=item.offsets)
    group.create_dataset("episodes", data=item.episodes)
    group.create_dataset(
        "statistics", data=measure(item.data, item.offsets) if item.statistics is None else item.statistics
    )
    return data.id.get_offset(), data.id.get_storage_size()


def _collection(path: Path) -> str:
    """The data recipe that makes a corpus of this name, as far as one is known."""
    from wmzoo.recipe import data_names

    return path.stem if path.stem in data_names() else "RECIPE"


def open_corpus(path: str | Path) -> Corpus:
    """Open a corpus without reading its rows: they are memory-mapped.

    Raises:
        WmzooError: missing, not a corpus, truncated, of another version, or with mismatched lengths.
    """
    path = Path(path)
    if not path.is_file():
        raise WmzooError(
            f"{path}: no such corpus; make it with `wmzoo data collect {_collection(path)}`, or correct the path "
            "(data.corpus, --corpus)."
        )
    try:
        check_seal(path)
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise WmzooError(f"{path}: an HDF5 file, but not a wmzoo corpus; collect or import one.")
            if file.attrs["version"] != VERSION:
                raise WmzooError(
                    f"{path}: corpus version {file.attrs['version']}, this wmzoo reads {VERSION}; collect it again."
                )
            sets = {
                f"{environment}/{level}": _open_set(path, group, environment, level)
                for environment, levels in file["sets"].items()
                for level, group in levels.items()
            }
            return Corpus(path=path, sets=sets, about=json.loads(str(file.attrs["about"])))
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:  # h5py of damaged files
        raise WmzooError(f"{path}: not a readable corpus, perhaps cut short ({error}); collect it again.") from error


def _open_set(path: Path, group: h5py.Group, environment: str, level: str) -> TrajectorySet:
    names, data, offsets = json.loads(str(group.attrs["names"])), group["data"], group["offsets"][()]
    _check_set(f"{path}: set {environment}/{level}", names, data, offsets, group["episodes"])
    return TrajectorySet(
        environment=environment,
        level=level,
        names=tuple(names),
        states=int(group.attrs["states"]),
        dt=float(group.attrs["dt"]),
        data=np.memmap(path, "<f4", "r", data.id.get_offset(), data.shape),
        offsets=offsets,
        episodes=group["episodes"][()],
        about=json.loads(str(group.attrs["about"])),
        component=str(group.attrs["component"]),
        bodies=tuple(json.loads(str(group.attrs["bodies"]))),
        statistics=group["statistics"][()].astype(STATISTICS),
        sha256=str(group.attrs["sha256"]),
    )


def _check_set(
    place: str, names: Sequence[str], data: h5py.Dataset, offsets: np.ndarray, episodes: h5py.Dataset
) -> None:
    """Refuse a set whose parts do not go together, or whose rows can't be mapped."""
    if data.ndim != 2 or data.shape[1] != len(names) or data.dtype != np.dtype("<f4"):
        raise WmzooError(
            f"{place}: {data.dtype} data of shape {data.shape} for {len(names)} variates; collect it again."
        )
    if offsets[0] != 0 or offsets[-1] != len(data) or len(episodes) != len(offsets) - 1:
        raise WmzooError(
            f"{place}: mismatched lengths: {len(data)} rows, offsets to {offsets[-1]}, "
            f"{len(episodes)} episode records for {len(offsets) - 1} episodes; collect it again."
        )
    if (np.diff(offsets) < 2).any():
        bad = int(np.argmax(np.diff(offsets) < 2))
        raise WmzooError(f"{place}: episode {bad} is shorter than two steps; remove it, or collect the set again.")
    if data.id.get_offset() is None:
        raise WmzooError(f"{place}: its data is not contiguous, so it can't be memory-mapped; collect it again.")
