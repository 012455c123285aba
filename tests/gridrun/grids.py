"""A tiny grid in a working directory, run by the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml
from systems import system_corpus, toy_recipe

WMZOO = [sys.executable, "-m", "wmzoo"]


def write_grid(workdir: Path, section: dict, steps: int = 8, windows: int = 32, **changes) -> Path:
    """A corpus and ``toy.yaml`` with a grid."""
    system_corpus(workdir / "toy.h5")
    values = toy_recipe(train={"steps": steps, "validate_every": 4}, **changes)
    values["evaluate"] = {"transition": {"windows": windows, "rollouts": 4, "horizons": [1, 2]}}
    (workdir / "toy.yaml").write_text(yaml.safe_dump({**values, "grid": section}, sort_keys=False))
    return workdir / "toy.yaml"


def start(workdir: Path, *arguments: str) -> subprocess.Popen[str]:
    """``wmzoo grid toy.yaml`` in a process group of its own."""
    return subprocess.Popen(
        [*WMZOO, "grid", "toy.yaml", *arguments],
        cwd=workdir,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(workdir: Path, *arguments: str) -> tuple[int, str]:
    """Run it to its end: the exit code and what it printed."""
    process = start(workdir, *arguments)
    printed, _ = process.communicate(timeout=300)
    return process.returncode, printed


def attempts(workdir: Path) -> dict[str, int]:
    """How many processes worked on each cell, by the name of its run's folder."""
    return {path.parent.name: path.read_text().count("--- ") for path in workdir.glob("runs/toy/*/log.txt")}


def orphans(workdir: Path) -> list[str]:
    """Command lines of the processes that work in a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == workdir.resolve() and process.name != str(os.getpid()):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has ended, or is another user's
            continue
    return found
