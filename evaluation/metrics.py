"""The arithmetic of forecasts: errors, calibration and skill of ``N`` windows and ``J`` variates.

Normalised numbers are in units of each variate's standard deviation over the *training* episodes, so that they
compare across variates; variates that never change in training have no such unit and are left out of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wmzoo.errors import WmzooError
from wmzoo.predictions import GaussianPrediction, Prediction
from wmzoo.trajectories import Variates

CONSTANT = 1e-6  # a standard deviation below this is that of a variate that never changes
CENTRAL = tuple(i / 20 for i in range(1, 20))  # shares of probability of the intervals that calibration is told of


@dataclass(frozen=True, kw_only=True, eq=False)
class Units:
    """What the errors of an environment's predicted variates are measured in.

    Attributes:
        scale: ``[J]`` training standard deviations, 1 for constant variates.
        active: ``[J]`` bool, false for constant variates.
        names: ``[J]``, the last one is the reward's.
        columns: ``[J]`` places of these among the predicted columns; a learned ``terminated`` is none of them.
    """

    scale: np.ndarray
    active: np.ndarray
    names: tuple[str, ...]
    columns: np.ndarray

    @classmethod
    def of(cls, variates: Variates) -> Units:
        """The units of an environment.

        Raises:
            WmzooError: every predicted variate was constant in training.
        """
        columns = np.arange(variates.predicted)
        columns = np.delete(columns, variates.states - 1) if variates.terminated else columns
        std = variates.std[columns].astype(np.float64)
        if not (std > CONSTANT).any():
            raise WmzooError("the training episodes never change, so errors have no unit; train on other episodes.")
        active = std > CONSTANT
        names = tuple(variates.names[c] for c in columns)
        return cls(scale=np.where(active, std, 1.0), active=active, names=names, columns=columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """How well each window and variate was forecast; all ``[N, J]``.

    Attributes:
        error: absolute error of the expectation, physical units.
        crps: continuous ranked probability score, training standard deviations.
        nll: negative log density in nats, the density taken per training standard deviation; None for a point.
        cdf: the forecast's probability of at most the true value; None for a point.
    """

    error: np.ndarray
    crps: np.ndarray
    nll: np.ndarray | None = None
    cdf: np.ndarray | None = None


def score(prediction: Prediction, target: Tensor, units: Units, each_member: bool = False) -> Scores:
    """Score a batch of forecasts.

    Args:
        prediction: of all predicted columns.
        target: true values of all predicted columns, physical units.
        units: of the ``J`` variates that count.
        each_member: the error is the mean of an ensemble's members' errors, not that of their mean.
    """
    points = prediction.means if each_member and isinstance(prediction, GaussianPrediction) else prediction.mean[None]
    scale = torch.as_tensor(units.scale, dtype=target.dtype, device=target.device)
    columns = torch.as_tensor(units.columns, device=target.device)
    return Scores(
        error=_array((points - target).abs().mean(0)[:, columns]),
        crps=_array(prediction.crps(target)[:, columns] / scale),
        # a density per unit of z = x / scale is the density per unit of x, times scale
        nll=_array(-(prediction.log_prob(target)[:, columns] + scale.log())),
        cdf=_array(prediction.cdf(target)[:, columns]),
    )


def score_point(forecast: np.ndarray, target: np.ndarray, units: Units) -> Scores:
    """Score point forecasts of all predicted columns ``[N, ..]``, whose CRPS is their absolute error."""
    error = np.abs(forecast - target)[:, units.columns]
    return Scores(error=error, crps=error / units.scale)


def join(parts: Sequence[Scores]) -> Scores:
    """The scores of several batches as one."""
    nll = [part.nll for part in parts if part.nll is not None]
    cdf = [part.cdf for part in parts if part.cdf is not None]
    return Scores(
        error=np.concatenate([part.error for part in parts]),
        crps=np.concatenate([part.crps for part in parts]),
        nll=np.concatenate(nll) if nll else None,
        cdf=np.concatenate(cdf) if cdf else None,
    )


def summarise(scores: Scores, units: Units) -> dict[str, Any]:
    """Averages over windows and variates, as plain JSON.

    Returns:
        ``mae`` (physical units, all predicted variates), ``mae_state``, ``mae_reward``, ``nmae``, ``crps``; for
        distributions also ``nll``, ``coverage50``, ``coverage90`` and ``calibration``, the coverage of each interval of
        ``CENTRAL``; and ``variates``: ``mae`` and ``nmae`` of each.
    """
    each = scores.error.mean(0)
    found: dict[str, Any] = {
        "mae": finite(each.mean()),
        "mae_state": finite(each[:-1].mean()),
        "mae_reward": finite(each[-1]),
        **{name: finite(values.mean()) for name, values in per_window(scores, units).items() if name != "mae"},
    }
    if scores.cdf is not None:
        inside = scores.cdf[:, units.active]
        found |= {"coverage50": coverage(inside, 0.5), "coverage90": coverage(inside, 0.9)}
        found["calibration"] = [coverage(inside, level) for level in CENTRAL]
    return {**found, "variates": _per_variate(each, units)}


def _per_variate(each: np.ndarray, units: Units) -> dict[str, list[Any]]:
    scaled = np.where(units.active, each / units.scale, np.nan)
    return {"name": list(units.names), "mae": [finite(e) for e in each], "nmae": [finite(s) for s in scaled]}


def per_window(scores: Scores, units: Units) -> dict[str, np.ndarray]:
    """The mean over variates of each score, ``[N]`` each, by name."""
    found = {
        "mae": scores.error.mean(1),
        "nmae": (scores.error / units.scale)[:, units.active].mean(1),
        "crps": scores.crps[:, units.active].mean(1),
    }
    return found if scores.nll is None else {**found, "nll": scores.nll[:, units.active].mean(1)}


def per_episode(scores: Scores, units: Units, episode: np.ndarray) -> dict[str, list[Any]]:
    """Means over the windows of each episode, for resampling episodes.

    Args:
        scores: of ``N`` windows.
        units: of the variates.
        episode: ``[N]`` index of the episode of each window.

    Returns:
        Lists of equal length: ``episode``, ``windows`` (how many), and a list for each score.
    """
    index, place, count = np.unique(episode, return_inverse=True, return_counts=True)
    means = {name: np.bincount(place, v) / count for name, v in per_window(scores, units).items()}
    lists = {name: [finite(v) for v in values] for name, values in means.items()}
    return {"episode": index.tolist(), "windows": count.tolist(), **lists}


def flag_scores(forecast: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """How well a learned ``terminated`` was forecast.

    Args:
        forecast: ``[N]`` expectation of the column; beyond 0.5 it says that the episode terminates.
        truth: ``[N]`` bool, whether it does.

    Returns:
        Plain JSON: how many of how many windows terminate (``terminated``, ``windows``), how many were ``forecast``,
        ``precision``, ``recall`` (None where there is nothing to divide by), and ``brier``, the mean squared error of
        the expectation, with that of the share itself for comparison (``brier_of_share``).
    """
    said, share = forecast > 0.5, truth.mean()
    hits = int((said & truth).sum())
    return {
        "windows": len(truth),
        "terminated": int(truth.sum()),
        "forecast": int(said.sum()),
        "precision": hits / int(said.sum()) if said.any() else None,
        "recall": hits / int(truth.sum()) if truth.any() else None,
        "brier": finite(np.square(forecast.clip(0, 1) - truth).mean()),
        "brier_of_share": finite(share * (1 - share)),
    }


def coverage(cdf: np.ndarray, level: float) -> float:
    """The share of true values inside the central interval that should hold a share ``level`` of them.

    Args:
        cdf: the forecast's probability of at most the true value.
        level: such as 0.9 for the interval between the 5 % and the 95 % quantiles.
    """
    return float((np.abs(cdf - 0.5) <= level / 2).mean())


def skill(error: float | None, reference: float | None) -> float | None:
    """The share of a reference's error that a model removes: 1 is perfect, 0 no better, negative worse.

    None where there is nothing to compare or the reference is without error.
    """
    if error is None or not reference:
        return None
    return 1 - error / reference


def finite(value: Any) -> float | None:
    """A plain number, or None if it is NaN or infinite, which JSON does not know."""
    return float(value) if math.isfinite(value) else None


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.float64)
