"""Windows over memory-mapped sets: indexed lazily, drawn reproducibly, the same on one or many workers."""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wmzoo.data.store import TrajectorySet
from wmzoo.trajectories import Variates, Window, columns_of

AHEAD = 2  # batches that are made before they are needed
RESIDENT = Path("/proc/self/statm")


def gather(
    items: Sequence[TrajectorySet],
    source: np.ndarray,
    ends: np.ndarray,
    length: int,
    variates: Mapping[str, Variates],
    most: np.ndarray | None = None,
) -> Window:
    """Cut windows out of sets; rows before an episode's start are padded with zeros at the left.

    Args:
        items: the sets.
        source: ``[B]`` which set each window is cut from.
        ends: ``[B]`` row of each window's last row in its set's ``data``.
        length: rows a window, ``T``.
        variates: training statistics by environment.
        most: ``[B]`` rows that each window may have at the most, those before them are padded too; all if left out.
    """
    most = np.full(len(ends), length) if most is None else most
    width = max(len(items[s].names) for s in np.unique(source))
    values = np.zeros((len(ends), length, width), np.float32)
    valid = np.zeros((len(ends), length), bool)
    for s in np.unique(source):
        chosen = np.flatnonzero(source == s)
        values[chosen, :, : len(items[s].names)], valid[chosen] = _slices(items[s], ends[chosen], length, most[chosen])
    columns = columns_of([variates[items[s].environment] for s in source])
    return Window(
        values=torch.from_numpy(values),
        valid=torch.from_numpy(valid),
        columns=columns,
        row=torch.from_numpy(np.asarray(ends, np.int64)),
        source=torch.from_numpy(np.asarray(source, np.int64)),
        dense=bool(valid.all() and columns.mask.all()),
    )


def _slices(item: TrajectorySet, ends: np.ndarray, length: int, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``[B, T, M]`` values and ``[B, T]`` validity of windows of one set."""
    starts = np.maximum(item.offsets[item.episode_of(ends)], ends - most + 1)
    rows = ends[:, None] - np.arange(length - 1, -1, -1)
    valid = rows >= starts[:, None]
    values = item.data[np.maximum(rows, starts[:, None])]
    values[~valid] = 0
    return values, valid


@dataclass(frozen=True, kw_only=True, eq=False)
class Sampler:
    """Draws the windows of each training batch: a set by weight, then one of its episodes, then one of its steps.

    Batch ``i`` depends on the seed and on ``i`` alone, so any process can make any batch, in any order.

    Attributes:
        items: the sets.
        episodes: indices of the episodes to draw from, one array a set.
        weights: one a set; they need not sum to 1 (:func:`wmzoo.data.mixture.set_weights` makes those of a mixture).
        length: rows a window, ``T``.
        batch_size: windows a batch, ``B``.
        seed: of the draws.
        single_environment: all windows of a batch come from one environment, drawn by the weights of its sets.
        beyond: windows may reach beyond the last row of an episode, where they are cut off. So the last row is met as
            often as any other, and at every place in a window, as a model must that learns when episodes terminate.

    Source: Yin et al. (2025), appendix B.1, and the released loader.
    """

    items: Sequence[TrajectorySet]
    episodes: Sequence[np.ndarray]
    weights: Sequence[float]
    length: int
    batch_size: int
    seed: int
    single_environment: bool = False
    beyond: bool = False

    def draw(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """The sets ``[B]`` and last rows ``[B]`` of the windows of a batch.

        A window ends at the second row of an episode or later, so that it holds at least one transition.
        """
        source, ends, _ = self.draw_cut(batch)
        return source, ends

    def draw_cut(self, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same, and how many rows each window may have at the most, ``[B]``: from 2 to ``T``."""
        rng = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, batch]))
        share = np.asarray(self.weights, float) / np.sum(self.weights)
        share = self._of_one(share, rng) if self.single_environment else share
        source = rng.choice(len(self.items), self.batch_size, p=share)
        pick, step = rng.random(self.batch_size), rng.random(self.batch_size)
        ends, most = np.empty(self.batch_size, np.int64), np.full(self.batch_size, self.length)
        for s in np.unique(source):
            chosen = source == s
            episode = self.episodes[s][(pick[chosen] * len(self.episodes[s])).astype(np.int64)]
            start, stop = self.items[s].offsets[episode], self.items[s].offsets[episode + 1]
            transitions, reach = stop - start - 1, (self.length - 2) * self.beyond
            place = 1 + (step[chosen] * (transitions + reach)).astype(np.int64)
            ends[chosen] = start + np.minimum(place, transitions)
            most[chosen] -= np.maximum(place - transitions, 0)
        return source, ends, most

    def _of_one(self, share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The shares of the sets of one environment: that of a set drawn by its share."""
        environments = np.array([item.environment for item in self.items])
        kept = np.where(environments == environments[rng.choice(len(share), p=share)], share, 0.0)
        return kept / kept.sum()


class Batches:
    """Training batches by number: the part that this process takes, and the predicted rows of the whole batch.

    Args:
        sampler: draws the windows.
        variates: training statistics by environment.
        rank, world: this process and their number; the processes take turns over the windows of a batch.
        first_row: the first row of a window counts as predicted too, where it is real.
        memory: bytes of the corpus that stay mapped at the most, about.
    """

    def __init__(
        self,
        sampler: Sampler,
        variates: Mapping[str, Variates],
        rank: int = 0,
        world: int = 1,
        first_row: bool = False,
        memory: float = float("inf"),
    ):
        self.sampler, self.variates, self.rank, self.world = sampler, variates, rank, world
        self.first_row, self.most = first_row, mapped() + memory

    def __getitem__(self, batch: int) -> tuple[Window, int]:
        """The window of batch number ``batch`` and the number of predicted rows over all processes."""
        items, length = self.sampler.items, self.sampler.length
        source, ends, most = self.sampler.draw_cut(batch)
        ages = [np.minimum(_age(items[s], ends[source == s]), most[source == s] - 1) for s in np.unique(source)]
        rows = sum(self._predicted(age) for age in ages)
        mine = slice(self.rank, None, self.world)
        window = gather(items, source[mine], ends[mine], length, self.variates, most[mine])
        if mapped() > self.most:
            for item in items:
                item.forget()
        return window, rows

    def _predicted(self, age: np.ndarray) -> int:
        """Predicted rows of windows whose last rows come so many transitions after their first real rows."""
        most = self.sampler.length - 1
        return int(np.minimum(age, most).sum() + self.first_row * (age >= most).sum())


def _age(item: TrajectorySet, ends: np.ndarray) -> np.ndarray:
    """Transitions between the start of an episode and each row."""
    return ends - item.offsets[item.episode_of(ends)]


def mapped() -> int:
    """Bytes of mapped files that this process holds in memory; 0 where the system does not tell.

    The kernel maps far more around a row than was asked for, so what was read says little.
    """
    if not RESIDENT.is_file():
        return 0
    return int(RESIDENT.read_text().split()[2]) * mmap.PAGESIZE


def batches(source: Batches, start: int, stop: int) -> Iterator[tuple[Window, int]]:
    """Batches number ``start`` to ``stop - 1``, in order; a thread makes the next ones while one is used."""
    with ThreadPoolExecutor(1) as pool:
        made = deque(pool.submit(source.__getitem__, number) for number in range(start, min(start + AHEAD, stop)))
        for number in range(start + AHEAD, stop + AHEAD):
            batch = made.popleft().result()
            if number < stop:
                made.append(pool.submit(source.__getitem__, number))
            yield batch


def every_window(
    items: Sequence[TrajectorySet], episodes: Sequence[np.ndarray], most: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """At most ``most`` windows, evenly over all rows that can be predicted: for validation, the same each time.

    Args:
        items: the sets.
        episodes: indices of the episodes, one array a set.
        most: how many windows at the most.
        seed: of the choice among them.

    Returns:
        The sets ``[B]`` and the last rows ``[B]``.
    """
    sources, ends = [], []
    for s, (item, chosen) in enumerate(zip(items, episodes, strict=True)):
        rows = [np.arange(item.offsets[e] + 1, item.offsets[e + 1]) for e in chosen]
        ends.append(np.concatenate(rows))
        sources.append(np.full(len(ends[-1]), s))
    source, end = np.concatenate(sources), np.concatenate(ends)
    if len(end) > most:
        kept = np.sort(np.random.default_rng(seed).choice(len(end), most, replace=False))
        source, end = source[kept], end[kept]
    return source, end
