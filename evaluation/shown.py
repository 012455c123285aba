"""What is shown and tracked of the result of one run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from wmzoo.evaluation.cells import FORCED, IN
from wmzoo.evaluation.comparison import Picture
from wmzoo.evaluation.floors import LAST
from wmzoo.evaluation.records import NAMED, listed

CURVES = 8  # that can be told apart in one panel
SHOWN = ("nmae", "mae", "skill", "vs_last", "nll", "crps", "coverage50", "coverage90")


def summary(result: Mapping[str, Any]) -> dict[str, float]:
    """Flat metrics of a result, under the same names for every model.

    ``<level>/<metric>`` for each test set (with its environment in front if there are several), ``in/<metric>`` and
    ``out/<metric>`` for the averages over trained and other levels. The teacher-forced mode has its own prefix.
    """
    found: dict[str, float] = {}
    for mode, metrics in result["modes"].items():
        prefix = f"{FORCED}/" if mode == FORCED else ""
        found |= {f"{prefix}{name}": value for name, value in _flat(metrics, result["tests"]).items()}
    return found


def _flat(metrics: Mapping[str, Any], tests: Mapping[str, Any]) -> dict[str, float]:
    several = len({about["environment"] for about in tests.values()}) > 1
    found: dict[str, float] = {}
    groups: dict[str, list[float]] = {}
    for key, about in tests.items():
        for name, value in _numbers(metrics[key]).items():
            found[f"{key if several else about['level']}/{name}"] = value
            groups.setdefault(f"{about['distribution']}/{name}", []).append(value)
    return {**{name: float(np.mean(values)) for name, values in groups.items()}, **found}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of one test set that are worth a curve."""
    named = {name: metrics.get(name) for name in (*SHOWN, "windows_per_second")}
    learned = metrics.get("termination", {})
    named |= {f"termination_{name}": learned.get(name) for name in ("precision", "recall", "brier")}
    named |= {f"nmae_h{k}": errors["nmae"] for k, errors in metrics["horizons"].items()}
    return {name: value for name, value in named.items() if value is not None}


def pictures(result: Mapping[str, Any]) -> dict[str, Picture]:
    """The pictures of one run, by the name of the file: its calibration, and imagined beside true trajectories."""
    found = {"calibration.png": Picture("calibration", lambda path: _calibration(result, path))}
    for key in result["imagined"]:
        name = f"imagined-{key.replace('/', '-')}.png"
        found[name] = Picture(f"imagined and true, {key}", partial(_imagined, result, key))
    return found


def _calibration(result: Mapping[str, Any], path: Path) -> None:
    """A panel for each mode; a curve for each test set, or, if there are too many to tell apart, for in and out."""
    from wmzoo.evaluation import calibration  # matplotlib is slow to import

    tests = result["tests"]
    groups: dict[str, list[str]] = {}
    for key, about in tests.items():
        inside = about["distribution"] == IN
        one, many = f"{key} (trained on)" if inside else key, "levels trained on" if inside else "levels not trained on"
        groups.setdefault(one if len(tests) <= CURVES else many, []).append(key)
    panels = {
        mode or "next row": {
            name: np.mean([found[key]["calibration"] for key in keys], axis=0).tolist() for name, keys in groups.items()
        }
        for mode, found in result["modes"].items()
    }
    calibration.draw(panels, path)


def _imagined(result: Mapping[str, Any], key: str, path: Path) -> None:
    from wmzoo.evaluation import trajectories

    trajectories.draw(result["imagined"][key], f"{key}: imagined along the true actions", path)


def describe(result: Mapping[str, Any]) -> list[Any]:
    """What is printed of one run: a table for each mode, then what the columns mean."""
    tables = [_table(result, mode) for mode in result["modes"]]
    return [
        *tables,
        *_terminations(result),
        *_beside_last(result),
        "nmae, nll and crps are in training standard deviations; skill is against the best floor. "
        f"in: a level that the run trained on; out: another. {result['seconds']:.1f} s in all.",
    ]


def _terminations(result: Mapping[str, Any]) -> list[str]:
    """A line for each test set and mode of a model that learned when episodes terminate."""
    return [
        f"{key}{mode and f' ({mode})'}: {m['termination']['terminated']} of {m['termination']['windows']} windows "
        f"terminate; learned: precision {_share(m['termination']['precision'])}, "
        f"recall {_share(m['termination']['recall'])}."
        for mode, tests in result["modes"].items()
        for key, m in tests.items()
        if "termination" in m
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _table(result: Mapping[str, Any], mode: str) -> Table:
    farthest = str(max(result["settings"]["horizons"]))
    title = f"{result['protocol']}{mode and f', {mode}'}, {result['compat']}, trained on {listed(result['trained_on'])}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    heads = ("test set", "", "windows", "nmae", "vs last", "skill", "nll", "crps", "50 %", "90 %", f"nmae@{farthest}")
    for head in (*heads, "clipped"):
        table.add_column(head, justify="left" if head in ("test set", "") else "right", no_wrap=True)
    for key, about in result["tests"].items():
        m = result["modes"][mode][key]
        shares = [_percent(m[name]) for name in ("vs_last", "skill")]
        ahead = m["horizons"].get(farthest, {}).get("nmae")
        coverages = [_percent(m[name]) for name in ("coverage50", "coverage90")]
        scores = [_number(m["nmae"]), *shares, _number(m["nll"]), _number(m["crps"]), *coverages, _number(ahead)]
        table.add_row(key, about["distribution"], str(about["windows"]), *scores, _percent(about["clipped"]))
    return table


def _beside_last(result: Mapping[str, Any]) -> list[str]:
    """Of each mode on many test sets, the mean error beside the last value's, and where the last value is better."""
    last = {key: cell["nmae"] for key, cell in result["floors"][LAST].items()}
    told = []
    for mode, found in result["modes"].items() if len(last) > CURVES else ():
        known = {key: cell["nmae"] for key, cell in found.items() if cell["nmae"] is not None}
        worse = [key for key in found if known.get(key, np.inf) > last[key]]
        means = [np.mean([errors[key] for key in known]) if known else np.nan for errors in (known, last)]
        named = f" ({', '.join(worse)})" if 0 < len(worse) <= NAMED else ""
        where = f"{len(worse)} of {len(found)} test sets{named}"
        told.append(
            f"{mode and f'{mode}: '}mean nmae {means[0]:.3g}, of the last value {means[1]:.3g}; worse on {where}."
        )
    return told


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
