"""An empty tracking store to copy, as making one takes seconds."""

from __future__ import annotations

import shutil

import pytest

from wmzoo import tracking


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """The file of a store without runs."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    tracking.client(f"sqlite:///{path}")
    return path


@pytest.fixture
def workdir(workdir, store):
    """An empty working directory but for a store."""
    shutil.copy(store, workdir)
    return workdir
