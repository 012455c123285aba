"""Where the cells of a grid run: processes of this machine, a Ray cluster, or SLURM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from wmzoo.errors import WmzooError, nearest

NAMES = ("local", "ray", "slurm")


class Job(Protocol):
    """A cell that was handed to an engine."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs or waits."""

    def stop(self, force: bool) -> None:
        """Ask it to end, as Ctrl-C does; or end it at once."""


class Engine(Protocol):
    """Where cells run.

    Attributes:
        slots: how many cells it takes at a time.
        threads: of each cell.
    """

    slots: int
    threads: int

    def start(self, folder: Path) -> Job:
        """Run the cell of a run's folder."""

    def close(self) -> None:
        """Let go of what the engine holds."""


def make(name: str, workers: int | None, options: Mapping[str, Any]) -> Engine:
    """An engine by its name.

    Args:
        name: ``local``, ``ray`` or ``slurm``.
        workers: cells at a time; None for what the machine allows.
        options: for the cluster's library: of Ray's tasks, or of SLURM's jobs by submitit's names.

    Raises:
        WmzooError: no such engine, a wrong number or option, or the library is not installed.
    """
    if workers is not None and workers < 1:
        raise WmzooError(f"--workers: {workers} cells at a time; give at least 1.")
    if name not in NAMES:
        raise WmzooError(f'--engine: "{name}" is not known. {nearest(name, NAMES)}')
    if name == "local":
        if options:
            raise WmzooError("--option: is for --engine ray or slurm; leave it out.")
        return Local(workers)
    try:
        if name == "ray":
            from wmzoo.gridrun.on_ray import OnRay

            return OnRay(workers, options)
        from wmzoo.gridrun.on_slurm import OnSlurm

        return OnSlurm(workers, options)
    except ModuleNotFoundError as error:
        raise WmzooError(
            f"--engine {name}: needs {error.name}, which is not here: pip install 'wmzoo[{name}]'."
        ) from error


def threads_of(options: Mapping[str, Any], name: str) -> int:
    """The threads of a cell, by the cluster's name of that option; 1 if it is left out.

    Raises:
        WmzooError: it is no whole number above 0.
    """
    threads = options.get(name, 1)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise WmzooError(f"--option {name}: must be a whole number above 0, the threads of a cell, not {threads!r}.")
    return threads


class Process:
    """A cell in a process, and a process group, of its own; it ends when this process does.

    Args:
        folder: of its run.
        changes: of the environment.
    """

    def __init__(self, folder: Path, changes: Mapping[str, str]):
        self.child = subprocess.Popen(
            [sys.executable, "-m", "wmzoo.gridrun.cell", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **changes},
            start_new_session=True,
        )

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.child.poll()

    def stop(self, force: bool) -> None:
        """Ask it to end, as Ctrl-C does; or end it and what it started at once."""
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGKILL if force else signal.SIGINT)


def run_and_wait(directory: str, folder: str) -> int:
    """Run a cell on a node of a cluster, and wait; it ends when this does.

    Args:
        directory: that the grid was started in.
        folder: of the cell's run.

    Returns:
        The exit code.
    """
    os.chdir(directory)
    process = Process(Path(folder), {})
    try:
        while (code := process.poll()) is None:
            time.sleep(0.2)
        return code
    finally:
        process.stop(force=False)
        process.child.wait()


class Local:
    """Processes of this machine: as many as there are cores or, if there are any, GPUs, each of which gets a cell.

    Args:
        workers: cells at a time; None for that.
    """

    def __init__(self, workers: int | None = None):
        cores = len(os.sched_getaffinity(0))
        self.devices = _devices()
        self.slots = workers or len(self.devices) or cores
        self.threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, cores // self.slots))
        self.jobs: list[Process | None] = [None] * self.slots

    def start(self, folder: Path) -> Process:
        """Run a cell in a free slot, on the GPU of that slot."""
        slot = next(i for i, job in enumerate(self.jobs) if job is None or job.poll() is not None)
        gpu = {"CUDA_VISIBLE_DEVICES": self.devices[slot % len(self.devices)]} if self.devices else {}
        self.jobs[slot] = job = Process(folder, gpu)
        return job

    def close(self) -> None:
        """Nothing is held."""


def _devices() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` calls them."""
    import torch

    given = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return given or [str(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
