"""Grids as they are run: shared, failing, killed at random, interrupted; nothing is lost and nothing is run twice."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import signal
import time

import pytest
from grids import attempts, orphans, run, start, write_grid
from systems import stored_runs, system_corpus

from wmzoo import cli, tracking
from wmzoo.gridrun import state
from wmzoo.interrupts import handled

WIDTHS = {"model.backbone.width": [16, 32]}


def mlflow_runs(kind=""):
    return [r for r in stored_runs() if r.data.tags.get(tracking.KIND, "") == kind]


def test_a_grid_is_trained_evaluated_and_compared_and_nothing_twice(workdir, capfd):
    write_grid(workdir, WIDTHS)
    assert cli.main(["grid", "toy.yaml", "--dry-run"]) == 0
    listed = capfd.readouterr().out
    assert listed.count("to do") == 2 and "2 cells, 0 of them done" in listed and not (workdir / "runs").exists()
    assert cli.main(["grid", "toy.yaml"]) == 0
    printed = capfd.readouterr().out
    assert printed.count(": done in ") == 2 and "MB at most" in printed and "last value" in printed
    assert sorted(p.name for p in (workdir / "comparisons" / "toy" / "transition-v1").iterdir())
    assert cli.main(["grid", "toy.yaml"]) == 0
    assert "2 cells, 2 of them done." in capfd.readouterr().out and set(attempts(workdir).values()) == {1}
    write_grid(workdir, WIDTHS, windows=64)
    weights = {path: path.stat().st_mtime for path in workdir.glob("runs/toy/*/best.safetensors")}
    assert cli.main(["grid", "toy.yaml"]) == 0
    results = [json.loads(path.read_text()) for path in workdir.glob("runs/toy/*/transition-v1.json")]
    assert [result["settings"]["windows"] for result in results] == [64, 64]
    assert weights == {path: path.stat().st_mtime for path in weights}, "other settings of evaluation train nothing"
    (parent,) = mlflow_runs("grid")
    children = mlflow_runs()
    assert parent.info.status == "FINISHED" and parent.data.tags["grid"] == "trajworld"
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parent.info.run_id} and len(children) == 2
    store = tracking.client("sqlite:///mlflow.db")
    assert store.list_artifacts(parent.info.run_id, "comparison/transition-v1")
    system_corpus(workdir / "toy.h5", seed=5)
    assert cli.main(["grid", "toy.yaml"]) == 2
    assert "was trained on other data than toy.h5 holds now" in capfd.readouterr().err


def test_cells_of_one_name_are_told_apart_and_one_without_a_step_takes_no_time(workdir, capfd):
    section = {"zip": {"name": ["long", "none"], "train.steps": [8, 0]}, "data.fraction": [0.5, 1.0]}
    write_grid(workdir, section)
    assert cli.main(["grid", "toy.yaml", "--dry-run"]) == 0
    listed = capfd.readouterr().out
    for label in ("long fraction=0.5", "long fraction=1.0", "none fraction=0.5", "none fraction=1.0"):
        assert label in listed
    assert "4 cells, 0 of them done" in listed and "without evaluation" in listed


def test_all_cells_are_checked_before_the_first_is_trained(workdir, capfd):
    write_grid(workdir, {"model.backbone.width": [16, "thirty"], "seed": [0, 1]})
    assert cli.main(["grid", "toy.yaml"]) == 2
    said = capfd.readouterr().err
    assert said.count("model.backbone.width: must be a whole number") == 1, "a mistake of two cells is told once"
    write_grid(workdir, {"seed": [1, 1]})
    assert cli.main(["grid", "toy.yaml"]) == 2
    assert "are the same run" in capfd.readouterr().err
    assert not (workdir / "runs").exists()


def test_a_failing_cell_stops_no_other_and_is_told_at_the_end(workdir, capfd):
    write_grid(workdir, {"train.learning_rate": [1e25, 3e-3]})
    assert cli.main(["grid", "toy.yaml", "--workers", "1"]) == 1
    printed, said = capfd.readouterr()
    assert "learning_rate=0.003, seed 0: done" in printed
    assert re.search(r"learning_rate=1e\+25, seed 0: training stopped at step \d: the loss", printed)
    assert "1 of 2 cells failed" in said
    (log,) = re.findall(r"log: (\S+)", printed)
    assert "training stopped" in (workdir / log).read_text()
    assert [r.info.status for r in mlflow_runs("grid")] == ["FAILED"]
    assert cli.main(["grid", "toy.yaml"]) == 1
    assert sorted(attempts(workdir).values()) == [1, 2], "it is tried again, the other one is not"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, store):
    """A grid of four cells that two processes ran together, and what they printed."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copy(store, folder)
    write_grid(folder, {**WIDTHS, "seed": [0, 1]}, steps=60)
    both = [start(folder, "--workers", "1") for _ in range(2)]
    printed = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    return folder, printed


def test_two_processes_share_the_cells(whole, monkeypatch):
    folder, printed = whole
    monkeypatch.chdir(folder)
    assert set(attempts(folder).values()) == {1} and len(attempts(folder)) == 4
    own = [text.count(": running") for text in printed]
    assert sum(own) == 4 and min(own) >= 1, printed
    assert len(mlflow_runs()) == 4 and len(mlflow_runs("grid")) == 1


@pytest.mark.parametrize("behind", [False, True])
def test_ctrl_c_stops_everything_and_says_how_to_go_on(workdir, behind):
    write_grid(workdir, {"seed": [0, 1]}, steps=4000)
    with handled([signal.SIGINT] if behind else [], signal.SIG_IGN):  # as `wmzoo grid toy.yaml &` in a script does
        process = start(workdir, "--workers", "2")
    wait_for(lambda: len(list(workdir.glob("runs/toy/*/last.safetensors"))) == 2)
    os.kill(process.pid, signal.SIGTERM if behind else signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in printed
    assert "0 of 2 cells are done; to go on: wmzoo grid toy.yaml" in printed
    assert not orphans(workdir)
    assert {r.info.status for r in mlflow_runs()} == {"FAILED"} and mlflow_runs("grid")[0].info.status == "KILLED"
    assert not list(workdir.glob("runs/toy/*/failure.json")), "a cell that was stopped has not failed"


def test_killed_twice_it_ends_with_the_table_of_an_uninterrupted_grid(workdir, whole):
    write_grid(workdir, {**WIDTHS, "seed": [0, 1]}, steps=60)
    killed, chance = workdir, random.Random()
    finished: set[str] = set()
    for _ in range(2):
        before = attempts(killed)
        process = start(killed, "--workers", "2")
        wait_for(lambda known=before: sum(attempts(killed).values()) > sum(known.values()))
        time.sleep(chance.uniform(2, 8))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        wait_for(lambda: not orphans(killed))
        assert all(attempts(killed)[name] == before[name] for name in finished), "no finished cell is run again"
        finished = {path.parent.name for path in killed.glob("runs/toy/*/transition-v1.json")}
    before = attempts(killed)
    code, printed = run(killed, "--workers", "2")
    assert code == 0, printed
    assert all(attempts(killed)[name] == before[name] for name in finished)
    assert table(killed) == table(whole[0])
    runs = mlflow_runs()
    assert len(runs) == 4 and {r.info.status for r in runs} == {"FINISHED"} and len(mlflow_runs("grid")) == 1
    store = tracking.client("sqlite:///mlflow.db")
    for r in runs:
        steps = {m.step: m.value for m in store.get_metric_history(r.info.run_id, "train/loss")}
        assert sorted(steps) == list(range(1, 61)), "no metric is lost"


VARYING = re.compile("second|memory|run")


def table(folder):
    """The comparison as it was written, less what a clock or the system decides."""
    (path,) = folder.glob("comparisons/toy/transition-v1/*.csv")
    rows = list(csv.DictReader(path.open()))
    assert len(rows) > 4
    return [{key: value for key, value in row.items() if not VARYING.search(key)} for row in rows]


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.05)


def test_a_claim_ends_with_its_process_and_holds_till_then(workdir):
    folder = workdir / "runs" / "x"
    with state.claim(folder) as mine:
        assert mine and state.claimed(folder)
        with state.claim(folder) as other:
            assert not other
    assert not state.claimed(folder)
    child = os.fork()
    if not child:
        with state.claim(folder) as mine:
            (folder / "held").touch()
            time.sleep(60)
        os._exit(0)
    wait_for((folder / "held").is_file)
    assert state.claimed(folder)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not state.claimed(folder)


def test_a_cell_that_is_killed_has_failed_and_goes_on_the_next_time(workdir):
    write_grid(workdir, {"seed": [0]}, steps=400)
    process = start(workdir)
    wait_for(lambda: list(workdir.glob("runs/toy/*/last.safetensors")))
    (note,) = workdir.glob("runs/toy/*/progress.json")
    os.kill(json.loads(note.read_text())["process"], signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "it was killed by signal 9" in printed
    assert run(workdir)[0] == 0
    (history,) = [store_history(r) for r in mlflow_runs()]
    assert set(history) == set(range(1, 401)), "the run that was broken off is the one that went on"


def store_history(run_):
    store = tracking.client("sqlite:///mlflow.db")
    return [m.step for m in store.get_metric_history(run_.info.run_id, "train/loss")]
