"""Fixtures of the tests with recorded answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from released.golden import Golden

RECORDED = Path(__file__).parents[1] / "data" / "released"
# Other folders of the same format can be checked too: WMZOO_GOLDEN=FOLDER:FOLDER pytest tests/released
FOLDERS = sorted(p for p in RECORDED.iterdir() if p.is_dir())
FOLDERS += [Path(p) for p in os.environ.get("WMZOO_GOLDEN", "").split(os.pathsep) if p]


@pytest.fixture(scope="session", params=FOLDERS, ids=lambda path: path.name)
def golden(request, tmp_path_factory) -> Golden:
    """A recorded folder, imported once."""
    return Golden(request.param, tmp_path_factory.mktemp("imported"))
