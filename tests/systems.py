"""What tests are made of: the systems of the contract tests, and corpora, mishaps and interruptions."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
from sqlalchemy import event

from wmzoo import tracking
from wmzoo.contracts.systems import SMALL, linear_episode, planted_episode, system_set, toy_recipe
from wmzoo.data.sealing import check_seal, seal
from wmzoo.data.store import write_corpus
from wmzoo.interrupts import handled
from wmzoo.trajectories import Episode

__all__ = ["SMALL", "linear_episode", "planted_episode", "system_set", "toy_recipe"]


def walled_episode(rng: np.random.Generator, length: int, wall: float = 1.0) -> Episode:
    """A point that random actions push along a line; beyond a wall at either side the episode terminates."""
    observations, actions, over = [rng.uniform(-0.5, 0.5, 1)], [], False
    while not over and len(actions) < length:
        actions.append(rng.uniform(-1, 1, 1))
        observations.append(observations[-1] + 0.4 * actions[-1])
        over = abs(observations[-1][0]) >= wall
    rewards = np.full(len(actions), 1.0)
    return Episode(
        observations=np.stack(observations),
        actions=np.stack(actions),
        rewards=rewards,
        terminated=over,
        truncated=not over,
    )


def system_corpus(path: Path, **options) -> Path:
    """A corpus with one set."""
    write_corpus(path, [system_set(**options)], {"made": "for a test"})
    return path


@contextlib.contextmanager
def edited(path):
    """A corpus as an open HDF5 file to change, sealed anew afterwards."""
    with path.open("r+b") as file:
        file.truncate(check_seal(path))
    with h5py.File(path, "a") as file:
        yield file
        sets = [group["data"].id for levels in file["sets"].values() for group in levels.values()]
        rows = [(data.get_offset(), data.get_storage_size()) for data in sets]
    seal(path, rows)


def run_until(trainer, step, monkeypatch):
    """Train up to a step, and interrupt it there as Ctrl-C does."""
    update = trainer.update

    def interrupted(window, rows):
        if trainer.step == step:
            raise KeyboardInterrupt
        return update(window, rows)

    monkeypatch.setattr(trainer, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(quiet=True)


def stored_runs(uri: str = "sqlite:///mlflow.db"):
    """The runs of ``toy_recipe`` in the tracking store."""
    store = tracking.client(uri)
    return store.search_runs([store.get_experiment_by_name("toy").experiment_id])


@contextlib.contextmanager
def interrupted_at(statement: str):
    """Press Ctrl-C while the tracking store executes the first SQL statement that begins so; the block ends by it."""
    engine = tracking.client("sqlite:///mlflow.db")._store._tracking_client.store.engine
    asked = []

    def ask(connection, cursor, executed, *_):
        if executed.startswith(statement) and not asked:
            asked.append(executed)
            os.kill(os.getpid(), signal.SIGINT)

    event.listen(engine, "after_cursor_execute", ask)
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        event.remove(engine, "after_cursor_execute", ask)
    assert asked


@contextlib.contextmanager
def no_room(size: int = 4096):
    """Refuse to let any file grow beyond ``size`` bytes, as a disk that is full does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with handled([signal.SIGXFSZ], signal.SIG_IGN):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
