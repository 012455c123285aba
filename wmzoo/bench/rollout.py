"""``wmzoo bench rollout``: what an imagined step takes, with memories and, the plain way, without them.

The models have random weights and the size of the paper; the shapes are those of HalfCheetah and Walker2d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from wmzoo.bench.machine import Machine
from wmzoo.bench.made import ACTIONS, STATES, made_variates, made_window, uniform
from wmzoo.bench.rows import Row, measure
from wmzoo.imagination import PRECISIONS
from wmzoo.model import WorldModel, build
from wmzoo.progress import bar
from wmzoo.recipe import load, setting
from wmzoo.training import choose_device
from wmzoo.trajectories import first_row

RELEASED = {
    "trajworld": {"step": 1.035, "mean of a chunk": 1.396},
    "tdm": {"step": 29.7, "mean of a chunk": 27.1},
}
"""Processor seconds an imagined step of 128 trajectories by the released JAX program of Yin et al. (2025), measured by
us: jax 0.4.31, float32, jit-compiled and warm, 17 states, 6 actions, 14 rows kept, two cores of an AMD EPYC with
AVX-512. Each is the mean of two runs. A chunk is the 10 steps between two readings of the last 10 rows (of
the TDM: the mean of its first, second and last step)."""
BLOCKS = {"trajworld": "blocks", "tdm": "blocks", "mlp_ensemble": "layers"}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WAY = "all rows are read again at every step, without memories"


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is imagined."""

    backbone: str = setting("trajworld", "whose rollouts", choices=tuple(BLOCKS))
    trajectories: int = setting(128, "imagined at once", symbol="S", low=1)
    horizon: int = setting(25, "steps of a rollout from a full history", unit="steps", symbol="H", low=1)
    precisions: tuple[str, ...] = setting(PRECISIONS, "of the products; figures for each", choices=PRECISIONS)
    blocks: int = setting(0, "of a smaller model; the paper's number if 0", low=0)
    device: str = setting("auto", "CUDA where there is one if auto", choices=("auto", "cpu", "cuda"))


def bench(config: Config, machine: Machine, quiet: bool = False) -> list[Row]:
    """Measure rollouts: one step behind what is kept, and the mean of a rollout, in each precision."""
    model = _model(config).to(choose_device(config.device))
    rows: list[Row] = []
    with bar(f"bench rollout {config.backbone}", 3 * len(config.precisions), quiet=quiet, unit="figures") as report:
        for precision in config.precisions:
            rows += _Rollouts(model, config, machine, precision).rows(report, 3 * len(rows) // 2)
    return rows


def _model(config: Config) -> WorldModel:
    smaller = [f"model.backbone.{BLOCKS[config.backbone]}={config.blocks}"] if config.blocks else []
    return build(load(config.backbone, smaller), made_variates()).eval()


class _Rollouts:
    """The figures of one precision."""

    def __init__(self, model: WorldModel, config: Config, machine: Machine, precision: str):
        self.model, self.config, self.machine, self.precision = model, config, machine, precision
        self.device, self.variates = machine.device, made_variates()

    def rows(self, report: Any, done: int) -> list[Row]:
        """A step, with the plain way beside it, and the mean of a rollout."""
        name, released = f"{self.config.backbone} {self.precision}", self._released()
        plain = measure(self._again, 1, self.device, warm=False).seconds[0]
        report(done + 1, f"{self.precision} without memories")
        floor, why = self._floor()
        common = {"floor": floor, "why": why, "reference": plain, "way": WAY}
        unit = "cpu s" if self.device.type == "cpu" else "s"
        step = self._steps().row(f"{name}, one imagined step", unit, released=released.get("step"), **common)
        report(done + 2, f"{self.precision} steps")
        whole = measure(self._rollout, 1, self.device, warm=False)
        report(done + 3, f"{self.precision} rollout")
        what, chunk = f"{name}, mean of {self.config.horizon} imagined steps", released.get("mean of a chunk")
        return [step, whole.row(what, unit, self.config.horizon, released=chunk, **common)]

    def _released(self) -> dict[str, float]:
        """Figures of the released program, if the work is the same and done on a CPU."""
        alike = self.config.trajectories == 128 and not self.config.blocks and self.device.type == "cpu"
        return RELEASED.get(self.config.backbone, {}) if alike else {}

    def _steps(self) -> Any:
        """Steps from a first state, those behind half of the context or more."""
        from wmzoo.bench.rows import Measured

        taken = [measure(step, 1, self.device, warm=False).seconds[0] for step in self._later_steps()]
        return Measured(tuple(taken[len(taken) // 2 :]))

    def _later_steps(self) -> Any:
        start = first_row(uniform(self.config.trajectories, STATES), self.variates).to(self.device)
        state = self.model.initial(start, self.model.context, precision=self.precision)
        action = uniform(self.config.trajectories, ACTIONS).to(self.device)

        def step() -> None:
            nonlocal state
            state, _ = self.model.step(state, action)

        return [step] * self.model.context

    def _rollout(self) -> None:
        full = made_window(self.variates, 1, self.model.context).to(self.device)
        actions = uniform(self.config.trajectories, self.config.horizon, ACTIONS).to(self.device)
        self.model.rollout(full, actions, self.config.horizon, precision=self.precision, clip=True)

    @torch.no_grad()
    def _again(self) -> None:
        """A step that reads as many rows as a rollout sees in the mean."""
        full = made_window(self.variates, self.config.trajectories, -(-3 * self.model.context // 4)).to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            self.model.next_row(full)

    def _floor(self) -> tuple[float, str]:
        """Of one step: its products are counted on a few trajectories."""
        few = 2
        state = self.model.initial(first_row(uniform(few, STATES), self.variates).to(self.device), 2)
        with FlopCounterMode(display=False) as counter:
            self.model.step(state, uniform(few, ACTIONS).to(self.device))
        flops = counter.get_total_flops() * self.config.trajectories / few
        moved = 4 * sum(p.numel() for p in self.model.parameters())
        return self.machine.floor(flops, moved, TYPES[self.precision])
