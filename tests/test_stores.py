"""Tracking stores under load: many writers at once lose nothing, in SQLite and in PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import pytest
from systems import interrupted_at, stored_runs, toy_recipe

from wmzoo import tracking
from wmzoo.errors import WmzooError
from wmzoo.recipe import Source, check

WRITERS, BATCHES, STEPS = 8, 12, 10
TERMS = ("loss", "state", "reward", "learning_rate", "gradient_norm")


def write(uri: str, seed: int) -> None:
    """What a training sends, by one of the writers."""
    recipe = check(Source(toy_recipe(seed=seed, tracking={"uri": uri}), {}))
    about = {"sha256": "1" * 64, **{part: [0] for part in ("train", "validation", "test")}}
    run = tracking.start(recipe, {"sha256": f"{seed:064d}", "corpus": "toy.h5", "sets": {"toy/a": about}}, {})
    for batch in range(BATCHES):
        points = [{"step": batch * STEPS + i, **dict.fromkeys(TERMS, float(i))} for i in range(1, STEPS + 1)]
        tracking.log(recipe, run, points)
    tracking.client(uri).set_terminated(run)


def write_together(uri: str) -> None:
    """All writers at once, each a process of its own, on a store that none of them has opened before."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, __file__, uri], env=environment, timeout=300, check=True)


def fork_writers(uri: str) -> int:
    """How many of the writers failed; they are forked, so that the imports are paid once."""
    import mlflow  # noqa: F401

    children = []
    for seed in range(WRITERS):
        child = os.fork()
        if not child:
            try:
                write(uri, seed)
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


def check_complete(uri: str) -> None:
    """Every run and every metric of the writers is there."""
    store = tracking.client(uri)
    runs = stored_runs(uri)
    assert sorted(r.data.params["seed"] for r in runs) == sorted(str(seed) for seed in range(WRITERS))
    for run in runs:
        assert run.info.status == "FINISHED" and run.inputs.dataset_inputs
        for term in TERMS:
            history = store.get_metric_history(run.info.run_id, f"train/{term}")
            assert sorted(m.step for m in history) == list(range(1, BATCHES * STEPS + 1))


def test_eight_writers_lose_nothing_in_sqlite(workdir):
    uri = f"sqlite:///{workdir}/mlflow.db"
    write_together(uri)
    check_complete(uri)
    with contextlib.closing(sqlite3.connect(workdir / "mlflow.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchall() == [("wal",)]


def test_a_store_that_is_locked_for_longer_than_mlflow_waits_is_waited_for(workdir):
    recipe = check(Source(toy_recipe(), {}))
    run = tracking.start(recipe, {"sha256": "0" * 64, "corpus": "toy.h5", "sets": {}}, {})
    with contextlib.closing(sqlite3.connect(workdir / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(target=tracking.log, args=(recipe, run, [{"step": 1, "loss": 0.5}]))
        writer.start()
        writer.join(21.0)  # MLflow gives up after 20 seconds
        assert writer.is_alive()
        other.execute("ROLLBACK")
    writer.join(30.0)
    assert tracking.client("sqlite:///mlflow.db").get_run(run).data.metrics == {"train/loss": 0.5}


def test_an_interrupt_amid_a_transaction_waits_for_its_end_and_leaves_the_store_open_to_all(workdir):
    recipe = check(Source(toy_recipe(), {}))
    run = tracking.start(recipe, {"sha256": "0" * 64, "corpus": "toy.h5", "sets": {}}, {})
    with interrupted_at("INSERT INTO metrics"):
        tracking.log(recipe, run, [{"step": 1, "loss": 0.5}])
    with contextlib.closing(sqlite3.connect(workdir / "mlflow.db", timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # would fail at once if the transaction were still open
        assert other.execute("SELECT value FROM metrics").fetchall() == [(0.5,)]
        other.execute("ROLLBACK")
    tracking.end(recipe, run, "FAILED")
    assert tracking.client("sqlite:///mlflow.db").get_run(run).info.status == "FAILED"


@pytest.fixture
def postgres():
    """The address of a real server on the loopback, with an empty database."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'wmzoo[postgres]'")
    binaries, port = found[-1].parent, free_port()
    data = Path(tempfile.mkdtemp(prefix="wmzoo-postgres-"))  # pytest's own folders let no other user in
    user = server_user(data)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data} -c fsync=off"
    as_user(user, binaries / "initdb", "-D", data / "db", "-U", "wmzoo", "-A", "trust")
    as_user(user, binaries / "pg_ctl", "-D", data / "db", "-o", options, "-l", data / "log", "-w", "start")
    try:
        as_user(user, binaries / "createdb", "-h", "127.0.0.1", "-p", port, "-U", "wmzoo", "runs")
        yield f"postgresql+psycopg://wmzoo@127.0.0.1:{port}/runs"
    finally:
        as_user(user, binaries / "pg_ctl", "-D", data / "db", "-m", "immediate", "stop")
        shutil.rmtree(data)


def server_user(data):
    """Who runs the server, which refuses to be root's: this user, else the package's own."""
    if os.getuid():
        return None
    with contextlib.suppress(KeyError):
        user = pwd.getpwnam("postgres")
        os.chown(data, user.pw_uid, user.pw_gid)
        return "postgres"
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres")


def as_user(user, *command):
    subprocess.run([str(part) for part in command], check=True, user=user, stdout=subprocess.DEVNULL, cwd="/")


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_eight_writers_lose_nothing_in_postgresql(workdir, postgres):
    tracking.client(postgres)  # MLflow makes its tables in one process; the grid opens the store before its cells
    write_together(postgres)
    check_complete(postgres)
    store = tracking.client(postgres)
    place = store.get_experiment_by_name("toy").artifact_location
    assert place == (workdir / "mlruns" / "toy").as_uri(), "files lie here, whoever looks from wherever"


def test_a_server_that_is_not_there_is_told_in_a_sentence():
    began = time.monotonic()
    with pytest.raises(WmzooError, match="can't be opened"):
        tracking.client(f"postgresql+psycopg://wmzoo@127.0.0.1:{free_port()}/runs")
    assert time.monotonic() - began < 10


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(fork_writers(sys.argv[1]))
