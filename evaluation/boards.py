"""Results that are a board for each environment: a row for the model, the baselines and the floors, a column a metric.

A result of such a protocol is plain JSON: ``protocol``, ``settings``, ``compat``, ``trained_on``, ``manifest_hash``,
``seconds``, ``columns`` (see :class:`Column`) and ``boards``: by environment ``rows``, by name, each with a ``kind``,
its ``seconds``, and ``metrics`` with ``value``, ``low``, ``high`` and ``draws`` (of the bootstrap, or None).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from wmzoo.model import WorldModel
from wmzoo.recipe import plain

MODEL, BASELINE, FLOOR, CEILING = "model", "baseline", "floor", "ceiling"
KINDS = (CEILING, MODEL, BASELINE, FLOOR)
REFUSED = re.compile(r"[^A-Za-z0-9_\-. :/]")  # by MLflow, in the name of a metric


@dataclass(frozen=True)
class Column:
    """A metric of a board.

    Attributes:
        name: of the metric.
        head: of the column.
        better: ``low`` or ``high``.
        what: one line that explains it.
    """

    name: str
    head: str
    better: str
    what: str


def result(
    protocol: str,
    model: WorldModel,
    manifest: Mapping[str, Any],
    config: Any,
    columns: Sequence[Column],
    boards: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """Put a result together."""
    return {
        "protocol": protocol,
        "settings": plain(config),
        "compat": model.compat,
        "trained_on": [] if "imported" in manifest else sorted(manifest["sets"]),
        "manifest_hash": manifest["sha256"],
        "columns": [dataclasses.asdict(column) for column in columns],
        "boards": dict(boards),
        "seconds": seconds,
    }


def summary(result: Mapping[str, Any]) -> dict[str, float]:
    """Flat metrics of a result's model: ``<environment>/<metric>``, in the letters that MLflow allows in a name."""
    return {
        f"{REFUSED.sub('', environment.replace('%', 'percent'))}/{name}": found["value"]
        for environment, board in result["boards"].items()
        for name, found in board["rows"][MODEL]["metrics"].items()
        if found["value"] is not None
    }


def describe(result: Mapping[str, Any]) -> list[Any]:
    """What is printed of one run: a table for each environment, then what the columns mean."""
    tables = [_table(result, environment, board) for environment, board in result["boards"].items()]
    said = legend([Column(**column) for column in result["columns"]])
    return [*tables, f"{said} ±: half of the 95 % interval. {result['seconds']:.1f} s in all."]


def legend(columns: Sequence[Column]) -> str:
    """What the columns of boards mean."""
    return "; ".join(f"{column.head}: {column.what}" for column in columns) + "."


def _table(result: Mapping[str, Any], environment: str, board: Mapping[str, Any]) -> Table:
    title = f"{result['protocol']} in {environment}, {result['compat']}; {board['about']}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    table.add_column("", no_wrap=True)
    for column in result["columns"]:
        table.add_column(column["head"], justify="right", no_wrap=True)
    table.add_column("s", justify="right")
    for name, row in sorted(board["rows"].items(), key=lambda item: KINDS.index(item[1]["kind"])):
        found = [row["metrics"].get(column["name"]) or {"value": None} for column in result["columns"]]
        cells = [short(one["value"], one.get("low"), one.get("high")) for one in found]
        shown = name if row["kind"] in (MODEL, BASELINE) else f"{row['kind']}: {name}"
        seconds = f"{row['seconds']:.1f}" if "seconds" in row else "-"
        table.add_row(shown, *cells, seconds, style=None if row["kind"] == MODEL else "dim")
    return table


def cell(found: Mapping[str, Any] | None) -> str:
    """A value with its interval."""
    if found is None or found["value"] is None:
        return "-"
    if found["low"] is None:
        return number(found["value"])
    return f"{number(found['value'])} [{number(found['low'])}, {number(found['high'])}]"


def short(value: float | None, low: float | None, high: float | None) -> str:
    """With as many decimals for the half width as for the value, so that a row of many columns fits a terminal."""
    if value is None:
        return "-"
    if low is None or high is None:
        return number(value)
    size = max(abs(value), (high - low) / 2)
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if size >= 0.1 or not size else 3
    return f"{value:.{decimals}f} ±{(high - low) / 2:.{decimals}f}"


def number(value: float) -> str:
    """Three digits, whole numbers beyond them."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
