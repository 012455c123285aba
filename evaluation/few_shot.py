"""Few-shot: the error of the next row by the share of the episodes that a model was trained on.

Version 1. Training on 1 %, 10 % and all of the episodes (``data.fraction``), from random and from pre-trained weights
(Yin et al. 2025, section 5.5 and figure 8a). What is predicted is what ``transition/v1`` predicts one step ahead. That
measures in the training deviations of each run, which change with the episodes; here the unit is the same for every
share: the deviation over all episodes that were left for training. Ranges are those that the run measured on its own
episodes, so with few of them some inputs are clipped, as they would be. A smaller share is a part of a larger one, and
the same for every seed, so intervals know nothing of other choices; checkpoints are chosen on all validation episodes
at every share. Floors: the last value, the mean of the history, and a ridge regression on the run's own episodes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmzoo.data.splits import merge_variates, split
from wmzoo.data.store import Corpus
from wmzoo.errors import WmzooError
from wmzoo.evaluation import board_comparison, boards, cells, floors
from wmzoo.evaluation.board_rows import Board
from wmzoo.evaluation.boards import Column, describe, summary
from wmzoo.evaluation.cells import Cell
from wmzoo.evaluation.comparison import Comparison
from wmzoo.evaluation.metrics import Units
from wmzoo.evaluation.ranking import UNDEFINED
from wmzoo.evaluation.records import RunRecord
from wmzoo.evaluation.zero_shot import DRAWS, estimated, resample
from wmzoo.model import WorldModel
from wmzoo.progress import bar
from wmzoo.recipe import setting
from wmzoo.trajectories import Variates

__all__ = ["PROTOCOL", "Config", "compare", "describe", "evaluate", "summary"]

PROTOCOL = "few_shot/v1"

COLUMNS = (
    Column("nmae", "nmae", "low", "mean absolute error on unseen episodes of the level trained on, in deviations"),
    Column("ood", "other levels", "low", "the same, mean over the other levels of the environment"),
    Column("mae", "mae", "low", "as nmae, in physical units"),
)

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the protocol; results of different settings are not compared, but for ``batch_size``."""

    context: int = setting(19, "rows given, the next one is predicted", unit="steps", low=1)
    windows: int = setting(1024, "most target rows of a test set", low=1)
    batch_size: int = setting(256, "windows predicted at once", symbol="B", low=1)


@dataclass(frozen=True, eq=False)
class _Errors:
    """Errors ``[N, 2]`` of one test set, in deviations and in physical units, and the episode of each row."""

    cell: Cell
    values: dict[str, Array]
    episode: np.ndarray


def evaluate(
    model: WorldModel, corpus: Corpus, manifest: Mapping[str, Any], config: Config, progress: bool = True
) -> dict[str, Any]:
    """Score a model and the floors, one step ahead.

    Args:
        model: put in evaluation mode here; used on the device that it is on.
        corpus: that the run trained on; holds the test sets too.
        manifest: of the run.
        config: of the protocol.
        progress: show a bar.

    Returns:
        Plain JSON, see :mod:`wmzoo.evaluation.boards`; a board for each environment and share of the episodes, with its
        ``environment`` and ``fraction``.

    Raises:
        WmzooError: the data are refused, or the model was imported and not trained on any.
    """
    if "imported" in manifest:
        raise WmzooError(f"{PROTOCOL}: {model.name} was imported, so its share of the episodes is unknown; train it.")
    began, found = time.perf_counter(), {}
    chosen = cells.choose(corpus, manifest, model.variates)
    fraction = model.recipe.data.fraction
    with bar(f"{PROTOCOL} {model.name}", len(chosen), quiet=not progress, unit="sets") as report:
        for environment in dict.fromkeys(cell.item.environment for cell in chosen):
            mine = [cell for cell in chosen if cell.item.environment == environment]
            trained = [cell.item for cell in mine if cell.distribution == cells.IN]
            had = [(item, np.asarray(manifest["sets"][item.key]["train"])) for item in trained]
            whole = merge_variates([(item, split(item, **manifest["settings"]).train) for item in trained])
            scorer = _Scorer(model.eval(), floors.fit(had, whole), whole, config)
            errors = []
            for cell in mine:
                report(chosen.index(cell), cell.item.key)
                errors.append(scorer.measure(cell))
            count = sum(len(train) for _, train in had)
            about = f"{count} episode{'s' * (count > 1)} to train on"
            found[f"{environment}, {100 * fraction:g} %"] = {
                "about": about,
                "manifest_hash": manifest["sha256"],
                "environment": environment,
                "fraction": fraction,
                "rows": {name: _row(name, errors) for name in errors[0].values},
            }
    return boards.result(PROTOCOL, model, manifest, config, COLUMNS, found, time.perf_counter() - began)


class _Scorer:
    """Errors of the model and the floors in one environment."""

    def __init__(self, model: WorldModel, known: Mapping[str, floors.Floor], whole: Variates, config: Config):
        self.model, self.floors, self.config = model, known, config
        self.whole, self.units = whole, Units.of(whole)
        self.device = next(model.parameters()).device

    def measure(self, cell: Cell) -> _Errors:
        """Predict rows of a test set, from the same history each."""
        rows, size = cells.draw(cell, 1, self.config.windows), self.config.batch_size
        window = cells.cut(cell, rows, self.config.context + 1, self.model.variates)
        given, target = window.until(-1), window.values[:, -1].numpy()
        parts = [given.index(slice(i, i + size)).to(self.device) for i in range(0, len(given), size)]
        said = np.concatenate([self.model.predict(part).mean.cpu().numpy() for part in parts])
        values = {boards.MODEL: self._error(said, target)}
        arrays = given.values.numpy(), given.valid.numpy()
        for name, floor in self.floors.items():
            values[name] = self._error(floor(*arrays, arrays[0][:, -1:, self.whole.predicted :]), target)
        return _Errors(cell, values, cell.item.episode_of(rows))

    def _error(self, forecast: np.ndarray, target: np.ndarray) -> Array:
        units = self.units
        plain = np.abs(forecast[:, units.columns] - target[:, units.columns]).astype(np.float64)
        return np.stack([(plain / units.scale)[:, units.active].mean(1), plain.mean(1)], 1)


def _row(name: str, errors: Sequence[_Errors]) -> dict[str, Any]:
    """A row of the board."""
    groups = {
        where: [(one.values[name], one.episode) for one in errors if one.cell.distribution == where]
        for where in (cells.IN, cells.OUT)
    }
    inside, outside = (_means(group) for group in groups.values())
    metrics = {"nmae": inside[0], "ood": outside[0], "mae": inside[1]}
    kind = boards.MODEL if name == boards.MODEL else boards.FLOOR
    return {
        "kind": kind,
        "metrics": metrics,
        "values": [found["value"] for found in metrics.values() if found["value"]],
    }


def _means(group: Sequence[tuple[Array, np.ndarray]]) -> list[dict[str, Any]]:
    """The means of both errors over test sets, with intervals from resampled episodes; undefined without a set."""
    if not group:
        return [dict(UNDEFINED), dict(UNDEFINED)]
    value, drawn = np.mean([errors.mean(0) for errors, _ in group], 0), resample(group, DRAWS)
    return [estimated(float(value[i]), drawn[:, i]) for i in range(2)]


def compare(records: Sequence[RunRecord], mixed: Sequence[str] = (), baseline: str = "") -> Comparison:
    """Compare runs, see :func:`wmzoo.evaluation.board_comparison.compare`."""
    shares = {name: (b["environment"], b["fraction"]) for r in records for name, b in r.result["boards"].items()}

    def draw(drawn: Sequence[Board], path: Path) -> None:
        from wmzoo.evaluation import few_shot_figures  # matplotlib is slow to import

        few_shot_figures.by_share(drawn, shares, path)

    return board_comparison.compare(records, mixed, "episodes", "errors by share of the episodes", draw, baseline)
