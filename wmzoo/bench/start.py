"""``wmzoo bench start``: how long one waits for a command, and for the first step of a training run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from wmzoo.bench.machine import Machine
from wmzoo.bench.made import made_corpus
from wmzoo.bench.rows import SECONDS, Measured, Row
from wmzoo.errors import WmzooError
from wmzoo.progress import bar
from wmzoo.recipe import setting

DATA = ("data.corpus=made.h5", "data.environments=[made/set0]")
ONE_STEP = ("train.steps=1", "train.warmup=0", "train.validation_windows=1")
TRAIN = ("train", "trajworld-cpu", "--quiet", *DATA, *ONE_STEP)
WMZOO = (sys.executable, "-m", "wmzoo")
# Ends where the first step begins, which no command can.
FIRST = """import os
from wmzoo import cli, training
assert training.Trainer.update
training.Trainer.update = lambda *_: os._exit(0)
raise SystemExit(cli.main())"""
CASES = {
    "wmzoo --help": (*WMZOO, "--help"),
    "wmzoo ls": (*WMZOO, "ls"),
    "wmzoo train trajworld-cpu, until its first step": (sys.executable, "-c", FIRST, *TRAIN, "experiment=first"),
    "wmzoo train trajworld-cpu, one step and its checkpoint": (*WMZOO, *TRAIN),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """How often."""

    repeats: int = setting(3, "runs of each command", low=1)


def bench(config: Config, machine: Machine, quiet: bool = False) -> list[Row]:
    """Run commands in a folder of their own, once unmeasured; the least of training is to import torch and MLflow."""
    with tempfile.TemporaryDirectory() as folder, bar("bench start", len(CASES), quiet=quiet, unit="cases") as report:
        made_corpus(Path(folder) / "made.h5", 1)
        imports = _seconds(config, folder, (sys.executable, "-c", "import torch, mlflow")).seconds
        rows = []
        for number, (what, command) in enumerate(CASES.items()):
            found = _seconds(config, folder, command)
            floor = min(imports) if "train" in command else None
            why = "importing torch and MLflow" if floor else ""
            rows.append(found.row(what, SECONDS, floor=floor, why=why))
            report(number + 1, what)
        return rows


def _seconds(config: Config, folder: str, command: tuple[str, ...]) -> Measured:
    """Seconds on the clock."""
    found = []
    for number in range(config.repeats + 1):
        began = time.perf_counter()
        # Each run is another one, of its own seed, in the same store.
        seed = [f"seed={number}"] if "train" in command else []
        done = subprocess.run([*command, *seed], cwd=folder, capture_output=True, check=False, env=dict(os.environ))
        if done.returncode:
            raise WmzooError(f"bench start: {' '.join(command)} failed: {done.stderr.decode().strip()[-300:]}")
        found.append(time.perf_counter() - began)
    return Measured(tuple(found[1:]))
