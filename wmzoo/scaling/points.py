"""The points of a scaling run: what each cell of a grid cost, and how well it does."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmzoo import evaluation
from wmzoo.errors import WmzooError, nearest
from wmzoo.evaluation.cells import IN, OUT
from wmzoo.evaluation.shown import SHOWN
from wmzoo.files import read_json
from wmzoo.recipe import Recipe
from wmzoo.runs import open_sets, run_folder, split_set

NMAE = "nmae"
VALIDATION = "validation_loss"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A model of one size, trained for one length on one share of the data; the mean over seeds.

    Attributes:
        parameters: trainable numbers.
        tokens: scalars read in training.
        flops: of training, forwards and backwards, counted.
        rows: distinct rows of the training episodes.
        value: mean of the metric.
        values: of each seed.
    """

    parameters: int
    tokens: float
    flops: float
    rows: int
    value: float
    values: tuple[float, ...]


def collect(cells: Sequence[Recipe], metric: str = NMAE) -> list[Point]:
    """Read what finished cells say.

    Args:
        cells: trained and evaluated.
        metric: ``nmae``, the error on the level trained on; any other number of ``transition/v1`` by the name that it
            has in MLflow, such as ``out/nmae``; or ``validation_loss``, the best of training.

    Returns:
        A point for each size, length and share of the data, and whatever else the grid varies, by rising FLOPs.

    Raises:
        WmzooError: no such metric, or one that is not above 0 everywhere, as a power law is.
    """
    found: dict[tuple[str, int, float, int], list[tuple[float, float]]] = {}
    rows: dict[str, int] = {}
    for cell in cells:
        folder = run_folder(cell)
        cost = read_json(folder / "run.json")["cost"]
        data = str(cell.data)
        if data not in rows:
            rows[data] = _rows(cell)
        # A name stands for all seeds, and for nothing else that the grid varies.
        key = (cell.name, int(cost["parameters"]), float(cost["train_tokens"]), rows[data])
        found.setdefault(key, []).append((float(cost["train_flops"]), _value(folder, metric)))
    points = [
        Point(
            parameters=parameters,
            tokens=tokens,
            rows=distinct,
            flops=float(np.mean([flops for flops, _ in seeds])),
            value=float(np.mean([value for _, value in seeds])),
            values=tuple(value for _, value in seeds),
        )
        for (_, parameters, tokens, distinct), seeds in found.items()
    ]
    if not all(point.value > 0 for point in points):
        raise WmzooError(f"--metric {metric}: is not above 0 in every cell, and no power law; choose another.")
    return sorted(points, key=lambda point: point.flops)


def check_metric(metric: str) -> None:
    """Refuse what is no metric, before hours of training.

    Raises:
        WmzooError: no run can have a number of that name.
    """
    level, _, name = metric.rpartition("/")
    numbers = rf"{'|'.join(SHOWN)}|nmae_h\d+|termination_\w+"
    if metric not in (NMAE, VALIDATION) and not (level and re.fullmatch(numbers, name)):
        known = (NMAE, VALIDATION, *(f"{where}/{name}" for where in (IN, OUT) for name in (*SHOWN, "nmae_h19")))
        raise WmzooError(f'--metric: unknown metric "{metric}". {nearest(metric, known)}')


def _rows(cell: Recipe) -> int:
    """Distinct rows of a recipe's training episodes."""
    return sum(int(item.lengths[split_set(item, cell).train].sum()) for item in open_sets(cell)[1])


def _value(folder: Path, metric: str) -> float:
    scores = _scores(folder)
    known = {NMAE, VALIDATION, *scores}
    if metric not in known:
        raise WmzooError(f'--metric: unknown metric "{metric}". {nearest(metric, known)}')
    if metric == VALIDATION:
        with (folder / "history.csv").open() as file:
            losses = [row.get(VALIDATION) for row in csv.DictReader(file)]
        return min(float(loss) for loss in losses if loss)
    return scores["in/nmae" if metric == NMAE else metric]


def _scores(folder: Path) -> dict[str, float]:
    result = read_json(folder / "transition-v1.json")
    return evaluation.find("transition/v1").summary(result)
