"""``wmzoo bench data``: random windows a second from the zoo's corpora, beside bare files and other layouts."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rich.table import Table

from wmzoo.data.splits import merge_variates
from wmzoo.data.store import Corpus, TrajectorySet, open_corpus
from wmzoo.data.windows import Batches, Sampler
from wmzoo.errors import WmzooError
from wmzoo.progress import bar, console
from wmzoo.recipe import setting, settings_of


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is read."""

    corpus: str = setting("corpora/unitraj-mini.h5", "whose windows")
    window: int = setting(20, "rows of a window", unit="steps", symbol="T", low=2)
    batch: int = setting(64, "windows of a batch", symbol="B", low=1)
    batches: int = setting(100, "batches of a measurement", low=1)
    repeats: int = setting(5, "measurements of each way, in turns", low=1)


@dataclass(frozen=True)
class Way:
    """A way of reading: what it is called, the file that it reads, and the function that reads a batch by number."""

    name: str
    file: Path
    read: Callable[[int], Any]


def bench(overrides: Sequence[str] = (), layouts: bool = False, quiet: bool = False) -> list[dict[str, Any]]:
    """Read the same windows in every way, in turns, from files that the system has and has not in memory.

    Args:
        overrides: ``key=value`` settings, see :class:`Config`.
        layouts: also copy the corpus into other HDF5 layouts and read those.
        quiet: show no bar.

    Returns:
        A record a way: its name, megabytes, and windows a second (median, least and most), warm and cold. Cold is
        after the system was asked to forget the file, which it may not do.

    Raises:
        WmzooError: the corpus can't be opened, a setting is wrong, or there is no room for the layouts.
    """
    config: Config = settings_of(Config, overrides)
    corpus = open_corpus(config.corpus)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as files:
        ways = _ways(corpus, config, Path(folder), layouts, files, quiet)
        times: dict[tuple[str, bool], list[float]] = {(way.name, cold): [] for way in ways for cold in (False, True)}
        with bar("bench data", config.repeats, quiet=quiet, unit="rounds") as report:
            for round_ in range(config.repeats):
                for way in ways:
                    for cold in (True, False):  # reading it cold makes it warm
                        times[way.name, cold].append(_timed(way, corpus.sets.values(), config, round_, cold))
                report(round_ + 1, "")
        count = config.batch * config.batches
        return [
            {
                "way": way.name,
                "MB": way.file.stat().st_size / 1e6,
                "warm": _rates(count, times[way.name, False]),
                "cold": _rates(count, times[way.name, True]),
            }
            for way in ways
        ]


def _timed(way: Way, items: Iterable[TrajectorySet], config: Config, round_: int, cold: bool) -> float:
    """Seconds that it takes to read the batches of a round."""
    if cold:
        _forget(way.file, items)
    start = round_ * config.batches
    began = time.perf_counter()
    for batch in range(start, start + config.batches):
        way.read(batch)
    return time.perf_counter() - began


def _forget(path: Path, items: Iterable[TrajectorySet]) -> None:
    """Ask the system to drop a file from its cache; what is mapped would stay there."""
    for item in items:
        assert isinstance(item.data.base, mmap.mmap)
        item.data.base.madvise(mmap.MADV_DONTNEED)
    file = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def _rates(count: int, seconds: Sequence[float]) -> dict[str, float]:
    rates = count / np.asarray(seconds)
    return {"median": float(np.median(rates)), "least": float(rates.min()), "most": float(rates.max())}


def _ways(
    corpus: Corpus, config: Config, folder: Path, layouts: bool, files: contextlib.ExitStack, quiet: bool
) -> list[Way]:
    """Ours first, then the bare ones, which get their windows one after another and do nothing else."""
    items = list(corpus.sets.values())
    episodes = [np.arange(len(item.lengths)) for item in items]
    sampler = Sampler(
        items=items,
        episodes=episodes,
        weights=[1.0] * len(items),
        length=config.window,
        batch_size=config.batch,
        seed=0,
    )
    of: dict[str, list[tuple[TrajectorySet, np.ndarray]]] = {}
    for item, chosen in zip(items, episodes, strict=True):
        of.setdefault(item.environment, []).append((item, chosen))
    loader = Batches(sampler, {name: merge_variates(parts, widen=0.0) for name, parts in of.items()})
    plain = files.enter_context(h5py.File(corpus.path, "r"))
    sets = [plain[f"sets/{item.key}/data"] for item in items]
    found = [
        Way("wmzoo, whole batches", corpus.path, lambda batch: loader[batch]),
        _bare("memory map, bare", corpus.path, sampler, [item.data for item in items]),
        _bare("HDF5, bare", corpus.path, sampler, sets),
    ]
    return found + (_layouts(corpus, sampler, folder, files, quiet) if layouts else [])


def _bare(name: str, file: Path, sampler: Sampler, sets: Sequence[Any]) -> Way:
    """The windows of a batch one by one; the draw is ours in all ways."""

    def windows(batch: int) -> list[np.ndarray]:
        source, ends = sampler.draw(batch)
        return [
            np.array(sets[s][max(end + 1 - sampler.length, 0) : end + 1])
            for s, end in zip(source.tolist(), ends.tolist(), strict=True)
        ]

    return Way(name, file, windows)


LAYOUTS: dict[str, dict[str, Any]] = {
    "HDF5 in chunks of 64 rows": {"chunks": 64},
    "HDF5 in chunks of 64 rows, lzf": {"chunks": 64, "compression": "lzf"},
    "HDF5 in chunks of 64 rows, gzip": {"chunks": 64, "compression": "gzip", "shuffle": True},
    "HDF5 in chunks of 1,024 rows, gzip": {"chunks": 1024, "compression": "gzip", "shuffle": True},
}


def _layouts(corpus: Corpus, sampler: Sampler, folder: Path, files: contextlib.ExitStack, quiet: bool) -> list[Way]:
    """The same rows in files of other layouts."""
    found = []
    with bar("copies in other layouts", len(LAYOUTS), quiet=quiet, unit="files") as report:
        for number, (name, how) in enumerate(LAYOUTS.items()):
            path = folder / f"{number}.h5"
            _copy(corpus, path, **how)
            # HDF5's own cache would hold all of a small corpus and nothing of a large one.
            file = files.enter_context(h5py.File(path, "r", rdcc_nbytes=0))
            sets = [file[str(s)] for s in range(len(corpus.sets))]
            found.append(_bare(name, path, sampler, sets))
            report(number + 1, name)
    return found


def _copy(corpus: Corpus, path: Path, chunks: int, **how: Any) -> None:
    try:
        with h5py.File(path, "w") as file:
            for number, item in enumerate(corpus.sets.values()):
                shape = (min(chunks, len(item.data)), item.data.shape[1])
                file.create_dataset(str(number), data=item.data, chunks=shape, **how)
    except (OSError, RuntimeError) as error:
        raise WmzooError(f"{path}: can't be written ({error}); free some space, or leave --layouts out.") from error


def print_bench(found: Sequence[dict[str, Any]], as_json: bool = False) -> None:
    """Print the records of :func:`bench` as a table, or as JSON."""
    if as_json:
        print(json.dumps(found, indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("random windows a second", no_wrap=True)
    for name in ("MB", "warm", "least to most", "of ours", "cold", "least to most", "of ours"):
        table.add_column(name, justify="right", no_wrap=True)
    for record in found:
        cells = [record["way"], f"{record['MB']:.0f}"]
        for state in ("warm", "cold"):
            rates, ours = record[state], found[0][state]["median"]
            cells += [f"{rates['median']:,.0f}", f"{rates['least']:,.0f} to {rates['most']:,.0f}"]
            cells += [f"{rates['median'] / ours:.2f}"]
        table.add_row(*cells)
    console().print(table)
