"""MLflow's pages, as a browser shows them: the saved view of an experiment and a comparison of two runs."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from urllib.parse import quote

import pytest
from systems import system_corpus, toy_recipe

from wmzoo import report, tracking, training, views
from wmzoo.recipe import Source, check
from wmzoo.runs import prepare

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")
URI = "sqlite:///mlflow.db"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A folder with two evaluated and compared runs under the run of a grid."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        system_corpus(folder / "toy.h5")
        options = {"data": {"window": 8}, "train": {"steps": 4, "validate_every": 2}}
        recipes = [check(Source(toy_recipe(backbone=name, **options), {})) for name in ("trajworld", "mlp_ensemble")]
        parent = tracking.grid_run(recipes[0], "toy", [prepare(recipe).manifest for recipe in recipes])
        for recipe in recipes:
            with tracking.under(parent):
                run = training.train(recipe, quiet=True)
            settings = ["context=7", "horizons=[1,2]", "windows=20", "rollouts=4"]
            report.print_evaluation(str(run), "transition/v1", settings, quiet=True)
        paths = report.print_comparison("toy", URI, "transition/v1")
        tracking.log_comparison(URI, [parent], "transition/v1", paths)
        tracking.end(recipes[0], parent, "FINISHED")
        yield folder


@pytest.fixture(scope="module")
def pages(compared):
    """The address of the pages, what the command printed, and the port."""
    port = free_port()
    command = [sys.executable, "-m", "wmzoo", "ui", "--port", str(port)]
    server = subprocess.Popen(command, cwd=compared, start_new_session=True, stdout=subprocess.PIPE, text=True)
    try:
        said = [server.stdout.readline() for _ in range(2)]
        wait_for(f"http://127.0.0.1:{port}/", 120)
        yield f"http://127.0.0.1:{port}", said, port
    finally:
        server.terminate()
        code = server.wait(30)
    assert code == 0 and not listeners(port), "nothing is left that serves"


def listeners(port):
    """The addresses of this machine that anybody listens on, at a port, as the kernel writes them."""
    lines = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]
    return [line[1] for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}")]


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(address, seconds):
    start = time.time()
    while time.time() - start < seconds:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(address, timeout=5).read().decode()
        time.sleep(0.5)
    raise AssertionError(f"{address} did not answer in {seconds} s")


@pytest.fixture
def seen(tmp_path):
    """What a browser shows of an address: its document as text, after all scripts have run."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is installed")

    def look(address):
        own = f"--user-data-dir={tmp_path / 'profile'}"
        command = [browser, "--headless", "--no-sandbox", *QUIET, own, "--window-size=2600,1400"]
        command += ["--virtual-time-budget=60000", "--dump-dom", address]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout

    return look


def runs_of(folder):
    store = tracking.client(f"sqlite:///{folder}/mlflow.db")
    number = store.get_experiment_by_name("toy").experiment_id
    return store, number, {run.info.run_name: run for run in store.search_runs([number])}


def test_a_view_of_the_compared_runs_is_saved(compared):
    store, number, _ = runs_of(compared)
    tags = store.get_experiment(number).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(tags["mlflow.sharedViewState.transition-v1"])
    state = json.loads(view["state"])
    assert view["name"].startswith("transition/v1") and state["orderByAsc"] is True
    assert state["orderByKey"] == "metrics.`transition-v1/in/nmae`"
    shown = state["selectedColumns"]
    assert {"metrics.`transition-v1/in/skill`", "metrics.`cost/train_seconds`"} <= set(shown)


def test_a_grid_shows_its_comparison_on_its_first_page(compared):
    store, _, runs = runs_of(compared)
    grid = runs["grid toy"]
    note = grid.data.tags[views.NOTE]
    assert "| trajworld |" in note.replace("*", "") and len(note) <= views.LONGEST
    files = {file.path for file in store.list_artifacts(grid.info.run_id, "comparison/transition-v1")}
    assert f"run_uuid={grid.info.run_id}" in note and "comparison/transition-v1/comparison.png" in files
    (data,) = grid.inputs.dataset_inputs
    assert data.dataset.name == "toy/a", "the data of its runs, once"
    assert data.dataset.digest == runs["trajworld-s0"].inputs.dataset_inputs[0].dataset.digest


def test_a_run_is_described_by_its_pictures_unless_somebody_wrote_a_description(compared, tmp_path):
    store, _, runs = runs_of(compared)
    run = runs["trajworld-s0"]
    assert "evaluation/transition-v1-imagined-toy-a.png" in run.data.tags[views.NOTE]
    files = {file.path for file in store.list_artifacts(run.info.run_id, "evaluation")}
    assert {"evaluation/transition-v1-calibration.png", "evaluation/transition-v1.json"} <= files
    other = runs["mlp_ensemble-s0"].info.run_id
    store.set_tag(other, views.NOTE, "the first that worked")
    views.describe(store, other, "evaluation", [tmp_path / "a.png"])
    assert store.get_run(other).data.tags[views.NOTE] == "the first that worked"


def test_parameters_that_follow_from_others_are_no_columns(compared):
    store, number, runs = runs_of(compared)
    widths = [run.data.params["model.backbone.name"] for run in runs.values() if "seed" in run.data.params]
    assert len(set(widths)) == 2, "backbones differ, and many of their settings with them"
    state = json.loads(json.loads(store.get_experiment(number).tags["mlflow.sharedViewState.transition-v1"])["state"])
    shown = [name for name in state["selectedColumns"] if name.startswith("params.")]
    assert shown == ["params.`model.backbone.name`"]


def test_the_pages_are_served_on_this_machine_alone(pages):
    address, said, port = pages
    assert address in said[0] and f"toy: {address}/#/experiments/" in said[1]
    assert "MLflow" in wait_for(f"{address}/", 10)
    assert listeners(port) == [f"0100007F:{port:04X}"]  # 127.0.0.1


def test_a_browser_opens_the_saved_view(pages, seen):
    page = seen(pages[1][1].split("toy: ")[1].strip())
    for word in ("trajworld-s0", "mlp_ensemble-s0", "model.backbone.name", "transition-v1/in/nmae", "toy/a"):
        assert word in page, word


def test_a_browser_opens_a_comparison_of_two_runs(pages, compared, seen):
    _, number, runs = runs_of(compared)
    ids = [runs[name].info.run_id for name in ("trajworld-s0", "mlp_ensemble-s0")]
    chosen = f"runs={quote(json.dumps(ids))}&experiments={quote(json.dumps([number]))}"
    page = seen(f"{pages[0]}/#/compare-runs?{chosen}")
    assert "Comparing 2 Runs" in page
    # the table of metrics holds as many rows as are in sight
    for word in (*ids, "trajworld-s0", "mlp_ensemble-s0", "model.backbone.name", "cost/parameters", "transition-v1/a/"):
        assert word in page, word
