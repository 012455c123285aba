"""``wmzoo data info``: what a corpus holds, told from what it says of its rows, without reading them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rich.table import Table

from wmzoo.data.splits import split
from wmzoo.data.store import Corpus, TrajectorySet, open_corpus
from wmzoo.errors import WmzooError
from wmzoo.progress import console
from wmzoo.recipe import SplitConfig

FEW = 8
"""Environments up to which the ranges of all are printed without being asked for."""


def print_info(path: str, variates: bool = False) -> None:
    """Print the sets of a corpus, its splits and ranges.

    Args:
        path: of the corpus.
        variates: print the ranges of each set on its own, not those of each environment if they are few.

    Raises:
        WmzooError: the corpus can't be opened.
    """
    corpus, out = open_corpus(path), console()
    size, episodes = corpus.path.stat().st_size / 1e6, sum(len(item.episodes) for item in corpus.sets.values())
    steps = sum(item.transitions for item in corpus.sets.values())
    environments = {item.environment for item in corpus.sets.values()}
    out.print(
        f"{corpus.path}: {len(corpus.sets)} sets, environments: {len(environments)}, {episodes:,} episodes, "
        f"{steps:,} steps, {size:.1f} MB",
        highlight=False,
    )
    out.print(_sets(corpus))
    few = len(environments) <= FEW
    for title, items in _groups(corpus, apart=variates).items() if variates or few else ():
        out.print(_ranges(title, items))
    ranges = "" if variates or few else f"Ranges of its variates: wmzoo data info {path} --variates\n"
    out.print(f"{ranges}Every row is read by: wmzoo data check {path}", highlight=False, markup=False, soft_wrap=True)


TEXTS = ("set", "component", "behaviour")


def _sets(corpus: Corpus) -> Table:
    """A line a set; normalised scores where any set has one."""
    items = list(corpus.sets.values())
    columns = {name: column for name, column in _COLUMNS.items() if name != SCORE or any(map(_score, items))}
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        table.add_column(name, justify="left" if name in TEXTS else "right", no_wrap=True)
    for item in items:
        table.add_row(*(column(item) for column in columns.values()))
    return table


def _return(item: TrajectorySet) -> str:
    returns = item.episodes["return"]
    return f"{returns.mean():.1f} ± {returns.std():.1f}"


def _score(item: TrajectorySet) -> str:
    score = item.about.get("score")
    return "" if score is None else f"{score:.1f}"


def _split_counts(item: TrajectorySet) -> str:
    try:
        parts = split(item, **vars(SplitConfig()))
    except WmzooError:
        return "too few"
    return f"{len(parts.train)}/{len(parts.validation)}/{len(parts.test)}"


def _behaviour(item: TrajectorySet) -> str:
    """How many behaviours there are, and of what kinds."""
    kinds = [kind or "?" for kind in item.kinds]
    named = list(dict.fromkeys(kinds))
    if not kinds:
        return "unknown"
    return f"{len(kinds)} {named[0]}" if len(named) == 1 else f"{len(kinds)}, {len(named)} kinds"


SCORE = "D4RL score"
_COLUMNS: dict[str, Callable[[TrajectorySet], str]] = {
    "set": lambda item: item.key,
    "component": lambda item: item.component,
    "episodes": lambda item: f"{len(item.episodes):,}",
    "steps": lambda item: f"{item.transitions:,}",
    "m": lambda item: str(item.states),
    "n": lambda item: str(item.actions),
    "return": _return,
    SCORE: _score,
    "terminated": lambda item: f"{item.episodes['terminated'].mean():.0%}",
    "train/val/test": _split_counts,
    "behaviour": _behaviour,
}


def _groups(corpus: Corpus, apart: bool) -> dict[str, list[TrajectorySet]]:
    """The sets whose ranges are shown together: those of an environment, or each on its own."""
    groups: dict[str, list[TrajectorySet]] = {}
    for item in corpus.sets.values():
        groups.setdefault(item.key if apart else f"{item.environment}, all levels", []).append(item)
    return groups


def _ranges(title: str, items: Sequence[TrajectorySet]) -> Table:
    """Ranges and moments of the rows of some sets together, from those of each."""
    table = Table(title=f"\n{title}", title_justify="left", box=None, pad_edge=False, header_style="dim")
    for name in ("variate", "low", "high", "mean", "std", "mean change"):
        table.add_column(name, justify="left" if name == "variate" else "right")
    stored = np.stack([_statistics(item) for item in items])  # [sets, M]
    rows = np.array([len(item.data) for item in items], float)
    moves = rows - [len(item.lengths) for item in items]
    mean = np.average(stored["mean"], axis=0, weights=rows)
    spread = np.average(stored["std"] ** 2.0 + (stored["mean"] - mean) ** 2, axis=0, weights=rows) ** 0.5
    change = np.average(stored["change"], axis=0, weights=moves)
    columns = (stored["low"].min(0), stored["high"].max(0), mean, spread, change)
    for i, name in enumerate(items[0].names):
        table.add_row(name, *(f"{c[i]:.4g}" for c in columns))
    return table


def _statistics(item: TrajectorySet) -> np.ndarray:
    assert item.statistics is not None  # every set of a file has them
    return item.statistics
