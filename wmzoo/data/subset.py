"""Parts of a corpus: copied by ``wmzoo data subset``, or trained on without a copy by a recipe's ``data.fraction``."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmzoo.data.store import Corpus, TrajectorySet, corpus_path, make_set, open_corpus, write_corpus
from wmzoo.errors import WmzooError, nearest
from wmzoo.recipe import setting, settings_of


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which part of a corpus."""

    fraction: float = setting(1.0, "share of the episodes of each set", low=0.0, high=1.0)
    least: int = setting(8, "episodes that a set keeps at least, if it has them", low=1)
    components: tuple[str, ...] = setting(("*",), "components to keep, such as dmc; * matches any")
    include: tuple[str, ...] = setting(("*",), "sets to keep of those, environment/level; * matches any")
    exclude: tuple[str, ...] = setting((), "sets or components to leave out of those")
    seed: int = setting(0, "of the choice of episodes", low=0)


def choose_sets(
    corpus: Corpus,
    include: Sequence[str],
    exclude: Sequence[str] = (),
    components: Sequence[str] = ("*",),
    places: tuple[str, str, str] = ("include", "exclude", "components"),
) -> list[TrajectorySet]:
    """The sets that match any pattern of ``include`` and of ``components``, and none of ``exclude``.

    Args:
        corpus: opened.
        include: patterns of ``environment/level``.
        exclude: patterns of ``environment/level`` or of components.
        components: patterns of components.
        places: what to call the three in a message.

    Returns:
        In the corpus's order.

    Raises:
        WmzooError: a pattern matches nothing, or nothing is left.
    """
    parts = {item.component for item in corpus.sets.values()}
    valid = (set(corpus.sets), {*corpus.sets, *parts}, parts)
    for place, patterns, names in zip(places, (include, exclude, components), valid, strict=True):
        for pattern in patterns:
            if not fnmatch.filter(names, pattern):
                hint = nearest(pattern, filter(None, names))
                raise WmzooError(f'{place}: nothing in {corpus.path} matches "{pattern}". {hint}')
    items = [item for item in corpus.sets.values() if _matches(include, item.key)]
    items = [item for item in items if _matches(components, item.component)]
    kept = [item for item in items if not _matches(exclude, item.key, item.component)]
    if not kept:
        raise WmzooError(f"{', '.join(places)}: together leave nothing of {corpus.path}; choose more or exclude less.")
    return kept


def _matches(patterns: Sequence[str], *names: str) -> bool:
    """Whether any pattern matches any of the names."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns for name in names)


def choose_episodes(
    item: TrajectorySet, episodes: np.ndarray, fraction: float, seed: int, least: int = 1
) -> np.ndarray:
    """A random share of some episodes, sorted; a smaller share is a part of a larger one.

    Args:
        item: their set; sets of equal size are not cut alike.
        episodes: indices to choose from.
        fraction: share to keep.
        seed: of the choice.
        least: episodes to keep at least.
    """
    if fraction == 1:
        return episodes
    order = np.random.default_rng([seed, item.number, 1]).permutation(len(episodes))
    count = max(round(fraction * len(episodes)), min(least, len(episodes)))
    return np.sort(episodes[order[:count]])


def subset(path: str, to: Path, overrides: Sequence[str] = ()) -> Path:
    """Copy a part of a corpus.

    Args:
        path: of the corpus.
        to: of the new one; ``.h5`` is added to a path without an ending.
        overrides: ``key=value`` settings, see :class:`Config`.

    Returns:
        The new corpus's path.

    Raises:
        WmzooError: a wrong setting, a corpus that can't be read, or a file that is there already.
    """
    config: Config = settings_of(Config, overrides)
    corpus, target = open_corpus(path), corpus_path(to)
    if target.exists():
        raise WmzooError(f"{target}: is there already; choose another place by --to, or delete it.")
    items = choose_sets(corpus, config.include, config.exclude, config.components)
    about = {**corpus.about, "subset": {"of": str(corpus.path), **_plain(config)}}
    write_corpus(target, _parts(items, config), about)
    return target


def _plain(config: Config) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(config).items()}


def _parts(items: Sequence[TrajectorySet], config: Config) -> Iterator[TrajectorySet]:
    for item in items:
        everything = np.arange(len(item.lengths))
        kept = choose_episodes(item, everything, config.fraction, config.seed, config.least)
        yield make_set(
            item.environment,
            item.level,
            item.names,
            item.states,
            item.dt,
            [item.rows(int(e)) for e in kept],
            item.episodes[kept],
            {**item.about, "subset_of": item.sha256, "episodes": len(kept)},
            component=item.component,
            bodies=item.bodies,
        )
