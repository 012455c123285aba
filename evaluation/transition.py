"""Transition prediction: the next row, one step and several steps ahead, on trained and unseen levels of behaviour.

Version 1. The 20th row of a window is predicted from the 19 before it (fewer at the start of an episode), on every
set of the environment that the run trained on. ``mae`` is the absolute error of the expectation in physical units,
averaged over the states and the reward, as in Yin et al. (2025), section 5.2; ranges and deviations are always
those of the run's training episodes. Several steps ahead, the *same* target rows are predicted from a history that
ends ``k`` rows earlier, along the true actions. A model that decodes a row's variates one after another is scored
``free-running``, from its own values, and, one step ahead, ``teacher-forced``, given the true ones, which is what
the released code of the TDM baseline reports. What ``compat: official`` changes is told by ``wmzoo show compat``, and
``compat`` in the result says which was used. Where a model learns ``terminated``, that column is left out of all of
these and has scores of its own, ``termination``.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from wmzoo.binning import share_outside
from wmzoo.data.splits import merge_variates
from wmzoo.data.store import Corpus
from wmzoo.data.terminated import as_trained
from wmzoo.errors import WmzooError
from wmzoo.evaluation import cells, floors, trajectories
from wmzoo.evaluation.cells import FORCED, FREE, Cell
from wmzoo.evaluation.levels import compare
from wmzoo.evaluation.metrics import Scores, Units, flag_scores, join, per_episode, score, score_point, skill, summarise
from wmzoo.evaluation.shown import describe, pictures, summary
from wmzoo.model import WorldModel
from wmzoo.progress import bar
from wmzoo.recipe import setting
from wmzoo.trajectories import Variates, Window

__all__ = ["PROTOCOL", "Config", "compare", "describe", "evaluate", "pictures", "summary"]

PROTOCOL = "transition/v1"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the protocol; results of different settings are not compared, but for ``batch_size``."""

    context: int = setting(19, "rows given, the next one is predicted", unit="steps", low=1)
    windows: int = setting(2048, "most target rows of a test set", low=1)
    horizons: tuple[int, ...] = setting((1, 2, 5, 10, 19), "steps ahead, at most context", unit="steps", low=1)
    rollouts: int = setting(256, "most target rows for the errors several steps ahead", low=1)
    batch_size: int = setting(256, "windows predicted at once", symbol="B", low=1)
    in_distribution: bool = setting(False, "accept test episodes that the run was trained on, and mark their sets")


@dataclass(frozen=True, eq=False)
class _Test:
    """A test set, ready: its target rows, for one step and for several, and its errors' units."""

    cell: Cell
    rows: np.ndarray
    complete: np.ndarray
    units: Units


def evaluate(
    model: WorldModel, corpus: Corpus, manifest: Mapping[str, Any], config: Config, progress: bool = True
) -> dict[str, Any]:
    """Score a model and the floors on every set of its environments.

    Args:
        model: put in evaluation mode here; used on the device that it is on.
        corpus: that the run trained on; holds the test sets too.
        manifest: of the run.
        config: of the protocol.
        progress: show a bar.

    Returns:
        Plain JSON: ``tests`` (facts of each set), ``modes`` (the model's metrics by mode and set), ``floors`` (the
        same by floor and set) and ``imagined`` (a rollout beside the truth, of a few sets).

    Raises:
        WmzooError: a horizon is longer than the context, or the data are refused.
    """
    if max(config.horizons) > config.context:
        raise WmzooError(
            f"evaluate.transition.horizons: {max(config.horizons)} steps ahead need as many rows of context; "
            f"make context larger than {config.context} or leave the horizon out."
        )
    began = time.perf_counter()
    evaluation = _Evaluation(model.eval(), corpus, manifest, config)
    with bar(f"{PROTOCOL} {model.name}", evaluation.total, quiet=not progress, unit="windows") as report:
        for test in evaluation.tests:
            evaluation.add(test, report)
        evaluation.imagine()
    return {**evaluation.result, "seconds": time.perf_counter() - began}


class _Evaluation:
    """One run of the protocol: what it needs, and the result so far."""

    def __init__(self, model: WorldModel, corpus: Corpus, manifest: Mapping[str, Any], config: Config):
        self.model, self.config, self.done = model, config, 0
        self.device = next(model.parameters(), torch.empty(0)).device
        self.modes = _modes(model)
        chosen = cells.choose(corpus, manifest, model.variates, config.in_distribution)
        self.tests = [self._prepare(cell) for cell in chosen]
        environments = {cell.item.environment for cell in chosen}
        self.floors = {environment: self._fit(corpus, manifest, environment) for environment in environments}
        one = sum(len(test.rows) for test in self.tests) * len(self.modes)
        self.total = one + sum(len(test.complete) for test in self.tests) * sum(config.horizons)
        settings = {**dataclasses.asdict(config), "horizons": list(config.horizons)}
        self.result: dict[str, Any] = {
            "protocol": PROTOCOL,
            "settings": settings,
            "compat": model.compat,
            "trained_on": [] if "imported" in manifest else sorted(manifest["sets"]),
            "manifest_hash": manifest["sha256"],
            "tests": {},
            "modes": {mode: {} for mode in self.modes},
            "floors": {name: {} for name in floors.NAMES},
            "imagined": {},
        }

    def _prepare(self, cell: Cell) -> _Test:
        rows = cells.draw(cell, 1, self.config.windows)
        complete = cells.draw(cell, self.config.context, self.config.rollouts)
        return _Test(cell, rows, complete, Units.of(self.model.variates[cell.item.environment]))

    def _fit(self, corpus: Corpus, manifest: Mapping[str, Any], environment: str) -> dict[str, floors.Floor]:
        trained = [(corpus.sets[key], np.asarray(about["train"])) for key, about in manifest["sets"].items()]
        variates = self.model.variates[environment]
        mine = [(as_trained(item, variates), e) for item, e in trained if item.environment == environment]
        return floors.fit(mine, variates)

    def add(self, test: _Test, report: Callable[[int, str], None]) -> None:
        """Score the floors and the model on one test set."""

        def tick(windows: int) -> None:
            """Count predicted windows for the bar."""
            self.done += windows
            report(self.done, test.cell.item.key)

        key, variates = test.cell.item.key, self._input_scale(test.cell)
        single = cells.cut(test.cell, test.rows, self.config.context + 1, variates)
        several = cells.cut(test.cell, test.complete, self.config.context + 1, variates) if len(test.complete) else None
        self.result["tests"][key] = _facts(test, single.until(-1))
        for name, floor in self.floors[test.cell.item.environment].items():
            self.result["floors"][name][key] = _floor(floor, test, single, several, self.config.horizons)
        reference = {name: found[key] for name, found in self.result["floors"].items()}
        for mode in self.modes:
            found = self._one_step(test, single, mode == FORCED, tick)
            found["horizons"] = {} if mode == FORCED else self._several_steps(test, several, tick)
            self.result["modes"][mode][key] = {**found, **_skills(found, reference)}

    def imagine(self) -> None:
        """Roll out a window of a few test sets, for a picture."""
        horizon = max(self.config.horizons)
        for cell in trajectories.choose([test.cell for test in self.tests]):
            variates = self._input_scale(cell)
            found = trajectories.imagine(self.model, cell, variates, self.config.context, horizon)
            self.result["imagined"] |= {cell.item.key: found} if found else {}

    def _one_step(self, test: _Test, window: Window, forced: bool, tick: Callable[[int], None]) -> dict[str, Any]:
        """Score the model's distribution of the next row."""
        began, parts, flags = time.perf_counter(), [], []
        for batch in self._batches(window):
            target = _target(batch)
            prediction = self.model.predict(batch.until(-1), target if forced else None)
            parts.append(score(prediction, target, test.units, each_member=self.model.official))
            flags.append(_array(torch.stack([prediction.mean, target])))
            tick(len(batch))
        seconds = time.perf_counter() - began
        rate = {"seconds": seconds, "windows_per_second": len(window) / seconds}
        variates = self.model.variates[test.cell.item.environment]
        learned = {"termination": _termination(flags, variates.states - 1)} if variates.terminated else {}
        return {**_metrics(join(parts), test), **learned, **rate}

    def _several_steps(self, test: _Test, window: Window | None, tick: Callable[[int], None]) -> dict[str, Any]:
        """Score the last row of rollouts of each length that all end in the same rows."""
        if window is None:
            return {}
        errors: dict[str, list[Scores]] = {str(k): [] for k in self.config.horizons}
        for batch in self._batches(window):
            target = _target(batch)
            for k in self.config.horizons:
                forecast = self.model.rollout(batch.until(-k), _actions(batch, k), k).values[:, -1]
                errors[str(k)].append(score_point(_array(forecast), _array(target), test.units))
                tick(k * len(batch))
        return {k: _short(join(parts), test.units) for k, parts in errors.items()}

    def _input_scale(self, cell: Cell) -> Mapping[str, Variates]:
        """The model's statistics; as the released code has it, with the moments of the test set itself."""
        variates = self.model.variates
        if not self.model.official:
            return variates
        name = cell.item.environment
        own = merge_variates([(cell.item, np.arange(len(cell.item.lengths)))])
        return {**variates, name: dataclasses.replace(variates[name], mean=own.mean, std=own.std)}

    def _batches(self, window: Window) -> list[Window]:
        size = self.config.batch_size
        return [window.index(slice(i, i + size)).to(self.device) for i in range(0, len(window), size)]


def _modes(model: WorldModel) -> tuple[str, ...]:
    """How a model is scored: once, or, if it decodes variate by variate, free-running and teacher-forced."""
    if not model.autoregressive:
        return ("",)
    return (FORCED,) if model.official else (FREE, FORCED)


def _target(window: Window) -> torch.Tensor:
    """The true states and reward of the last row, ``[B, J]``."""
    return window.values[:, -1, : window.columns.width]


def _actions(window: Window, k: int) -> torch.Tensor:
    """The true actions that lead to the last row in ``k`` steps, ``[B, k, n]``."""
    return window.values[:, -k - 1 : -1, window.columns.width :]


def _array(values: torch.Tensor) -> np.ndarray:
    return values.cpu().numpy()


def _facts(test: _Test, context: Window) -> dict[str, Any]:
    """What a test set is; ``clipped`` is the share of its inputs outside of the training range."""
    item = test.cell.item
    return {
        "environment": item.environment,
        "level": item.level,
        "distribution": test.cell.distribution,
        "windows": len(test.rows),
        "rollouts": len(test.complete),
        "episodes": len(np.unique(test.cell.item.episode_of(test.rows))),
        "episodes_seen": test.cell.seen,
        "clipped": float(share_outside(context.values, context.valid, context.columns, margin=0.0)),
    }


def _metrics(scores: Scores, test: _Test) -> dict[str, Any]:
    episodes = per_episode(scores, test.units, test.cell.item.episode_of(test.rows))
    return {**summarise(scores, test.units), "by_episode": episodes}


def _termination(parts: list[np.ndarray], place: int) -> dict[str, Any]:
    """Scores of the learned column at a place, from the forecast and the true rows ``[2, B, J]`` of each batch."""
    forecast, truth = np.concatenate(parts, 1)[..., place]
    return flag_scores(forecast, truth > 0.5)


def _short(scores: Scores, units: Units) -> dict[str, float | None]:
    found = summarise(scores, units)
    return {"mae": found["mae"], "nmae": found["nmae"]}


def _floor(
    floor: floors.Floor, test: _Test, single: Window, several: Window | None, horizons: tuple[int, ...]
) -> dict[str, Any]:
    """Score a floor on the same windows as the model."""

    def scores(window: Window, k: int) -> Scores:
        """Of the forecast ``k`` steps ahead."""
        context = window.until(-k)
        forecast = floor(_array(context.values), _array(context.valid), _array(_actions(window, k)))
        return score_point(forecast, _array(_target(window)), test.units)

    ahead = {} if several is None else {str(k): _short(scores(several, k), test.units) for k in horizons}
    return {**_metrics(scores(single, 1), test), "horizons": ahead}


def _skills(found: Mapping[str, Any], reference: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Skill of a model over the best floor and over the last value, for both errors."""
    best = min(reference, key=lambda name: reference[name]["nmae"])
    lowest = min(about["mae"] for about in reference.values())
    return {
        "best_floor": best,
        "skill": skill(found["nmae"], reference[best]["nmae"]),
        "vs_last": skill(found["nmae"], reference[floors.LAST]["nmae"]),
        "mae_skill": skill(found["mae"], lowest),
        "mae_vs_last": skill(found["mae"], reference[floors.LAST]["mae"]),
    }
