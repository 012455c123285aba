"""Cells as jobs of SLURM, through submitit.

Every node must see the working directory, for corpora and runs, and the tracking store.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import submitit

from wmzoo.errors import WmzooError
from wmzoo.gridrun.engines import run_and_wait, threads_of

LOGS = Path("runs/.slurm")


class OnSlurm:
    """SLURM, which queues the cells and places them.

    Args:
        workers: most cells in the queue at a time; None for all.
        options: by submitit's names, such as ``timeout_min`` and ``slurm_partition``; ``cluster=local`` runs the same
            jobs on this machine.

    Raises:
        WmzooError: there is no SLURM here, or an option is not known.
    """

    def __init__(self, workers: int | None, options: Mapping[str, Any]):
        chosen = {key: value for key, value in options.items() if key != "cluster"}
        cluster = options.get("cluster", "slurm")
        if cluster == "slurm" and not shutil.which("sbatch"):
            raise WmzooError("--engine slurm: there is no sbatch here; run this on a login node of the cluster.")
        self.threads, self.slots = threads_of(chosen, "cpus_per_task"), workers or 10_000
        try:
            self.executor = submitit.AutoExecutor(folder=LOGS, cluster=cluster)
            self.executor.update_parameters(**{"name": "wmzoo", "cpus_per_task": self.threads, **chosen})
        except (ValueError, NameError, TypeError, RuntimeError) as error:
            told = str(error).splitlines()[0].rstrip(".")
            raise WmzooError(f"--engine slurm: --option: {told}; correct it or leave it out.") from error

    def start(self, folder: Path) -> SlurmJob:
        """Queue a cell."""
        return SlurmJob(self.executor.submit(run_and_wait, str(Path.cwd()), str(folder)))

    def close(self) -> None:
        """Jobs that are left in the queue stay there."""


class SlurmJob:
    """A job of SLURM that runs a cell.

    Args:
        job: submitit's.
    """

    def __init__(self, job: Any):
        self.job = job

    def poll(self) -> int | None:
        """Its exit code; None while it runs or waits."""
        if not self.job.done():
            return None
        error = self.job.exception()
        return 1 if error is not None else int(self.job.result())

    def stop(self, force: bool) -> None:
        """Cancel it."""
        self.job.cancel(check=False)
