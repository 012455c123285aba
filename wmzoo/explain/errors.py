"""The error of each variate, one step ahead, beside the last value's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wmzoo.evaluation.metrics import Scores, score_point, summarise

if TYPE_CHECKING:
    from wmzoo.explain import Shown


def measure(shown: Shown) -> dict[str, Any]:
    """Mean absolute errors by variate.

    Returns:
        ``name``, and for the ``model`` and the ``last`` value the ``mae`` (physical units) and the ``nmae`` (training
        standard deviations; None for a variate that never changed in training) of each.
    """
    window, count = shown.window, shown.window.columns.width
    device = next(shown.model.parameters()).device
    target = window.values[:, -1, :count].numpy()
    forecast = shown.model.predict(window.until(-1).to(device)).mean.cpu().numpy()
    last = window.values[:, -2, :count].numpy()
    model, floor = (_variates(score_point(values, target, shown.units), shown) for values in (forecast, last))
    return {"name": model.pop("name"), "model": model, "last": {key: floor[key] for key in model}}


def _variates(scores: Scores, shown: Shown) -> dict[str, Any]:
    found: dict[str, Any] = summarise(scores, shown.units)["variates"]
    return found


def describe(found: Mapping[str, Any]) -> str:
    """The hardest variate, and how many are worse than the last value."""
    known = [
        (error, floor, name)
        for error, floor, name in zip(found["model"]["nmae"], found["last"]["nmae"], found["name"], strict=True)
        if error is not None
    ]
    worst = max(known)
    worse = [name for error, floor, name in known if error > floor]
    told = f"worse than the last value in {', '.join(worse)}" if worse else "better than the last value in all"
    return f"variates: the largest error is that of {worst[2]}, {worst[0]:.3g} training std; {told}."
