"""MLflow: what a run leaves there, read back by MLflow's own client, and the pages."""

from __future__ import annotations

import contextlib
import copy
import socket
import tempfile

import pytest
from systems import interrupted_at, stored_runs, system_corpus, toy_recipe

from wmzoo import grid, report, tracking, training
from wmzoo.errors import WmzooError
from wmzoo.files import read_json
from wmzoo.recipe import Source, check


@pytest.fixture
def trained(workdir):
    """Two seeds of two backbones, evaluated."""
    system_corpus(workdir / "toy.h5")
    data, train = {"window": 8}, {"steps": 12, "validate_every": 6}
    recipes = [
        check(Source(toy_recipe(backbone=backbone, seed=seed, data=data, train=train), {}))
        for backbone in ("trajworld", "mlp_ensemble")
        for seed in (0, 1)
    ]
    folders = [training.train(r, quiet=True) for r in recipes]
    for folder in folders:
        settings = ["context=7", "horizons=[1,2]", "windows=20", "rollouts=4"]
        report.print_evaluation(str(folder), "transition/v1", settings, quiet=True)
    return recipes, folders


def test_a_run_can_be_understood_from_mlflow_alone(trained):
    recipes, _ = trained
    store = tracking.client("sqlite:///mlflow.db")
    experiment = store.get_experiment_by_name("toy")
    runs = store.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    assert [r.info.run_name for r in runs] == ["trajworld-s0", "trajworld-s1", "mlp_ensemble-s0", "mlp_ensemble-s1"]
    first = runs[0]
    assert first.info.status == "FINISHED"
    assert first.data.params["model.backbone.width"] == "32" and first.data.params["seed"] == "0"
    tags = first.data.tags
    assert tags["recipe_hash"] == recipes[0].hash and len(tags["manifest_hash"]) == 64
    assert (tags["attention"], tags["device"], tags["protocol.transition"]) == ("sdpa", "cpu", "transition/v1")
    assert tags.keys() >= {"model", "seed", "git_revision", "wmzoo_version", "precision"}
    (data,) = first.inputs.dataset_inputs
    assert data.dataset.name == "toy/a" and data.tags[0].value == "training"
    metrics = set(first.data.metrics)
    assert metrics >= {
        "train/loss",
        "train/validation_loss",
        "cost/parameters",
        "cost/train_flops",
        "cost/train_seconds",
    }
    assert {m for m in metrics if m.startswith("transition-v1/")} >= {"transition-v1/a/nmae", "transition-v1/in/skill"}
    assert metrics == set(runs[2].data.metrics), "every model has the same metric names"
    files = {f.path for f in store.list_artifacts(first.info.run_id)}
    assert files == {"recipe.yaml", "manifest.json", "history.csv", "run.json", "checkpoint", "evaluation"}
    history = store.get_metric_history(first.info.run_id, "train/loss")
    assert [m.step for m in history] == list(range(1, 13))


@pytest.mark.parametrize("statement", ["INSERT INTO runs", "INSERT INTO params", "INSERT INTO metrics", "UPDATE runs"])
def test_an_interrupted_run_has_failed_in_mlflow_and_is_gone_on_with(workdir, statement):
    system_corpus(workdir / "toy.h5")
    recipe = check(Source(toy_recipe(train={"steps": 4, "validate_every": 2}), {}))
    with interrupted_at(statement):  # while it is opened, trained or, by the last one, closed
        training.train(recipe, quiet=True)
    (run,) = stored_runs()
    assert run.info.status == "FAILED"
    folder = training.train(recipe, resume=True, quiet=True)
    (run,) = stored_runs()
    assert run.info.status == "FINISHED" and read_json(folder / "run.json")["status"] == "finished"


def test_records_are_what_was_evaluated(trained, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    recipes, _ = trained
    records, left_out = tracking.records("toy", "sqlite:///mlflow.db", "transition/v1")
    assert left_out == []
    assert [(r.name, r.seed) for r in records] == [(r.name, r.seed) for r in recipes]
    assert all(r.cost["parameters"] > 0 and r.result["protocol"] == "transition/v1" for r in records)
    assert list(scratch.iterdir()) == [], "nothing is left behind"
    with pytest.raises(WmzooError, match='Did you mean "toy"'):
        tracking.records("toyy", "sqlite:///mlflow.db", "transition/v1")


def test_comparison_by_the_command(trained, capsys, workdir):
    paths = report.print_comparison("toy", "sqlite:///mlflow.db", "transition/v1")
    printed = capsys.readouterr().out
    for word in ("trajworld", "mlp_ensemble", "last value", "ridge", "history mean", "params"):
        assert word in printed
    store = tracking.client("sqlite:///mlflow.db")
    for record in tracking.records("toy", "sqlite:///mlflow.db", "transition/v1")[0]:
        assert len(store.list_artifacts(record.run_id, "comparison/transition-v1")) == len(paths)
    assert all(p.stat().st_size > 0 for p in paths) and (
        workdir / "comparisons" / "toy" / "transition-v1" / "comparison.png"
    ) in [p.resolve() for p in paths]


def test_a_repeated_run_that_gave_other_numbers_is_told_of_and_other_versions_are_left_out(trained, capsys):
    recipes, folders = trained
    store = tracking.client("sqlite:///mlflow.db")
    first = tracking.records("toy", "sqlite:///mlflow.db", "transition/v1")[0][0]
    again = tracking.start(recipes[0], read_json(folders[0] / "manifest.json"), {})
    changed = copy.deepcopy(first.result)
    changed["modes"][""]["toy/a"]["nmae"] *= 1.5
    tracking.log_evaluation("sqlite:///mlflow.db", again, "transition/v1", {}, changed)
    for name, value in first.cost.items():
        store.log_metric(again, f"cost/{name}", value)
    other = tracking.records("toy", "sqlite:///mlflow.db", "transition/v1")[0][2].run_id
    store.set_tag(other, "protocol.transition", "transition/v0")
    report.print_comparison("toy", "sqlite:///mlflow.db", "transition/v1")
    said = " ".join(capsys.readouterr().out.split())
    assert f"NOT REPRODUCED: {first.name} s0, same recipe, seed and data:" in said and "nmae most" in said
    assert "Left out, as evaluated by transition/v0: 1 runs; --mixed takes them in." in said


def test_grid_cells_are_told_apart(workdir):
    cells = grid.cells("quickstart")
    made = [check(source) for source in cells]
    assert [(r.name, r.seed) for r in made] == [
        (name, seed) for name in ("trajworld", "tdm", "mlp_ensemble") for seed in (0, 1)
    ]
    plain = [{**r.to_dict(), "name": "", "seed": 0} for r in made]
    for settings in plain:
        settings["model"].pop("backbone")
    assert all(p == plain[0] for p in plain), "they differ in their backbone alone"


def test_the_run_of_a_grid_names_the_data_of_all_its_cells_once_however_often_it_is_gone_on_with(workdir):
    recipe = check(Source(toy_recipe(), {}))
    about = {part: [0] for part in ("train", "validation", "test")}
    first, second = (
        {"corpus": "toy.h5", "sets": {key: {"sha256": digit * 64, **about}}}
        for key, digit in (("toy/a", "1"), ("toy/b", "2"))
    )
    made = tracking.grid_run(recipe, "toy", [first])
    tracking.end(recipe, made, "FINISHED")
    for _ in range(2):
        assert tracking.grid_run(recipe, "toy", [first, second]) == made
    run = tracking.client("sqlite:///mlflow.db").get_run(made)
    assert sorted(i.dataset.name for i in run.inputs.dataset_inputs) == ["toy/a", "toy/b"]
    assert run.info.status == "RUNNING"


def test_a_taken_port_is_refused(workdir):
    from wmzoo import ui

    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(WmzooError, match="choose another with --port"):
            ui.serve("sqlite:///mlflow.db", taken.getsockname()[1])
