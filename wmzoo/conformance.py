"""``wmzoo test``: the contract tests of one part, in whatever folder it lives."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from wmzoo import registry
from wmzoo.errors import FailedError, WmzooError, nearest

ARGUMENTS = {"planners": "name"}  # by which the tests of a kind are parametrised, if not by its singular


def run(name: str) -> None:
    """Run what every part of its kind must pass, with pytest.

    Args:
        name: of the part, or ``kind/name``.

    Raises:
        WmzooError: there is no such part, or pytest is missing.
        FailedError: a test fails.
    """
    kind, part = _find(name)
    sys.dont_write_bytecode = True  # nothing is left behind in the part's folder
    registry.find(kind, part)
    try:
        import pytest
    except ImportError as error:
        raise WmzooError("test: the contract tests need pytest; pip install pytest.") from error
    import torch

    torch.set_num_threads(1)
    folder = Path(next(iter(importlib.import_module("wmzoo.contracts").__path__)))
    # No settings of a project that the folder may belong to, and no cache of pytest's in it.
    plain = ["-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-W", "ignore", "-c", os.devnull]
    code = pytest.main([*plain, f"--rootdir={folder}", str(folder)], plugins=[_Only(kind, part)])
    if code:
        raise FailedError(f"{kind}/{part}: it fails a contract test; read above which one, and why.")
    print(f"{registry.paths(kind)[part]}: passes all contract tests of {kind}.")


def _find(name: str) -> tuple[str, str]:
    known = {f"{kind}/{part}": (kind, part) for kind in registry.KINDS for part in registry.paths(kind)}
    found = [both for full, both in known.items() if name in (full, both[1])]
    if not found:
        raise WmzooError(f'test: no part "{name}". {nearest(name, known)}')
    if len(found) > 1:
        names = " and ".join("/".join(both) for both in found)
        raise WmzooError(f"test: {name} is the name of {names}; name one of them.")
    return found[0]


class _Only:
    """A plugin of pytest that keeps the tests of one part."""

    def __init__(self, kind: str, name: str):
        self.argument, self.name = ARGUMENTS.get(kind, kind[:-1]), name

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """Leave the tests of all other parts out."""
        others = [item for item in items if not self._about(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]

    def _about(self, item: Any) -> bool:
        spec = getattr(item, "callspec", None)
        return spec is not None and spec.params.get(self.argument) == self.name
