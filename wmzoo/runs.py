"""The data of a run: sets, splits, training statistics and manifest, made from a recipe; and the run's folder."""

from __future__ import annotations

import dataclasses
import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wmzoo.data.mixture import check_mixture, set_weights
from wmzoo.data.splits import Split, manifest, merge_variates, split
from wmzoo.data.store import Corpus, TrajectorySet, open_corpus
from wmzoo.data.subset import choose_episodes, choose_sets
from wmzoo.data.terminated import unit_range, with_terminated
from wmzoo.data.windows import Sampler, every_window
from wmzoo.errors import WmzooError
from wmzoo.recipe import SINGLE_ENVIRONMENT, Recipe
from wmzoo.trajectories import Variates

if TYPE_CHECKING:
    from wmzoo.model import WorldModel


PLACES = ("data.environments", "data.exclude", "data.components")


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
        own = [_weight(recipe, item.key) for item in self.items]
        return Sampler(
            items=self.items,
            episodes=[part.train for part in self.splits],
            weights=set_weights(self.items, own, recipe.data.mixture),
            length=recipe.data.window,
            batch_size=recipe.train.batch_size,
            seed=recipe.seed,
            single_environment=recipe.data.batch == SINGLE_ENVIRONMENT,
            beyond=recipe.data.terminated,
        )

    def shares(self, recipe: Recipe) -> dict[str, float]:
        """How often the windows of each environment are drawn; they sum to 1."""
        weights = self.sampler(recipe).weights
        found = dict.fromkeys(self.variates, 0.0)
        for item, weight in zip(self.items, weights, strict=True):
            found[item.environment] += weight / sum(weights)
        return found

    def validation(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Sets ``[B]`` and last rows ``[B]`` of the validation windows, the same for every seed."""
        episodes = [part.validation for part in self.splits]
        return every_window(self.items, episodes, most, seed=0)


def prepare(recipe: Recipe) -> RunData:
    """Open, choose, split and measure a recipe's data.

    Raises:
        WmzooError: the corpus or a set is missing, damaged or too small, or holds NaN or infinite values.
    """
    chosen, settings = recipe.data, recipe.data.split
    corpus, items = open_sets(recipe)
    if chosen.mixture:
        check_mixture(corpus, items, chosen.mixture)
    if not settings.validation:
        raise WmzooError("data.split.validation: checkpoints are chosen by validation; give it a share above 0.")
    parts = [split_set(item, recipe) for item in items]
    named: dict[str, list[tuple[TrajectorySet, np.ndarray]]] = {}
    for item, part in zip(items, parts, strict=True):
        named.setdefault(item.environment, []).append((item, part.train))
    return RunData(
        corpus=corpus,
        items=items,
        splits=parts,
        variates={name: unit_range(merge_variates(pairs, chosen.widen, chosen.trim)) for name, pairs in named.items()},
        manifest=manifest(corpus, dict(zip((i.key for i in items), parts, strict=True)), vars(settings)),
    )


def open_sets(recipe: Recipe) -> tuple[Corpus, list[TrajectorySet]]:
    """A recipe's corpus, and its sets that the recipe trains on.

    Raises:
        WmzooError: the corpus or a set is missing or damaged.
    """
    corpus, chosen = open_corpus(recipe.data.corpus), recipe.data
    items = choose_sets(corpus, chosen.environments, chosen.exclude, chosen.components, PLACES)
    return corpus, [with_terminated(item) for item in items] if chosen.terminated else items


def split_set(item: TrajectorySet, recipe: Recipe) -> Split:
    """The split of a set, with the share of its training episodes that is asked for."""
    settings = recipe.data.split
    whole = split(item, seed=settings.seed, validation=settings.validation, test=settings.test)
    train = choose_episodes(item, whole.train, recipe.data.fraction, settings.seed)
    return dataclasses.replace(whole, train=train)


def borrow(model: WorldModel, corpus: str, sets: tuple[str, ...]) -> dict[str, Any]:
    """Give an imported model data to be tested on; its own ranges stay as they are.

    Args:
        model: its ``variates`` become those of the sets, measured on their training episodes.
        corpus: path of an HDF5 corpus.
        sets: patterns of its sets.

    Returns:
        The manifest, marked as imported: no set was trained on.

    Raises:
        WmzooError: as :func:`prepare`, or the sets have other columns than the model.
    """
    recipe = model.recipe
    data = prepare(dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, corpus=corpus, environments=sets)))
    own, measured = list(model.variates.values()), data.variates
    if own:
        measured = {name: _with_ranges(name, found, own[0]) for name, found in measured.items()}
    model.use(measured)
    return {**data.manifest, "imported": recipe.name}


def _with_ranges(name: str, measured: Variates, own: Variates) -> Variates:
    """The columns of an environment with the ranges that a model came with, and its moments if it came with some."""
    if (own.states, own.actions) != (measured.states, measured.actions):
        raise WmzooError(
            f"--sets: {name} has {measured.states} states and {measured.actions} actions, the model was made for "
            f"{own.states} and {own.actions}; choose sets of its own environment."
        )
    known = np.isfinite(own.low) & np.isfinite(own.high)
    if known.all():
        return dataclasses.replace(measured, low=own.low, high=own.high)
    return dataclasses.replace(measured, mean=own.mean, std=own.std)


def _weight(recipe: Recipe, key: str) -> float:
    for pattern, weight in recipe.data.weights.items():
        if fnmatch.fnmatch(key, pattern):
            return weight
    return 1.0


def run_folder(recipe: Recipe) -> Path:
    """Where a recipe's run lives: ``runs/<experiment>/<name>-s<seed>-<hash>``."""
    return Path(recipe.tracking.folder) / recipe.experiment / f"{recipe.name}-s{recipe.seed}-{recipe.hash[:6]}"
