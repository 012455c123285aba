"""Engines: a Ray cluster of two workers, SLURM's jobs on this machine, and what a user is told who has neither."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from grids import attempts, run, start, write_grid

from wmzoo import cli
from wmzoo.errors import WmzooError
from wmzoo.gridrun import engines

# Before Ray is imported: the cluster below is on the loopback.
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
WIDTHS = {"model.backbone.width": [16, 32]}


def check_cells(workdir, code, printed, count=2):
    assert code == 0, printed
    assert printed.count(": done in ") == count and "last value" in printed
    assert list(attempts(workdir).values()) == [1] * count


def listening():
    """The addresses, other than the loopback's, that any process of this machine listens on."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:] + Path("/proc/net/tcp6").read_text().splitlines()[1:]
    sockets = [line.split() for line in lines]
    loopback = ("0100007F", "0" * 24 + "01000000")
    return {s[1] for s in sockets if s[3] == "0A" and not s[1].partition(":")[0].endswith(loopback)}


@pytest.fixture
def cluster(workdir, monkeypatch):
    """A Ray cluster of two nodes with one core each, on the loopback."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'wmzoo[ray]'")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


def test_cells_run_on_the_two_nodes_of_a_ray_cluster(workdir, cluster):
    write_grid(workdir, {"model.backbone.width": [16, 24, 32]})
    code, printed = run(workdir, "--engine", "ray")
    check_cells(workdir, code, printed, count=3)
    told = [word for line in printed.splitlines() for word in (": running", ": done") if word in line]
    assert told[:3] == [": running", ": running", ": done"], "the third waits in Ray's queue, and is not said to run"


def test_ray_without_a_cluster_is_this_machine_alone_and_open_to_none(workdir):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'wmzoo[ray]'")
    write_grid(workdir, {"train.learning_rate": [1e25, 3e-3]})
    before = listening()
    process = start(workdir, "--engine", "ray", "--workers", "2")
    opened, printed = set(), []
    for line in process.stdout:
        printed.append(line)
        opened |= listening() - before if ": running" in line else set()
    assert process.wait() == 1, printed
    assert not opened, "other machines could connect"
    assert "learning_rate=1e+25, seed 0: training stopped at step" in "".join(printed)


def test_cells_run_as_jobs_of_submitit(workdir):
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'wmzoo[slurm]'")
    write_grid(workdir, WIDTHS)
    check_cells(workdir, *run(workdir, "--engine", "slurm", "--option", "cluster=local"))


def test_mistakes_get_a_sentence(workdir, capsys):
    write_grid(workdir, WIDTHS)
    for arguments, sentence in [
        (["--engine", "rya"], 'Did you mean "ray"'),
        (["--workers", "0"], "give at least 1"),
        (["--option", "num_gpus=1"], "is for --engine ray or slurm"),
        (["--engine", "slurm"], "there is no sbatch here"),
        (["--engine", "ray", "--option", "num_cpus=two"], "num_cpus: must be a whole number above 0, the threads"),
        (["--engine", "ray", "--option", "cores=2"], "Invalid option keyword cores"),
        (["--engine", "ray", "--option", "num_gpus=64"], "num_gpus: a cell wants 64, this machine has"),
        (["--engine", "slurm", "--option", "cluster=local", "--option", "cpus_per_task=0"], "must be a whole number"),
        (["--engine", "slurm", "--option", "cluster=local", "--option", "hours=3"], "correct it or leave it out."),
    ]:
        assert cli.main(["grid", "toy.yaml", *arguments]) == 2
        said = capsys.readouterr().err
        assert sentence in said and len(said.splitlines()) == 1
    assert not (workdir / "runs" / "toy").exists()


def test_a_cluster_that_is_not_there_is_told_at_once(workdir, monkeypatch, capsys):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'wmzoo[ray]'")
    write_grid(workdir, WIDTHS)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    began = time.monotonic()
    assert cli.main(["grid", "toy.yaml", "--engine", "ray"]) == 2
    assert "nothing answers at 127.0.0.1:1" in capsys.readouterr().err and time.monotonic() - began < 30


@pytest.mark.parametrize(("name", "library"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_engine_that_is_not_installed_says_what_to_type(name, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not there
    monkeypatch.delitem(sys.modules, f"wmzoo.gridrun.on_{name}", raising=False)
    with pytest.raises(WmzooError, match=rf"needs {library}, which is not here: pip install 'wmzoo\[{name}\]'"):
        engines.make(name, None, {})
