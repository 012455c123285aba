"""MLflow: every run's settings, tags, data, metrics and files, under names that are the same for every model."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmzoo import __version__, views
from wmzoo.errors import WmzooError, nearest
from wmzoo.evaluation import file_name
from wmzoo.files import write_json
from wmzoo.progress import bar
from wmzoo.recipe import Recipe
from wmzoo.stores import DATABASES, SQLITE, absolute, opened, require

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from wmzoo.evaluation.compare import RunRecord

PARAMS_AT_ONCE, METRICS_AT_ONCE = 100, 1000
PARENT: ContextVar[str] = ContextVar("PARENT", default="")
KIND, GRID = "wmzoo.kind", "grid"  # tags of the run that a grid's runs hang under


def client(uri: str) -> MlflowClient:
    """A client of a tracking store; a local SQLite store is made on first use.

    Args:
        uri: any MLflow tracking URI.

    Raises:
        WmzooError: the store can't be reached or written.
    """
    return opened(absolute(uri), os.getpid())


def _artifacts(uri: str, experiment: str) -> str | None:
    """Where the files of an experiment go: beside a SQLite store, here of another database; else its server decides."""
    if uri.startswith(SQLITE):
        return (Path(absolute(uri).removeprefix(SQLITE)).parent / "mlruns" / experiment).as_uri()
    return (Path.cwd() / "mlruns" / experiment).as_uri() if uri.startswith(DATABASES) else None


def start(recipe: Recipe, manifest: Mapping[str, Any], facts: Mapping[str, str], run_id: str = "") -> str:
    """Open a run, or go on with one; log its parameters, tags and data.

    Args:
        recipe: its settings become parameters, by dotted path.
        manifest: of the data.
        facts: more tags.
        run_id: of the run to go on with, if any.

    Returns:
        The run's id.
    """
    store = client(recipe.tracking.uri)
    parent = {"mlflow.parentRunId": PARENT.get()} if PARENT.get() else {}
    if run_id and _exists(store, run_id):
        store.update_run(run_id, status="RUNNING")
        for key, value in parent.items():
            store.set_tag(run_id, key, value)
        return run_id
    number, revision = _experiment_id(store, recipe.tracking.uri, recipe.experiment), git_revision()
    tags = {
        **parent,
        "model": recipe.name,
        "seed": str(recipe.seed),
        "recipe_hash": recipe.hash,
        "manifest_hash": manifest["sha256"],
        "git_revision": revision,
        "wmzoo_version": __version__,
        "mlflow.source.name": "wmzoo train",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": revision.rstrip("+"),
        **facts,
    }
    run_id = _unused(store, number, tags)
    if not run_id:
        run_id = str(store.create_run(number, run_name=f"{recipe.name}-s{recipe.seed}", tags=tags).info.run_id)
    _log_params(store, run_id, recipe.to_dict())
    _log_data(store, run_id, manifest)
    return run_id


def _unused(store: MlflowClient, number: str, tags: Mapping[str, str]) -> str:
    """A run of the same recipe and data that was killed before its folder knew of it; empty if there is none."""
    same = " and ".join(f"tags.{key} = '{tags[key]}'" for key in ("recipe_hash", "manifest_hash"))
    found = store.search_runs([number], f"{same} and attributes.status = 'RUNNING'")
    return next((str(run.info.run_id) for run in found if not run.data.metrics), "")


def _experiment_id(store: MlflowClient, uri: str, name: str) -> str:
    """An experiment by its name, made if there is none, by whichever process comes first."""
    from mlflow.exceptions import MlflowException

    found = store.get_experiment_by_name(name)
    if not found:
        try:
            return str(store.create_experiment(name, _artifacts(uri, name), tags={views.KIND: views.TRAINING}))
        except MlflowException:  # another process was first, or it can't be made
            found = store.get_experiment_by_name(name)
            if not found:
                raise
    return str(found.experiment_id)


@contextlib.contextmanager
def under(parent: str) -> Iterator[None]:
    """Let the runs that start meanwhile hang under another one; under none if it is empty."""
    token = PARENT.set(parent)
    try:
        yield
    finally:
        PARENT.reset(token)


def grid_run(recipe: Recipe, grid: str, manifests: Sequence[Mapping[str, Any]]) -> str:
    """The run that the runs of a grid hang under, by the grid's name: found, else made.

    Args:
        recipe: of any of its cells.
        grid: its name.
        manifests: of the data of its cells.

    Returns:
        The run's id.
    """
    store = client(recipe.tracking.uri)
    number = _experiment_id(store, recipe.tracking.uri, recipe.experiment)
    runs = store.search_runs([number], f"tags.`{KIND}` = 'grid'", order_by=["attributes.start_time ASC"])
    run_id = next((str(run.info.run_id) for run in runs if run.data.tags.get(GRID) == grid), "")
    if run_id:
        store.update_run(run_id, status="RUNNING")
    else:
        tags = {KIND: "grid", GRID: grid, "mlflow.source.name": "wmzoo grid", "mlflow.source.type": "LOCAL"}
        run_id = str(store.create_run(number, run_name=f"grid {grid}", tags=tags).info.run_id)
    _log_data(store, run_id, *manifests)  # a grid may be extended to other sets; those it has are not named twice
    return run_id


def run_record(recipe: Recipe, run_id: str, status: str) -> dict[str, Any]:
    """What a run's folder remembers of it: ``run.json``.

    Args:
        recipe: of the run.
        run_id: in the tracking store.
        status: ``running`` or ``finished``.
    """
    return {
        "status": status,
        "mlflow_run_id": run_id,
        "tracking_uri": recipe.tracking.uri,
        "experiment": recipe.experiment,
        "recipe_hash": recipe.hash,
    }


def _exists(store: MlflowClient, run_id: str) -> bool:
    """Whether the store still has a run; it may have been deleted since the run was stopped."""
    from mlflow.exceptions import MlflowException

    try:
        store.get_run(run_id)
    except MlflowException:
        return False
    return True


def _log_params(store: MlflowClient, run_id: str, values: dict[str, Any]) -> None:
    from mlflow.entities import Param

    params = [Param(path, str(value)) for path, value in flatten(values)]
    for start_ in range(0, len(params), PARAMS_AT_ONCE):
        store.log_batch(run_id, params=params[start_ : start_ + PARAMS_AT_ONCE])


def _log_data(store: MlflowClient, run_id: str, *manifests: Mapping[str, Any]) -> None:
    """Name the data sets, each once, that were trained on."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = {}
    for manifest in manifests:
        for key, about in manifest["sets"].items():
            profile = json.dumps({part: len(about[part]) for part in ("train", "validation", "test")})
            data = Dataset(key, about["sha256"][:12], "local", manifest["corpus"], profile=profile)
            found[key, data.digest] = DatasetInput(data, [InputTag("mlflow.data.context", "training")])
    if found:  # a model that was trained elsewhere names none
        store.log_inputs(run_id, list(found.values()))


def log(recipe: Recipe, run_id: str, history: Iterable[Mapping[str, float]]) -> None:
    """Send training metrics in one go.

    Args:
        recipe: where to.
        run_id: the run.
        history: entries with ``step`` and metrics by name.
    """
    metrics = [(f"train/{k}", v, int(point["step"])) for point in history for k, v in point.items() if k != "step"]
    _send(client(recipe.tracking.uri), run_id, metrics)


def finish(recipe: Recipe, run_id: str, cost: Mapping[str, float], folder: Path) -> None:
    """Close a run: its cost as metrics, its recipe, manifest, history and best checkpoint as files; then say so there.

    A folder whose ``run.json`` says ``finished`` is whole in the tracking store too.
    """
    store = client(recipe.tracking.uri)
    _send(store, run_id, [(f"cost/{name}", value, 0) for name, value in cost.items()])
    for name in ("recipe.yaml", "manifest.json", "history.csv"):
        if (folder / name).is_file():  # a model that was trained elsewhere has no history
            store.log_artifact(run_id, str(folder / name))
    store.log_artifact(run_id, str(folder / "best.safetensors"), "checkpoint")
    record = {**run_record(recipe, run_id, "finished"), "cost": dict(cost)}
    store.log_dict(run_id, record, "run.json")
    store.set_terminated(run_id)
    write_json(folder / "run.json", record)


def end(recipe: Recipe, run_id: str, status: str) -> None:
    """Close a run that did not get through: ``FAILED``; resuming opens it again."""
    client(recipe.tracking.uri).set_terminated(run_id, status)


def log_evaluation(
    uri: str,
    run_id: str,
    protocol: str,
    metrics: Mapping[str, float],
    result: dict[str, Any],
    pictures: Sequence[Path] = (),
) -> None:
    """Add the results of an evaluation to the run that was evaluated.

    Args:
        uri: of the tracking store.
        run_id: the run.
        protocol: such as ``transition/v1``.
        metrics: by name, each logged under the protocol.
        result: in full, plain values.
        pictures: PNG files of it.
    """
    store = client(uri)
    prefix = file_name(protocol)
    _send(store, run_id, [(f"{prefix}/{name}", value, 0) for name, value in metrics.items()])
    store.log_dict(run_id, result, f"evaluation/{prefix}.json")
    _put(store, run_id, pictures, "evaluation")
    if pictures:
        views.describe(store, run_id, "evaluation", pictures)
    store.set_tag(run_id, _tag(protocol), protocol)


def _tag(protocol: str) -> str:
    """What says by which version of a protocol a run was evaluated."""
    return f"protocol.{file_name(protocol.rpartition('/')[0])}"


def log_comparison(uri: str, run_ids: Iterable[str], protocol: str, paths: Iterable[Path], folder: str = "") -> None:
    """Put the table and the pictures of a comparison into each run that it compares, and save a view of those runs.

    The run of a grid, which has no results of its own, shows them on its first page.

    Args:
        uri: of the tracking store.
        run_ids: the runs.
        protocol: that they are compared by.
        paths: the files.
        folder: for them, such as ``transition-v1``; named after the protocol if empty.
    """
    store, paths = client(uri), list(paths)
    folder = f"comparison/{folder or file_name(protocol)}"
    runs = [store.get_run(run_id) for run_id in run_ids]
    for run in runs:
        _put(store, run.info.run_id, paths, folder)
        if run.data.tags.get(KIND) == "grid":
            views.describe(store, run.info.run_id, folder, paths)
    compared = [run for run in runs if run.data.tags.get(KIND) != "grid"]
    if compared:
        views.save(store, compared[0].info.experiment_id, compared, protocol)


def log_files(uri: str, run_id: str, paths: Iterable[Path], folder: str) -> None:
    """Put files into a folder of a run's artifacts."""
    _put(client(uri), run_id, paths, folder)


def _put(store: MlflowClient, run_id: str, paths: Iterable[Path], folder: str) -> None:
    for path in paths:
        store.log_artifact(run_id, str(path), folder)


def log_bench(uri: str, name: str, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """Keep the figures of a benchmark, as a run of the experiment ``bench``.

    Args:
        uri: of the tracking store.
        name: of the run.
        settings: the machine, and what was measured.
        metrics: the figures by name.
    """
    store = client(uri)
    run_id = store.create_run(_experiment_id(store, uri, "bench"), run_name=name).info.run_id
    _log_params(store, run_id, dict(settings))
    _send(store, run_id, [(key, value, 0) for key, value in metrics.items()])
    store.set_terminated(run_id)


def _send(store: MlflowClient, run_id: str, values: list[tuple[str, float, int]]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    metrics = [Metric(name, float(value), now, step) for name, value, step in values]
    for begin in range(0, len(metrics), METRICS_AT_ONCE):
        store.log_batch(run_id, metrics=metrics[begin : begin + METRICS_AT_ONCE])


def records(
    experiment: str, uri: str, protocol: str, versions: bool = False, quiet: bool = False
) -> tuple[list[RunRecord], list[str]]:
    """The runs of an experiment that were evaluated by a protocol; the newest of repeated ones knows the others.

    Args:
        experiment: its name.
        uri: of the tracking store.
        protocol: such as ``transition/v1``.
        versions: take runs of its other versions too.
        quiet: show no progress.

    Returns:
        The runs, and sentences on those that were left out as they were evaluated by other versions.

    Raises:
        WmzooError: there is no such store or experiment, or none of its runs was evaluated.
    """
    from mlflow.entities import ViewType

    require(uri)
    store = client(uri)
    known = {e.name: e.experiment_id for e in store.search_experiments(ViewType.ACTIVE_ONLY)}
    if experiment not in known:
        raise WmzooError(f'no experiment "{experiment}" in {uri}. {nearest(experiment, known)}')
    newest: dict[tuple[str, str], RunRecord] = {}
    left: Counter[str] = Counter()
    runs = store.search_runs([known[experiment]], max_results=5000, order_by=["attributes.start_time ASC"])
    with bar(f"read {experiment}", len(runs), unit="runs", quiet=quiet) as report:
        for number, run in enumerate(runs, 1):
            mine = run.data.tags.get(_tag(protocol), "")
            if mine and mine != protocol and not versions:
                left[mine] += 1
            elif mine:
                record = _record(store, run, experiment, mine)
                key = (record.tags["recipe_hash"], record.tags["manifest_hash"])
                before = newest.pop(key, None)
                newest[key] = record if before is None else replace(record, older=(before, *before.older))
            report(number, "")
    if not newest:
        raise WmzooError(f'no run of "{experiment}" was evaluated; run `wmzoo evaluate RUN {protocol}` first.')
    told = [f"Left out, as evaluated by {name}: {count} runs; --mixed takes them in." for name, count in left.items()]
    return list(newest.values()), told


def _record(store: MlflowClient, run: Any, experiment: str, protocol: str) -> RunRecord:
    from wmzoo.evaluation.compare import RunRecord

    prefix = file_name(protocol)
    with tempfile.TemporaryDirectory() as folder:  # one of MLflow's own would stay
        path = store.download_artifacts(run.info.run_id, f"evaluation/{prefix}.json", folder)
        result = json.loads(Path(path).read_text())
    cost = {k.removeprefix("cost/"): v for k, v in run.data.metrics.items() if k.startswith("cost/")}
    tags = {k: v for k, v in run.data.tags.items() if not k.startswith("mlflow.")}
    return RunRecord(
        run_id=run.info.run_id,
        name=tags["model"],
        seed=int(tags["seed"]),
        experiment=experiment,
        tags={**tags, **_origin(run.data.params), "protocol": protocol},
        cost=cost,
        result=result,
        settings=dict(run.data.params),
    )


def _origin(params: Mapping[str, str]) -> dict[str, str]:
    """The backbone of a run, and what its training started from, if not from random weights."""
    found = {"backbone": params.get("model.backbone.name", ""), "init_from": params.get("init_from", "")}
    return {name: value for name, value in found.items() if value not in ("", "None")}


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and values of nested settings."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def git_revision() -> str:
    """The revision of the checkout that wmzoo runs from, with ``+`` if it has changes; empty outside of one."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        out = [
            subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, check=True).stdout
            for command in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return ""
    return out[0].strip() + ("+" if out[1].strip() else "")
