"""Numbers that papers report for off-policy evaluation, to be read beside ours and never ranked with them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib import resources

from wmzoo.errors import WmzooError
from wmzoo.evaluation.comparison import Comparison
from wmzoo.evaluation.records import RunRecord
from wmzoo.evaluation.tables import Grid

KIND = "published"
LABEL = "published (Yin et al. 2025, their data and policies)"
HEADS = {"abs_error": "abs error", "rank_correlation": "rank correlation"}
NOTE = (
    "Published: Yin et al. (2025), arXiv 2502.01366, table 6; means over 3 seeds with their standard deviations in "
    "brackets, of models trained on the D4RL v2 set of that level, for DOPE's 11 policies; not comparable with ours "
    "digit by digit. Their abs error is in units of the return discounted by 0.995 and divided by nothing (only the "
    "paper's averages over tasks are divided by the range of the true values). Their rank correlation is Spearman's by "
    "the paper's text but Pearson's by its equation 8 and in the released code, so read it beside our Pearson. "
    "pre-trained: on the paper's UniTraj corpus."
)


def table6() -> list[dict[str, str]]:
    """Table 6 of Yin et al. (2025): ``environment``, ``level``, ``method``, ``metric``, ``mean`` and ``std``."""
    file = resources.files("wmzoo.evaluation") / "published" / "trajworld_table6.csv"
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def published(records: Sequence[RunRecord]) -> Comparison:
    """What is published of the levels that runs trained on; of all levels, where there is nothing of those.

    Args:
        records: evaluated runs of off-policy evaluation.

    Raises:
        WmzooError: nothing is published of any of their environments.
    """
    table = table6()
    environments = list(dict.fromkeys(name for record in records for name in record.result["boards"]))
    trained = {key for record in records for key in record.result["trained_on"]}
    found = {name: rows for name in environments if (rows := _of(table, name, trained))}
    if not found:
        known = ", ".join(dict.fromkeys(row["environment"] for row in table))
        raise WmzooError(
            f"--published: nothing is published of {', '.join(environments)}, but of {known}; leave --published out."
        )
    grids = [_grid(name, rows) for name, rows in found.items()]
    lines = [_line(name, key, metrics) for name, rows in found.items() for key, metrics in rows.items()]
    return Comparison(short=grids, full=grids, caption=[NOTE], lines=lines)


Rows = dict[tuple[str, str], dict[str, tuple[str, str]]]
"""Mean and standard deviation, as they were printed, by metric, by level and method."""


def _of(table: Sequence[dict[str, str]], environment: str, trained: set[str]) -> Rows:
    mine = [row for row in table if row["environment"] == environment]
    wanted = [row for row in mine if f"{environment}/{row['level']}" in trained] or mine
    found: Rows = {}
    for row in wanted:
        found.setdefault((row["level"], row["method"]), {})[row["metric"]] = (row["mean"], row["std"])
    return found


def _grid(environment: str, rows: Rows) -> Grid:
    cells = [
        [method, level, *("{} ({})".format(*metrics[name]) for name in HEADS)]
        for (level, method), metrics in rows.items()
    ]
    title = f"{environment}: {LABEL}"
    return Grid(title=title, heads=("", "trained on", *HEADS.values()), rows=cells, bold=set(), models=0)


def _line(environment: str, key: tuple[str, str], metrics: dict[str, tuple[str, str]]) -> dict[str, object]:
    """A line of the CSV file; their rank correlation has columns of its own."""
    level, method = key
    line: dict[str, object] = {"environment": environment, "model": method, "kind": KIND}
    line |= {"trained_on": f"{environment}/{level}"}
    for name, (mean, std) in metrics.items():
        line |= {name: float(mean), f"{name}_std": float(std)}
    return line
