"""``wmzoo bench data``: random windows a second from the zoo's corpora, beside bare files and other layouts."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rich.table import Table

from wmzoo.bench.machine import Machine
from wmzoo.bench.made import made_corpus
from wmzoo.bench.rows import RATE, Row
from wmzoo.data.splits import merge_variates
from wmzoo.data.store import Corpus, TrajectorySet, open_corpus
from wmzoo.data.windows import Batches, Sampler, batches
from wmzoo.errors import WmzooError
from wmzoo.progress import bar, console
from wmzoo.recipe import setting, settings_of

STEP = 0.01  # seconds of a training step


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is read."""

    corpus: str = setting("", "whose windows; made-up ones of so many megabytes if empty")
    megabytes: float = setting(1000.0, "of a made-up corpus", unit="MB", low=1.0)
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


def bench(config: Config, machine: Machine, quiet: bool = False) -> list[Row]:
    """Windows a second beside those of bare files, and the wait for them in a training loop.

    Raises:
        WmzooError: the corpus can't be opened, or there is no room for a made-up one.
    """
    with _corpus(config) as found:
        ours, bare, plain = compare_ways(found, quiet=quiet)
        rows = [
            Row(
                what=f"random windows, {state} ({ours['MB']:,.0f} MB)",
                unit=RATE,
                ours=ours[state]["median"],
                least=ours[state]["least"],
                most=ours[state]["most"],
                floor=bare[state]["median"],
                why="the same windows from a bare memory map",
                reference=plain[state]["median"],
                way="the same windows from HDF5 one by one",
            )
            for state in ("warm", "cold")
        ]
        return [*rows, _wait(found)]


def _wait(config: Config) -> Row:
    """How long a loop of 100 steps a second waits for its batches, which are made while it works."""
    loader = make_loader(open_corpus(config.corpus), config)
    waits = []
    source = batches(loader, 0, config.batches + 1)
    next(source)
    for _ in range(config.batches):
        time.sleep(STEP)
        began = time.perf_counter()
        next(source)
        waits.append(time.perf_counter() - began)
    share = 100 * np.asarray(waits) / STEP
    what = "waiting for data, of a step of 10 ms"
    return Row(what=what, unit="%", ours=float(share.mean()), least=float(share.min()), most=float(share.max()))


def compare_layouts(overrides: Sequence[str] = (), quiet: bool = False) -> list[dict[str, Any]]:
    """:func:`compare_ways` with copies of the corpus in other layouts too, by ``key=value`` settings.

    Raises:
        WmzooError: the corpus can't be opened, a setting is wrong, or there is no room for the copies.
    """
    config: Config = settings_of(Config, overrides)
    with _corpus(config) as found:
        return compare_ways(found, layouts=True, quiet=quiet)


@contextlib.contextmanager
def _corpus(config: Config) -> Iterator[Config]:
    """The settings with a corpus: a made-up one for as long as it is needed, if they name none."""
    with tempfile.TemporaryDirectory() as folder:
        made = config.corpus or made_corpus(Path(folder) / "made.h5", config.megabytes)
        yield dataclasses.replace(config, corpus=str(made))


def compare_ways(config: Config, layouts: bool = False, quiet: bool = False) -> list[dict[str, Any]]:
    """Read the same windows in every way, in turns, from files that the system has and has not in memory.

    Args:
        config: what is read.
        layouts: also copy the corpus into other HDF5 layouts and read those.
        quiet: show no bar.

    Returns:
        A record a way: its name, megabytes, and windows a second (median, least and most), warm and cold. Cold is
        after the system was asked to forget the file, which it may not do. Ours is the first.

    Raises:
        WmzooError: the corpus can't be opened, a setting is wrong, or there is no room for the layouts.
    """
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
        item.forget()
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
    loader = make_loader(corpus, config)
    sampler, items = loader.sampler, loader.sampler.items
    plain = files.enter_context(h5py.File(corpus.path, "r"))
    sets = [plain[f"sets/{item.key}/data"] for item in items]
    found = [
        Way("wmzoo, whole batches", corpus.path, lambda batch: loader[batch]),
        _bare("memory map, bare", corpus.path, sampler, [item.data for item in items]),
        _bare("HDF5, bare", corpus.path, sampler, sets),
    ]
    return found + (_layouts(corpus, sampler, folder, files, quiet) if layouts else [])


def make_loader(corpus: Corpus, config: Config, memory: float = float("inf")) -> Batches:
    """Batches of random windows of all sets of a corpus.

    Args:
        corpus: to read.
        config: window and batch.
        memory: bytes that stay mapped at the most, see :class:`wmzoo.data.windows.Batches`.
    """
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
    return Batches(sampler, {name: merge_variates(parts, widen=0.0) for name, parts in of.items()}, memory=memory)


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


def print_ways(found: Sequence[dict[str, Any]], as_json: bool = False) -> None:
    """Print the records of :func:`compare_ways` as a table, or as JSON."""
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
