"""Fixtures that all tests share."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
sys.path.insert(0, str(Path(__file__).parent))

import torch

torch.set_num_threads(1)


# Below a shell that put its job behind, Ctrl-C would be ignored by the tests and by all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty working directory, away from the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
