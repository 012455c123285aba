"""``wmzoo bench attention``: how the cost of a block grows with steps, variates, batch and width, against theory.

A block of interleaved attention (over time, then over variates) and two of flattened attention (over all scalars) have
the same weights; both are measured forward and backward. Theory is the counted FLOPs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from wmzoo import registry
from wmzoo.backbone import Backbone, Layout
from wmzoo.bench.machine import Machine
from wmzoo.bench.rows import Row, measure
from wmzoo.progress import bar
from wmzoo.recipe import setting
from wmzoo.trajectories import STATE

KINDS = {"trajworld": ("interleaved", 1), "tdm": ("flattened", 2)}
BASE = {"T": 20, "M": 24, "B": 2, "D": 128}
NAMES = {"T": "steps", "M": "variates", "B": "batch", "D": "width"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which sizes are measured; of the other three, those of a small model."""

    steps: tuple[int, ...] = setting((10, 20, 40, 80, 160), "of a window", symbol="T", low=2)
    variates: tuple[int, ...] = setting((4, 8, 16, 32, 64, 128), "of an environment", symbol="M", low=2)
    batch: tuple[int, ...] = setting((1, 2, 4, 8), "windows at once", symbol="B", low=1)
    width: tuple[int, ...] = setting((64, 128, 256, 512), "of a token, a multiple of 4", symbol="D", low=4)
    repeats: int = setting(3, "measurements of each size, the least counts", low=1)
    png: str = setting("bench-attention.png", "picture to write; none if empty")


@dataclass(frozen=True)
class Curve:
    """Of one kind of attention along one axis: its sizes, seconds and counted FLOPs."""

    axis: str
    backbone: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    flops: tuple[float, ...]

    @property
    def slopes(self) -> tuple[float, float]:
        """Of seconds and of FLOPs over the upper half of the sizes, in logarithms of both."""
        upper = len(self.sizes) // 2 - (len(self.sizes) == 2)
        x = np.log(self.sizes[upper:])
        return tuple(float(np.polyfit(x, np.log(y[upper:]), 1)[0]) for y in (self.seconds, self.flops))  # type: ignore[return-value]


def bench(config: Config, machine: Machine, quiet: bool = False) -> list[Row]:
    """Measure the curves, draw them, and give the largest size of each axis as a row."""
    axes = {"T": config.steps, "M": config.variates, "B": config.batch, "D": config.width}
    total = sum(len(sizes) for sizes in axes.values()) * len(KINDS)
    found: list[Curve] = []
    with bar("bench attention", total, quiet=quiet, unit="sizes") as report:
        for axis, sizes in axes.items():
            for backbone in KINDS:
                points = []
                for size in sorted(sizes):
                    points.append(_point(backbone, {**BASE, axis: size}, config.repeats, machine.device))
                    report(sum(len(c.sizes) for c in found) + len(points), f"{KINDS[backbone][0]} {axis} = {size}")
                seconds, flops = zip(*points, strict=True)
                found.append(Curve(axis, backbone, tuple(sorted(sizes)), seconds, flops))
    if config.png:
        draw(found, Path(config.png))
    return [_row(curve, machine) for curve in found]


def _row(curve: Curve, machine: Machine) -> Row:
    floor, why = machine.floor(curve.flops[-1], 0, torch.float32)
    slope, theory = curve.slopes
    kind, size = KINDS[curve.backbone][0], curve.sizes[-1]
    what = f"{kind}, {NAMES[curve.axis]} {size}: grows as {curve.axis}^{slope:.2f} (FLOPs: ^{theory:.2f})"
    seconds, unit = curve.seconds[-1], "cpu s" if machine.device.type == "cpu" else "s"
    return Row(what=what, unit=unit, ours=seconds, least=seconds, most=seconds, floor=floor, why=why)


def _point(backbone: str, size: dict[str, int], repeats: int, device: torch.device) -> tuple[float, float]:
    """Seconds and counted FLOPs, forward and backward."""
    module = _module(backbone, size).to(device)
    tokens = torch.rand(size["B"], size["T"], size["M"], 1, device=device)
    layout = Layout(
        role=torch.full((size["B"], size["M"]), STATE, device=device),
        place=torch.arange(size["M"], device=device).expand(size["B"], -1),
        valid=torch.ones(size["B"], size["T"], dtype=torch.bool, device=device),
        dense=True,
        kernel="auto",
    )
    seconds = min(measure(lambda: module(tokens, layout).sum().backward(), repeats, device).seconds)
    with torch.device("meta"):
        blank, empty = _module(backbone, size), torch.rand(tokens.shape)
        role, place, valid = (x.to("meta") for x in (layout.role, layout.place, layout.valid))
        plain = Layout(role=role, place=place, valid=valid, dense=True, kernel="matmul")
    with FlopCounterMode(display=False) as counter:
        blank(empty, plain).sum().backward()
    return seconds, float(counter.get_total_flops())


def _module(backbone: str, size: dict[str, int]) -> Backbone:
    found = registry.find("backbones", backbone)
    config = found.config(
        blocks=KINDS[backbone][1],
        width=size["D"],
        positions=max(size["T"], 2),
        max_variates=max(size["M"], 3),
        dropout=0.0,
    )
    return found.build(config, 1, 1)  # type: ignore[no-any-return]


def draw(curves: list[Curve], path: Path) -> None:
    """A panel an axis: points are measured, lines are counted FLOPs, put through the largest size."""
    from wmzoo.evaluation.style import COLOURS, MARKERS, light_grid, plt, save

    figure, panels = plt.subplots(1, len(NAMES), figsize=(16, 4), layout="constrained")
    for panel, axis in zip(panels, NAMES, strict=True):
        for number, curve in enumerate(c for c in curves if c.axis == axis):
            colour, kind = COLOURS[number], KINDS[curve.backbone][0]
            theory = np.array(curve.flops) * curve.seconds[-1] / curve.flops[-1]
            panel.plot(curve.sizes, theory, color=colour, linewidth=1)
            slope, counted = curve.slopes
            label = f"{kind}: slope {slope:.2f} (FLOPs {counted:.2f})"
            panel.plot(curve.sizes, curve.seconds, MARKERS[number], color=colour, label=label)
        panel.set(xscale="log", yscale="log", xlabel=f"{NAMES[axis]} {axis}", ylabel="seconds, forward and backward")
        panel.set_xticks(next(c.sizes for c in curves if c.axis == axis), minor=False)
        panel.set_xticklabels([str(s) for s in next(c.sizes for c in curves if c.axis == axis)])
        panel.minorticks_off()
        light_grid(panel, "both")
        panel.legend(fontsize="small", frameon=False)
    figure.suptitle(
        "A block's cost: measured (points), and by counted FLOPs through the largest size (lines)", fontsize="medium"
    )
    save(figure, path)
