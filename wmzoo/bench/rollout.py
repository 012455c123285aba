"""``wmzoo bench rollout``: what an imagined step takes on this processor, with memories, without them, and elsewhere.

The models have random weights and the size of the paper; the shapes are those of HalfCheetah and Walker2d. Processor
seconds of all threads are what to compare: other work on the machine changes them less than the time on the clock.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from wmzoo.imagination import PRECISIONS
from wmzoo.model import WorldModel, build
from wmzoo.progress import bar, console
from wmzoo.recipe import load, setting, settings_of
from wmzoo.training import peak_memory_mb
from wmzoo.trajectories import ACTION, REWARD, STATE, Variates, Window, first_row, window_of

STATES, ACTIONS = 17, 6

RELEASED = {
    "trajworld": {"step": 1.035, "mean of a chunk": 1.396},
    "tdm": {"step": 29.7, "mean of a chunk": 27.1},
}
"""Processor seconds an imagined step of 128 trajectories by the released JAX program, see ``CONDITIONS``; each is the
mean of two runs. A chunk is the 10 steps that it takes between two readings of the last 10 rows (of the TDM: the mean
of its first, second and last step)."""
CONDITIONS = (
    "released JAX program of Yin et al. (2025), measured by us: jax 0.4.31, float32, jit-compiled and warm, 128 "
    "trajectories, 17 states, 6 actions, 14 rows kept, 2 cores of an AMD EPYC with AVX-512, no GPU"
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is imagined."""

    backbone: str = setting("trajworld", "whose rollouts", choices=("trajworld", "tdm", "mlp_ensemble"))
    trajectories: int = setting(128, "imagined at once", symbol="S", low=1)
    horizon: int = setting(25, "steps of a rollout from a full history", unit="steps", symbol="H", low=1)
    precisions: tuple[str, ...] = setting(PRECISIONS, "of the products; a figure for each", choices=PRECISIONS)
    horizons: tuple[int, ...] = setting((25, 250), "of which the peak memory is told", unit="steps", low=1)
    watched: int = setting(16, "trajectories of which the peak memory is told", low=1)
    blocks: int = setting(0, "of a smaller model; the paper's number if 0", low=0)


def bench(overrides: Sequence[str] = (), quiet: bool = False) -> dict[str, Any]:
    """Measure rollouts on this processor.

    Args:
        overrides: ``key=value`` settings, see :class:`Config`.
        quiet: show no bar.

    Returns:
        Plain JSON: ``settings``; ``memory``, the peak in MB after a rollout of each horizon; ``steps``, a record for
        each precision with processor and clock seconds a step; ``released``, those of the JAX program.
    """
    config: Config = settings_of(Config, overrides)
    model, variates = _model(config), _variates()
    total = sum(config.horizons) + len(config.precisions) * (model.context + config.horizon + 1)
    with bar(f"bench rollout {config.backbone}", total, quiet=quiet) as report:
        count = _Count(report)
        # First, so that nothing else has raised the peak before.
        memory = {str(h): _peak(model, variates, config.watched, h, count) for h in sorted(config.horizons)}
        steps = [_measured(model, variates, config, precision, count) for precision in config.precisions]
    alike = config.trajectories == 128 and not config.blocks
    return {
        "backbone": config.backbone,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trajectories": config.trajectories,
        "horizon": config.horizon,
        "threads": torch.get_num_threads(),
        "memory": {"trajectories": config.watched, "peak_mb": memory},
        "steps": steps,
        "released": {"conditions": CONDITIONS, "cpu_s": RELEASED.get(config.backbone, {}) if alike else {}},
    }


class _Count:
    """Imagined steps so far, for the bar."""

    def __init__(self, report: Callable[[int, str], None]):
        self.report, self.done = report, 0

    def add(self, steps: int, what: str) -> None:
        """Tell the bar of more steps."""
        self.done += steps
        self.report(self.done, what)


def _model(config: Config) -> WorldModel:
    changes = {"trajworld": "blocks", "tdm": "blocks", "mlp_ensemble": "layers"}
    smaller = [f"model.backbone.{changes[config.backbone]}={config.blocks}"] if config.blocks else []
    return build(load(config.backbone, smaller), _variates()).eval()


def _variates() -> Variates:
    """Columns of the width of HalfCheetah's and Walker2d's."""
    roles = np.array([STATE] * STATES + [REWARD] + [ACTION] * ACTIONS)
    ones = np.ones(len(roles), "f4")
    names = tuple(f"column {i}" for i in range(len(roles)))
    return Variates(names=names, roles=roles, low=-ones, high=ones, mean=0 * ones, std=ones, dt=0.05)


def _uniform(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _full(variates: Variates, count: int, rows: int) -> Window:
    return window_of(_uniform(count, rows, len(variates.names)), variates)


def _peak(model: WorldModel, variates: Variates, trajectories: int, horizon: int, count: _Count) -> float:
    """Most MB that the process has held after a rollout of this horizon."""
    full = _full(variates, 1, model.context)
    model.rollout(full, _uniform(trajectories, horizon, ACTIONS), horizon, clip=True)
    count.add(horizon, "memory")
    return peak_memory_mb(torch.device("cpu"))


@dataclass(frozen=True)
class _Seconds:
    """What something took: of the processor, all threads, and on the clock."""

    cpu: float
    clock: float

    @classmethod
    def of(cls, work: Callable[[], Any]) -> tuple[_Seconds, Any]:
        """Do some work; what it took, and what it gave."""
        cpu, clock = time.process_time(), time.perf_counter()
        found = work()
        return cls(time.process_time() - cpu, time.perf_counter() - clock), found


def _measured(model: WorldModel, variates: Variates, config: Config, precision: str, count: _Count) -> dict[str, Any]:
    """Seconds a step in one precision."""
    single = _single(model, variates, config.trajectories, precision, count)
    full, actions = _full(variates, 1, model.context), _uniform(config.trajectories, config.horizon, ACTIONS)
    whole, _ = _Seconds.of(lambda: model.rollout(full, actions, config.horizon, precision=precision, clip=True))
    count.add(config.horizon, f"{precision} rollout")
    again = _uncached(model, variates, config.trajectories, precision)
    count.add(1, f"{precision} without memories")
    return {
        "precision": precision,
        "step": {"cpu_s": single.cpu, "clock_s": single.clock},
        "rollout": {"cpu_s": whole.cpu / config.horizon, "clock_s": whole.clock / config.horizon},
        "uncached": {"cpu_s": again.cpu, "clock_s": again.clock},
    }


def _single(model: WorldModel, variates: Variates, trajectories: int, precision: str, count: _Count) -> _Seconds:
    """A step from a first state, the median of those behind half of the context or more."""
    horizon = model.context
    state = model.initial(first_row(_uniform(trajectories, STATES), variates), horizon, precision=precision)
    actions, taken = _uniform(trajectories, ACTIONS), []
    for h in range(horizon):
        seconds, (state, _) = _Seconds.of(partial(model.step, state, actions))
        if h >= horizon // 2:
            taken.append(seconds)
        count.add(1, f"{precision} steps")
    return _Seconds(statistics.median(s.cpu for s in taken), statistics.median(s.clock for s in taken))


def _uncached(model: WorldModel, variates: Variates, trajectories: int, precision: str) -> _Seconds:
    """A step that reads all rows again, of as many rows as a rollout sees in the mean."""
    rows = -(-3 * model.context // 4)
    full = _full(variates, trajectories, rows)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        return _Seconds.of(lambda: model.next_row(full))[0]


def print_bench(found: dict[str, Any], as_json: bool = False) -> None:
    """Print what :func:`bench` found, as a table or as JSON."""
    if as_json:
        print(json.dumps(found, indent=1))
        return
    title = f"{found['backbone']}, {found['parameters'] / 1e6:.2f} M parameters, {found['trajectories']} trajectories"
    table = Table(title=f"{title}, {found['threads']} threads; seconds an imagined step")
    for name in ("", "cpu s", "clock s", "cpu, of the released program"):
        table.add_column(name, justify="left" if not name else "right")
    released = found["released"]["cpu_s"]
    for record in found["steps"]:
        for key, (what, other) in _ROWS.items():
            what = what.format(precision=record["precision"], horizon=found["horizon"])
            seconds, theirs = record[key], released.get(other)
            share = f"{seconds['cpu_s'] / theirs:.0%} of {theirs:.3g}" if theirs else "-"
            table.add_row(what, f"{seconds['cpu_s']:.3g}", f"{seconds['clock_s']:.3g}", share)
    screen = console()
    screen.print(table)
    if released:
        screen.print(f"Compared with: {found['released']['conditions']}.")
    peaks = ", ".join(f"{mb:.0f} MB after {h} steps" for h, mb in found["memory"]["peak_mb"].items())
    screen.print(f"Peak memory of the process, {found['memory']['trajectories']} trajectories: {peaks}.")


_ROWS = {
    "step": ("{precision}, one step behind what is kept", "step"),
    "rollout": ("{precision}, mean of {horizon} steps from a full history", "mean of a chunk"),
    "uncached": ("{precision}, one step that reads all rows again", None),
}
