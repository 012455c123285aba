"""``wmzoo data info``: what a corpus holds, and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from rich.table import Table

from wmzoo.data.splits import split
from wmzoo.data.store import Corpus, TrajectorySet, digest, open_corpus
from wmzoo.errors import WmzooError
from wmzoo.progress import console
from wmzoo.recipe import SplitConfig


def print_info(path: str, variates: bool = False) -> None:
    """Print the sets of a corpus, its splits, ranges and problems.

    Args:
        path: of the corpus.
        variates: print the ranges of each set on its own, not those of each environment.

    Raises:
        WmzooError: the corpus can't be opened.
    """
    corpus, out = open_corpus(path), console()
    out.print(f"{corpus.path}: {len(corpus.sets)} sets, {corpus.path.stat().st_size / 1e6:.1f} MB", highlight=False)
    out.print(_sets(corpus))
    for title, items in _groups(corpus, apart=variates).items():
        out.print(_ranges(title, items))
    found = _all_problems(corpus)
    out.print("\n".join(["problems:", *found]) if found else "no problems found", highlight=False, markup=False)


def check_corpus(path: str) -> None:
    """Read a whole corpus and say what is wrong with it.

    Args:
        path: of the corpus.

    Raises:
        WmzooError: with every problem found, each with its remedy.
    """
    corpus = open_corpus(path)
    found = _all_problems(corpus)
    if found:
        raise WmzooError(*(f"{corpus.path}: {problem}" for problem in found))
    steps = sum(len(item.data) - len(item.lengths) for item in corpus.sets.values())
    console().print(f"{corpus.path}: {len(corpus.sets)} sets, {steps:,} steps, no problems found", highlight=False)


def _all_problems(corpus: Corpus) -> list[str]:
    each = [problem for item in corpus.sets.values() for problem in problems(item)]
    return each + shared_episodes(corpus)


TEXTS = ("set", "component", "behaviour")


def _sets(corpus: Corpus) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in (
        "set",
        "component",
        "episodes",
        "steps",
        "states",
        "actions",
        "return",
        "terminated",
        "train/val/test",
        "behaviour",
    ):
        table.add_column(name, justify="left" if name in TEXTS else "right", no_wrap=name != "behaviour")
    for item in corpus.sets.values():
        returns = item.episodes["return"]
        table.add_row(
            item.key,
            item.component,
            f"{len(returns):,}",
            f"{len(item.data) - len(returns):,}",
            str(item.states),
            str(item.actions),
            f"{returns.mean():.1f} ± {returns.std():.1f}",
            f"{item.episodes['terminated'].mean():.0%}",
            _split_counts(item),
            _behaviour(item),
        )
    return table


def _split_counts(item: TrajectorySet) -> str:
    try:
        parts = split(item, **vars(SplitConfig()))
    except WmzooError:
        return "too few"
    return f"{len(parts.train)}/{len(parts.validation)}/{len(parts.test)}"


def _behaviour(item: TrajectorySet) -> str:
    names = [str(b.get("name", b)) if isinstance(b, dict) else str(b) for b in item.about.get("behaviours", [])]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _groups(corpus: Corpus, apart: bool) -> dict[str, list[TrajectorySet]]:
    """The sets whose ranges are shown together: those of an environment, or each on its own."""
    groups: dict[str, list[TrajectorySet]] = {}
    for item in corpus.sets.values():
        groups.setdefault(item.key if apart else f"{item.environment}, all levels", []).append(item)
    return groups


def _ranges(title: str, items: Sequence[TrajectorySet]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in ("variate", "low", "high", "mean", "std", "mean change"):
        table.add_column(name, justify="left" if name == "variate" else "right")
    rows = np.concatenate([item.data for item in items])
    change = np.concatenate([_changes(item) for item in items]).mean(0)
    columns = (rows.min(0), rows.max(0), rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64), change)
    for i, name in enumerate(items[0].names):
        table.add_row(name, *(f"{c[i]:.4g}" for c in columns))
    return table


def _changes(item: TrajectorySet) -> np.ndarray:
    """Absolute change of every variate over each step inside an episode."""
    inside = np.ones(len(item.data) - 1, bool)
    inside[item.offsets[1:-1] - 1] = False
    return np.abs(np.diff(item.data, axis=0))[inside]


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
    constant = np.asarray(item.names)[item.data.max(0) == item.data.min(0)]
    if len(constant):
        yield f"{item.key}: never changes: {_few(constant)}; it carries no information."
    yield from _outliers(item)
    if digest(item.data, item.offsets) != item.sha256:
        yield f"{item.key}: its rows are not those that were written (SHA-256 differs); collect it again."


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
            f"width away (episodes {_few(episodes)}) and stretch the range; look at them or leave them out."
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
