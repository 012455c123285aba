"""``wmzoo data check``: every row of a corpus read, and what is wrong with it or worth knowing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from wmzoo.data.store import Corpus, TrajectorySet, digest, open_corpus
from wmzoo.errors import WmzooError
from wmzoo.progress import bar, console


def check_corpus(path: str, quiet: bool = False) -> None:
    """Read a whole corpus and say what is wrong with it, and what is worth knowing before training on it.

    Args:
        path: of the corpus.
        quiet: show no bar.

    Raises:
        WmzooError: with every problem found, each with its remedy.
    """
    corpus, out = open_corpus(path), console()
    wrong: list[str] = []
    with bar("check", len(corpus.sets), quiet=quiet, unit="sets") as report:
        for index, (key, item) in enumerate(corpus.sets.items()):
            wrong += problems(item)
            for remark in remarks(item):
                out.print(f"worth knowing: {remark}", highlight=False, markup=False, soft_wrap=True)
            report(index + 1, key)
    wrong += shared_episodes(corpus)
    if wrong:
        raise WmzooError(*(f"{corpus.path}: {problem}" for problem in wrong))
    steps = sum(item.transitions for item in corpus.sets.values())
    out.print(f"{corpus.path}: {len(corpus.sets)} sets, {steps:,} steps, no problems found", highlight=False)


def problems(item: TrajectorySet) -> Iterator[str]:
    """What is wrong with a set, a sentence each; nothing if it is sound.

    Args:
        item: the set; all of its rows are read.
    """
    bad = ~np.isfinite(item.data)
    if bad.any():
        episodes = np.unique(item.episode_of(np.flatnonzero(bad.any(1))))
        names = ", ".join(np.asarray(item.names)[bad.any(0)][:5])
        count = int(bad.sum())
        yield f"{item.key}: {count} NaN or infinite values in {names} (episodes {_few(episodes)}); remove them."
    if digest(item.data, item.offsets) != item.sha256:
        yield f"{item.key}: its rows are not those that were written (SHA-256 differs); collect it again."


def remarks(item: TrajectorySet) -> Iterator[str]:
    """What need not be wrong with a set, but matters to a model of it, a sentence each.

    Args:
        item: the set; all of its rows are read.
    """
    constant = np.asarray(item.names)[item.data.max(0) == item.data.min(0)]
    if len(constant):
        yield f"{item.key}: never changes: {_few(constant)}; it carries no information."
    yield from _outliers(item)


FAR = 50.0
"""Distance from the middle half of the values, in its widths, from which on a few values are outliers."""


def _outliers(item: TrajectorySet) -> Iterator[str]:
    """Variates in which a few values are so far out that they would stretch the range for all others."""
    lower, upper = np.nanquantile(item.data, [0.25, 0.75], axis=0)
    width = np.where(upper > lower, upper - lower, np.inf)
    far = (item.data < lower - FAR * width) | (item.data > upper + FAR * width)
    rare = far.any(0) & (far.mean(0) < 1e-2)
    if rare.any():
        names = np.asarray(item.names)[rare]
        episodes = np.unique(item.episode_of(np.flatnonzero(far[:, rare].any(1))))
        yield (
            f"{item.key}: {int(far[:, rare].sum())} values of {_few(names)} lie {FAR:.0f} times the middle half's "
            f"width away (episodes {_few(episodes)}) and stretch the range; data.trim in a recipe narrows it."
        )


def shared_episodes(corpus: Corpus) -> list[str]:
    """Episodes that occur more than once in a corpus, and so could leak from training into evaluation."""
    seen: dict[bytes, str] = {}
    found = []
    for item in corpus.sets.values():
        for episode in range(len(item.lengths)):
            mark = hashlib.blake2b(item.rows(episode).tobytes(), digest_size=16).digest()
            here = f"{item.key} episode {episode}"
            if mark in seen:
                found.append(f"{here} is a copy of {seen[mark]}; remove one, or evaluation may meet training data.")
            seen.setdefault(mark, here)
    return found[:10]


def _few(values: np.ndarray) -> str:
    return ", ".join(map(str, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
