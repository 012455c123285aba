"""Cells as tasks of a Ray cluster: the one that ``RAY_ADDRESS`` names, else one of this machine alone.

Every node must see the working directory, for corpora and runs, and the tracking store.
"""

from __future__ import annotations

import logging
import os
import socket
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
from wmzoo.gridrun.engines import run_and_wait, threads_of

PATIENCE = 10.0  # seconds to reach a cluster


class OnRay:
    """A Ray cluster, which queues the cells and places them.

    Args:
        workers: cells at a time; None for what the cluster has room for, of this machine's one a core.
        options: of Ray's tasks, such as ``num_gpus``; ``num_cpus`` are the threads of a cell.

    Raises:
        WmzooError: the cluster can't be reached, or an option is not known.
    """

    def __init__(self, workers: int | None, options: Mapping[str, Any]):
        self.threads, self.slots = threads_of(options, "num_cpus"), workers or 10_000
        address = os.environ.get("RAY_ADDRESS")
        own: dict[str, Any] = {} if address else {"address": "local", "include_dashboard": False}
        if workers and not address:
            own["num_cpus"] = workers * self.threads
        try:
            self.task = ray.remote(max_retries=0, **{"num_cpus": self.threads, **options})(run_and_wait)
            if address:
                _reach(address)
            ray.init(logging_level=logging.ERROR, log_to_driver=False, **own)
        except (ConnectionError, RayError, ValueError) as error:
            told = str(error).splitlines()[0].rstrip(". ")
            raise WmzooError(f"--engine ray: {told}; correct RAY_ADDRESS or --option.") from error
        if not address:
            _check_room(options)

    def start(self, folder: Path) -> RayJob:
        """Queue a cell."""
        return RayJob(self.task.remote(str(Path.cwd()), str(folder)))

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        ray.shutdown()


def _reach(address: str) -> None:
    """Connect to a cluster once: Ray would try for minutes what can't be.

    Raises:
        ConnectionError: nothing answers at ``host:port``.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # "auto", for one: Ray finds it by itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"nothing answers at {address} ({error})") from error


def _check_room(options: Mapping[str, Any]) -> None:
    """Refuse what this machine can never give to a cell, which would wait for ever.

    Raises:
        WmzooError: it has fewer cores or GPUs.
    """
    room = ray.cluster_resources()
    for name, resource in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
        wanted, there = options.get(name, 0), room.get(resource, 0)
        if wanted > there:
            ray.shutdown()
            raise WmzooError(f"--option {name}: a cell wants {wanted}, this machine has {there:g}; ask for less.")


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
