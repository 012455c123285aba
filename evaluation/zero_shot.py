"""Environments of parameters never trained on, predicted from histories of growing length; shared by two protocols.

A model was trained on many environments that differ in physical parameters alone. On those held out it predicts the
next row from the last 1, 2, ... rows of the history: with one row nothing tells the parameters, with more the model
may infer them in context (Yin et al. 2025, section 5.1). All histories end in the same rows and predict the same rows.
Ranges and units of a held-out environment are those of the environments trained on, taken together; nothing is
measured on the test data. Errors are absolute; a board of its own has the squared ones of the paper's figure 4a, which
a few large errors decide. Beside it stand unseen episodes of environments that were trained on. Environments whose
test episodes are all shorter than the longest history are left out; the board says how many are in.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmzoo.collect.environments import ENVIRONMENTS
from wmzoo.data.store import Corpus
from wmzoo.errors import WmzooError
from wmzoo.evaluation import board_comparison, boards, cells, floors
from wmzoo.evaluation.board_rows import Board
from wmzoo.evaluation.boards import Column
from wmzoo.evaluation.cells import Cell
from wmzoo.evaluation.comparison import Comparison
from wmzoo.evaluation.metrics import Units
from wmzoo.evaluation.ranking import interval
from wmzoo.evaluation.records import RunRecord
from wmzoo.model import WorldModel
from wmzoo.progress import bar
from wmzoo.recipe import setting
from wmzoo.trajectories import Variates, Window

HELD_OUT, SQUARED, TRAINED = "held out", "held out squared", "trained on"
ABSOLUTE, SQUARES = 0, 1
"""Places of both errors in what was measured."""
UNITS = ("absolute errors in training deviations", "squared errors in thousandths of the training variance (figure 4a)")
DRAWS = 1000
"""Resamples for the intervals."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the protocol; results of different settings are not compared, but for ``batch_size``."""

    histories: tuple[int, ...] = setting((1, 2, 3, 5, 10, 19), "rows given, the next one is predicted", low=1)
    windows: int = setting(400, "most target rows of an environment", low=1)
    trained: int = setting(5, "environments trained on, evenly chosen, to put beside", low=1)
    batch_size: int = setting(256, "windows predicted at once", symbol="B", low=1)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Environments that differ in parameters alone.

    Attributes:
        protocol: versioned name.
        component: of its environments, see :class:`wmzoo.collect.environments.Environment`.
        parameter: what its value is called, with its unit.
        value: of an environment's name, for the axis of a picture.
    """

    protocol: str
    component: str
    parameter: str
    value: Callable[[str], float]

    @property
    def held_out(self) -> list[str]:
        """The environments that no model may have been trained on."""
        return [e.name for e in ENVIRONMENTS.values() if e.component == self.component and e.held_out]


def evaluate(
    family: Family,
    model: WorldModel,
    corpus: Corpus,
    manifest: Mapping[str, Any],
    config: Config,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a model and the floors on the environments held out, and on some that were trained on.

    Args:
        family: of the environments.
        model, corpus, manifest, config, progress: as in every protocol.

    Returns:
        Plain JSON, see :mod:`wmzoo.evaluation.boards`: boards ``held out``, ``held out squared`` and ``trained on``; a
        column for each length of the history. A row has ``each``: by environment its ``value`` and errors by length.

    Raises:
        WmzooError: the run was not trained on the family, or on what is held out, or its corpus lacks that; or it was
            imported, so that nobody knows.
    """
    if "imported" in manifest:
        raise WmzooError(
            f"{family.protocol}: {model.name} was imported, so what it was trained on is unknown; train or fine-tune "
            f"one here: `wmzoo train {family.component}-mini`."
        )
    began = time.perf_counter()
    histories = sorted(set(config.histories))
    if len(histories) < 2:
        raise WmzooError("histories: name at least two lengths, such as [1, 19], to see what history is good for.")
    known, unknown = _choose(family, model, corpus, manifest, config)
    pooled = pool([model.variates[cell.item.environment] for cell in known])
    trained = [(cell.item, np.asarray(manifest["sets"][cell.item.key]["train"])) for cell in known]
    scorer = _Scorer(model.eval(), floors.fit(trained, pooled), Units.of(pooled), config)
    spread = np.unique(np.linspace(0, len(known) - 1, min(config.trained, len(known))).round().astype(int))
    groups = {HELD_OUT: unknown, TRAINED: [known[i] for i in spread]}
    found, total = {}, sum(map(len, groups.values())) * config.windows
    with bar(f"{family.protocol} {model.name}", total, quiet=not progress, unit="windows") as report:
        for name, group in groups.items():
            measured = {}
            for cell in group:
                own = pooled if name == HELD_OUT else model.variates[cell.item.environment]
                measured[cell.item.environment] = scorer.measure(cell, own, max(histories))
                report(scorer.done, cell.item.environment)
            boards_of = {HELD_OUT: ABSOLUTE, SQUARED: SQUARES} if name == HELD_OUT else {TRAINED: ABSOLUTE}
            for board, which in boards_of.items():
                found[board] = _board(family, measured, histories, which, len(known), manifest["sha256"])
    columns = _columns(histories)
    return boards.result(family.protocol, model, manifest, config, columns, found, time.perf_counter() - began)


def _choose(
    family: Family, model: WorldModel, corpus: Corpus, manifest: Mapping[str, Any], config: Config
) -> tuple[list[Cell], list[Cell]]:
    """The sets trained on, and those held out."""
    trained = dict.fromkeys(key.partition("/")[0] for key in manifest["sets"])
    mine = [name for name in trained if name in ENVIRONMENTS and ENVIRONMENTS[name].component == family.component]
    seen = sorted(set(mine) & set(family.held_out))
    if seen:
        raise WmzooError(f"{family.protocol}: the run was trained on {seen[0]}, which is held out; data.exclude it.")
    if not mine:
        raise WmzooError(
            f"{family.protocol}: the run was trained on no {family.component} environment, so ranges of those held "
            f"out are unknown; train one with `wmzoo train {family.component}-mini`."
        )
    known = [c for c in cells.choose(corpus, manifest, model.variates) if c.item.environment in mine]
    known = sorted((c for c in known if c.distribution == cells.IN), key=lambda c: c.item.environment)
    pooled = pool([model.variates[name] for name in mine])
    unknown = cells.unseen(corpus, manifest, dict.fromkeys(family.held_out, pooled))
    if not unknown:
        raise WmzooError(
            f"{corpus.path}: holds none of {', '.join(family.held_out)}; make it with "
            f"`wmzoo data collect {family.component}`."
        )
    rows = max(config.histories)
    known, unknown = ([c for c in group if len(cells.draw(c, rows, 1))] for group in (known, unknown))
    if not (known and unknown):
        raise WmzooError(f"histories: no test episode has {rows + 1} rows; make them shorter.")
    return known, unknown


def pool(variates: Sequence[Variates]) -> Variates:
    """The statistics of several environments with the same columns taken together, each counting alike.

    Raises:
        WmzooError: the columns differ.
    """
    first = variates[0]
    if any(v.names != first.names for v in variates):
        raise WmzooError("the environments trained on differ in their columns; train on one family of environments.")
    mean, std = (np.stack([getattr(v, name) for v in variates]).astype(np.float64) for name in ("mean", "std"))
    together = np.sqrt(np.maximum((std**2 + mean**2).mean(0) - mean.mean(0) ** 2, 0))
    return dataclasses.replace(
        first,
        low=np.min([v.low for v in variates], 0),
        high=np.max([v.high for v in variates], 0),
        mean=mean.mean(0).astype(np.float32),
        std=together.astype(np.float32),
    )


@dataclass(frozen=True, eq=False)
class _Measured:
    """Of one environment: both errors ``[N, C, 2]`` by row name, and the episode of each window ``[N]``."""

    errors: dict[str, Array]
    episode: np.ndarray


class _Scorer:
    """Errors of the model and the floors."""

    def __init__(self, model: WorldModel, known: Mapping[str, floors.Floor], units: Units, config: Config):
        self.model, self.floors, self.units, self.config, self.done = model, known, units, config, 0
        self.device = next(model.parameters()).device

    def measure(self, cell: Cell, variates: Variates, longest: int) -> _Measured:
        """Predict the same rows from every length of history."""
        rows = cells.draw(cell, longest, self.config.windows)
        window = cells.cut(cell, rows, longest + 1, {cell.item.environment: variates})
        target = window.values[:, -1].numpy()
        errors: dict[str, list[Array]] = {}
        for length in sorted(set(self.config.histories)):
            given = latest(window.until(-1), length)
            errors.setdefault(boards.MODEL, []).append(self._error(self._predict(given), target))
            arrays = given.values.numpy(), given.valid.numpy(), given.values[:, -1:, variates.predicted :].numpy()
            for name, floor in self.floors.items():
                errors.setdefault(name, []).append(self._error(floor(*arrays), target))
        self.done += self.config.windows
        stacked = {name: np.stack(found, 1) for name, found in errors.items()}
        return _Measured(stacked, cell.item.episode_of(rows))

    def _predict(self, window: Window) -> np.ndarray:
        size = self.config.batch_size
        parts = [window.index(slice(i, i + size)).to(self.device) for i in range(0, len(window), size)]
        return np.concatenate([self.model.predict(part).mean.cpu().numpy() for part in parts])

    def _error(self, forecast: np.ndarray, target: np.ndarray) -> Array:
        """``[N, 2]`` means over the variates, see ``UNITS``."""
        units = self.units
        found = (forecast[:, units.columns].astype(np.float64) - target[:, units.columns]) / units.scale
        found = found[:, units.active]
        return np.stack([np.abs(found).mean(1), 1000 * np.square(found).mean(1)], 1)


def latest(window: Window, rows: int) -> Window:
    """The last rows of every window."""
    return dataclasses.replace(window, values=window.values[:, -rows:], valid=window.valid[:, -rows:])


def _columns(histories: Sequence[int]) -> list[Column]:
    first = f"mean error of the next row given {histories[0]} (without history, if 1), in the unit of the title"
    said = [first, *(f"the same given {n}" for n in histories[1:])]
    errors = [Column(f"h{n}", f"{n} row{'s' * (n > 1)}", "low", what) for n, what in zip(histories, said, strict=True)]
    told = f"share of the error given {histories[0]} that is gone given {histories[-1]}"
    return [*errors, Column("gain", "gain", "high", told)]


def _board(
    family: Family,
    measured: Mapping[str, _Measured],
    histories: Sequence[int],
    which: int,
    trained: int,
    manifest_hash: str,
) -> dict[str, Any]:
    """A board of absolute errors, or of squares."""
    first = next(iter(measured.values()))
    rows = {}
    for row in first.errors:
        kind = boards.MODEL if row == boards.MODEL else boards.FLOOR
        each = {key: (found.errors[row][..., which], found.episode) for key, found in measured.items()}
        means = {key: [float(x) for x in errors.mean(0)] for key, (errors, _) in each.items()}
        rows[row] = {
            "kind": kind,
            "metrics": _metrics(list(each.values()), histories),
            "values": [x for values in means.values() for x in values],
            "each": {key: {"value": family.value(key), "errors": values} for key, values in means.items()},
        }
    windows = sum(len(found.episode) for found in measured.values())
    about = f"{UNITS[which]}; {len(measured)} environments, {windows} rows; trained on {trained}"
    return {"about": about, "manifest_hash": manifest_hash, "parameter": family.parameter, "rows": rows}


def _metrics(each: Sequence[tuple[Array, np.ndarray]], histories: Sequence[int]) -> dict[str, Any]:
    """Means over environments, with intervals from resampled episodes of each; all lengths share their resamples."""
    value, drawn = np.mean([errors.mean(0) for errors, _ in each], 0), resample(each, DRAWS)
    found = {f"h{n}": estimated(float(value[i]), drawn[:, i]) for i, n in enumerate(histories)}
    return {**found, "gain": estimated(float(1 - value[-1] / value[0]), 1 - drawn[:, -1] / drawn[:, 0])}


def estimated(value: float, draws: Array) -> dict[str, Any]:
    """A value with its interval; without one where there is a single episode of everything, so that no draw differs."""
    found = interval(value, draws)
    return found if np.ptp(draws) > 0 else {**found, "low": None, "high": None, "draws": None}


def resample(each: Sequence[tuple[Array, np.ndarray]], draws: int) -> Array:
    """``[draws, C]`` means over environments of the mean over windows, of resampled episodes.

    Args:
        each: of every environment, errors ``[N, C]`` and the episode of each window ``[N]``.
        draws: how many.
    """
    rng, total = np.random.default_rng(0), []
    for errors, episode in each:
        _, place, count = np.unique(episode, return_inverse=True, return_counts=True)
        sums = np.stack([np.bincount(place, column) for column in errors.T], 1)
        taken = rng.multinomial(len(count), np.full(len(count), 1 / len(count)), draws)
        total.append(taken @ sums / (taken @ count)[:, None])
    return np.asarray(np.mean(total, 0), np.float64)


def compare(records: Sequence[RunRecord], mixed: Sequence[str] = (), baseline: str = "") -> Comparison:
    """Compare runs, see :func:`wmzoo.evaluation.board_comparison.compare`."""
    what = "errors by rows of history and by parameter"
    parameter = records[0].result["boards"][HELD_OUT]["parameter"]
    lengths = sorted(set(records[0].result["settings"]["histories"]))

    def draw(drawn: Sequence[Board], path: Path) -> None:
        from wmzoo.evaluation import zero_shot_figures  # matplotlib is slow to import

        zero_shot_figures.histories([b for b in drawn if b.environment != SQUARED], lengths, parameter, path)

    return board_comparison.compare(records, mixed, "episodes", what, draw, baseline)
