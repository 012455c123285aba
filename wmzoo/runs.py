"""The data of a run: sets, splits, training statistics and manifest, made from a recipe; and the run's folder."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmzoo.data.splits import Split, manifest, merge_variates, split
from wmzoo.data.store import Corpus, TrajectorySet, open_corpus
from wmzoo.data.windows import Sampler, every_window
from wmzoo.errors import WmzooError, nearest
from wmzoo.recipe import Recipe
from wmzoo.trajectories import Variates


@dataclass(frozen=True, kw_only=True, eq=False)
class RunData:
    """What a recipe's data section stands for.

    Attributes:
        corpus: opened.
        items: the sets to train on.
        splits: one for each set.
        variates: by environment, measured on the training episodes of its sets.
        manifest: plain JSON, with its hash.
    """

    corpus: Corpus
    items: list[TrajectorySet]
    splits: list[Split]
    variates: dict[str, Variates]
    manifest: dict[str, Any]

    def sampler(self, recipe: Recipe) -> Sampler:
        """Draws training batches as the recipe says."""
        weights = [_weight(recipe, item.key) for item in self.items]
        return Sampler(
            items=self.items,
            episodes=[part.train for part in self.splits],
            weights=weights,
            length=recipe.data.window,
            batch_size=recipe.train.batch_size,
            seed=recipe.seed,
        )

    def validation(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Sets ``[B]`` and last rows ``[B]`` of the validation windows, the same for every seed."""
        episodes = [part.validation for part in self.splits]
        return every_window(self.items, episodes, most, seed=0)


def prepare(recipe: Recipe) -> RunData:
    """Open, choose, split and measure a recipe's data.

    Raises:
        WmzooError: the corpus or a set is missing, damaged or too small, or holds NaN or infinite values.
    """
    corpus = open_corpus(recipe.data.corpus)
    items = choose(corpus, recipe.data.environments)
    settings = recipe.data.split
    if not settings.validation:
        raise WmzooError("data.split.validation: checkpoints are chosen by validation; give it a share above 0.")
    parts = [split(item, seed=settings.seed, validation=settings.validation, test=settings.test) for item in items]
    named: dict[str, list[tuple[TrajectorySet, Split]]] = {}
    for item, part in zip(items, parts, strict=True):
        named.setdefault(item.environment, []).append((item, part))
    return RunData(
        corpus=corpus,
        items=items,
        splits=parts,
        variates={name: merge_variates(pairs) for name, pairs in named.items()},
        manifest=manifest(corpus, dict(zip((i.key for i in items), parts, strict=True)), vars(settings)),
    )


def choose(corpus: Corpus, patterns: tuple[str, ...]) -> list[TrajectorySet]:
    """The sets of a corpus that match any of the patterns, in the corpus's order.

    Raises:
        WmzooError: a pattern matches nothing.
    """
    for pattern in patterns:
        if not fnmatch.filter(corpus.sets, pattern):
            raise WmzooError(
                f'data.environments: nothing in {corpus.path} matches "{pattern}". {nearest(pattern, corpus.sets)}'
            )
    return [item for key, item in corpus.sets.items() if any(fnmatch.fnmatch(key, p) for p in patterns)]


def _weight(recipe: Recipe, key: str) -> float:
    for pattern, weight in recipe.data.weights.items():
        if fnmatch.fnmatch(key, pattern):
            return weight
    return 1.0


def run_folder(recipe: Recipe) -> Path:
    """Where a recipe's run lives: ``runs/<experiment>/<name>-s<seed>-<hash>``."""
    return Path(recipe.tracking.folder) / recipe.experiment / f"{recipe.name}-s{recipe.seed}-{recipe.hash[:6]}"
