"""Cells as tasks of a Ray cluster: the one that ``RAY_ADDRESS`` names, else one of this machine alone.

Every node must see the working directory, for corpora and runs, and the tracking store.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
if "RAY_ADDRESS" not in os.environ:  # without this word, Ray's servers listen to every machine around
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

import ray
from ray.exceptions import RayError, TaskCancelledError

from wmzoo.errors import WmzooError
from wmzoo.gridrun.cell import INTERRUPTED
from wmzoo.gridrun.engines import run_and_wait


class OnRay:
    """A Ray cluster, which queues the cells and places them.

    Args:
        workers: cells at a time on this machine, where no cluster is named; None for one a core.
        options: of Ray's tasks, such as ``num_gpus``; ``num_cpus`` are the threads of a cell.

    Raises:
        WmzooError: the cluster can't be reached, or an option is not known.
    """

    def __init__(self, workers: int | None, options: Mapping[str, Any]):
        self.threads, self.slots = int(options.get("num_cpus", 1)), 10_000
        cores = workers * self.threads if workers else None
        begin = functools.partial(ray.init, logging_level=logging.ERROR, log_to_driver=False)
        try:
            if os.environ.get("RAY_ADDRESS"):
                begin()
            else:
                begin(address="local", num_cpus=cores, include_dashboard=False)
            self.task = ray.remote(max_retries=0, **{"num_cpus": self.threads, **options})(run_and_wait)
        except (ConnectionError, RayError, ValueError) as error:
            raise WmzooError(f"--engine ray: {error}; correct RAY_ADDRESS or --option.") from error

    def start(self, folder: Path) -> RayJob:
        """Queue a cell."""
        return RayJob(self.task.remote(str(Path.cwd()), str(folder)))

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        ray.shutdown()


class RayJob:
    """A task of Ray that runs a cell.

    Args:
        reference: to its exit code.
    """

    def __init__(self, reference: Any):
        self.reference = reference

    def poll(self) -> int | None:
        """Its exit code; None while it runs or waits."""
        if not ray.wait([self.reference], timeout=0)[0]:
            return None
        try:
            return int(ray.get(self.reference))
        except TaskCancelledError:
            return INTERRUPTED
        except RayError:  # its node or its worker died
            return 1

    def stop(self, force: bool) -> None:
        """Cancel it."""
        ray.cancel(self.reference, force=force)
