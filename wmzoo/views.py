"""What MLflow's pages open on: saved views of an experiment's runs, and a description that holds the comparison.

A saved view is a tag of the experiment, as the pages themselves save one: columns, order and name, in JSON. A run's
parameters that differ between runs become columns, then the main metrics of the protocol, then what training cost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from wmzoo.evaluation import file_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PREFIX, KIND = "mlflow.sharedViewState.", "mlflow.experimentKind"
NOTE, LONGEST = "mlflow.note.content", 7900  # letters; MLflow keeps at most 8000 of a tag
MARK = "*Written by wmzoo; a description without this line is kept.*"
TRAINING = "custom_model_development"  # else the pages open on traces of language models
SILENT = ("name", "experiment", "init_from")  # told by the run's name, or by the page
COSTS = ("parameters", "train_flops", "train_seconds")
MOST = 8  # columns of parameters, and of metrics
FEW = ("nmae", "skill", "coverage90")  # of a protocol with levels; and the error of its longest rollouts
DATA = "attributes.`Dataset`"
WIDTH, MARGIN = 7, 34  # pixels of a column: for each letter of its head, and beside them


def save(store: MlflowClient, experiment: str, runs: Sequence[Run], protocol: str) -> None:
    """Save a view of the runs that a comparison is made of, named after its protocol.

    Args:
        store: the tracking store.
        experiment: its number.
        runs: that were compared.
        protocol: such as ``transition/v1``.
    """
    evaluated = [v for run in runs for k, v in run.data.tags.items() if k.startswith("protocol.")]
    metrics = next((found for name in (protocol, *evaluated) if (found := _metrics(runs, f"{file_name(name)}/"))), [])
    columns = [
        *(f"params.`{name}`" for name in _differing(runs)),
        *(f"metrics.`{name}`" for name in metrics),
        *(f"metrics.`cost/{name}`" for name in COSTS),
        DATA,
    ]
    order = f"metrics.`{metrics[0]}`" if metrics else "attributes.start_time"
    state = {
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {name: WIDTH * len(name.split("`")[1]) + MARGIN for name in columns},
        "orderByKey": order,
        "orderByAsc": _is_error(order),
        "searchFilter": _evaluated(runs),
        "runsHiddenMode": "FIRST_20_RUNS",  # of the charts
    }
    view = {"name": f"{protocol}, by score", "createdAt": int(time.time() * 1000), "state": json.dumps(state)}
    store.set_experiment_tag(experiment, KIND, TRAINING)
    store.set_experiment_tag(experiment, PREFIX + file_name(protocol), json.dumps(view))


def links(store: MlflowClient, address: str) -> dict[str, str]:
    """The page to open for each experiment that has runs: its newest view, or its list of runs.

    Args:
        store: the tracking store.
        address: of the pages.

    Returns:
        Addresses by the experiments' names, the newest first.
    """
    found = {}
    for experiment in store.search_experiments(order_by=["last_update_time DESC"], max_results=10):
        if experiment.tags.get(KIND) != TRAINING:
            continue
        saved = {json.loads(v)["createdAt"]: k for k, v in experiment.tags.items() if k.startswith(PREFIX)}
        view = f"&viewStateShareKey={quote(saved[max(saved)].removeprefix(PREFIX))}" if saved else ""
        page = f"{address}/#/experiments/{experiment.experiment_id}/runs"
        found[experiment.name] = f"{page}?workflowType=machine_learning{view}"
    return found


def describe(store: MlflowClient, run_id: str, folder: str, paths: Sequence[Path]) -> None:
    """Make tables and pictures of a run its description; one that somebody wrote is left as it is.

    Args:
        store: the tracking store.
        run_id: of the run that the files were put into.
        folder: that they were put into there.
        paths: the files: tables in Markdown, pictures.
    """
    before = store.get_run(run_id).data.tags.get(NOTE, "")
    if before and MARK not in before:
        return
    texts = [path.read_text(encoding="utf-8") for path in paths if path.suffix == ".md"]
    lines = [line for line in "\n".join(texts).splitlines() if not line.startswith("![")]
    shown = [
        f"![{path.stem}](get-artifact?path={quote(f'{folder}/{path.name}')}&run_uuid={run_id})\n"
        for path in paths
        if path.suffix == ".png"
    ]
    end = [*shown, MARK]
    while lines and sum(len(line) + 1 for line in (*lines, "", *end)) > LONGEST:
        lines.pop()
    store.set_tag(run_id, NOTE, "\n".join([*lines, "", *end]))


def _differing(runs: Sequence[Run]) -> list[str]:
    """The parameters in which runs differ, names of parts first; none that follows from those before it."""
    params = [run.data.params for run in runs]
    names = {name for found in params for name in found if name not in SILENT}
    chosen: list[str] = []
    for name in sorted(names, key=lambda name: (name == "seed", not name.endswith(".name"), name)):
        before = {tuple(found.get(other) for other in chosen) for found in params}
        after = {tuple(found.get(other) for other in (*chosen, name)) for found in params}
        if len(after) > len(before):
            chosen.append(name)
    return chosen[:MOST]


def _metrics(runs: Sequence[Run], prefix: str) -> list[str]:
    """The main metrics of a protocol: of levels trained on, then of others; or simply its first ones."""
    known = list(dict.fromkeys(name for run in runs for name in run.data.metrics if name.startswith(prefix)))
    chosen = []
    for where in ("in", "out"):
        mine = [name.removeprefix(f"{prefix}{where}/") for name in known if name.startswith(f"{prefix}{where}/")]
        ahead = sorted((n for n in mine if n.startswith("nmae_h")), key=lambda n: int(n.removeprefix("nmae_h")))
        chosen += [f"{prefix}{where}/{name}" for name in (*FEW, *ahead[-1:]) if name in mine]
    return (chosen or known)[:MOST]


def _evaluated(runs: Sequence[Run]) -> str:
    """A search for runs with results like these, which leaves out the runs of grids."""
    tags = {k: v for run in runs for k, v in run.data.tags.items() if k.startswith("protocol.")}
    return next((f"tags.`{name}` = '{value}'" for name, value in tags.items()), "")


def _is_error(metric: str) -> bool:
    """Whether less of a metric is better, so that a list by score begins with the lowest."""
    return any(word in metric.rpartition("/")[2] for word in ("mae", "crps", "nll", "error", "regret", "brier"))
