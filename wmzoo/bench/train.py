"""``wmzoo bench train``: what a training step takes at the paper's size, beside the same with plain attention."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wmzoo.bench.machine import Machine
from wmzoo.bench.made import made_corpus
from wmzoo.bench.rollout import BLOCKS, TYPES
from wmzoo.bench.rows import Row, measure
from wmzoo.cost import step_cost
from wmzoo.progress import Report, bar
from wmzoo.recipe import load, setting
from wmzoo.training import Trainer

BATCH = {"trajworld": 64, "tdm": 16, "mlp_ensemble": 256}
RELEASED = {"trajworld": 36.8, "tdm": 9.2, "mlp_ensemble": 0.245}
"""Processor seconds a training step by the released JAX program of Yin et al. (2025), measured by us as in
:data:`wmzoo.bench.rollout.RELEASED`, at the batches above."""
WAY = "attention by einsum"


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is trained."""

    backbone: str = setting("", "whose steps; of all if empty", choices=("", *BLOCKS))
    precisions: tuple[str, ...] = setting(tuple(TYPES), "of the products; a figure for each", choices=tuple(TYPES))
    batch: int = setting(0, "windows of a step; the paper's number of each backbone if 0", symbol="B", low=0)
    blocks: int = setting(0, "of smaller models; the paper's number if 0", low=0)
    repeats: int = setting(2, "steps measured", low=1)
    settings: tuple[str, ...] = setting((), "more settings of the recipes, such as train.compile=true")
    device: str = setting("auto", "CUDA where there is one if auto", choices=("auto", "cpu", "cuda"))


def bench(config: Config, machine: Machine, quiet: bool = False) -> list[Row]:
    """Measure whole optimizer steps of the training loop, loading of the batch apart."""
    cases = [(backbone, precision) for backbone in chosen(config.backbone) for precision in config.precisions]
    with tempfile.TemporaryDirectory() as folder, bar("bench train", len(cases), quiet=quiet, unit="cases") as report:
        corpus = made_corpus(Path(folder) / "made.h5", 1)
        return list(_rows(config, machine, corpus, cases, report))


def _rows(
    config: Config, machine: Machine, corpus: Path, cases: list[tuple[str, str]], report: Report
) -> Iterator[Row]:
    for number, (backbone, precision) in enumerate(cases):
        trainer = make_trainer(config, corpus, backbone, precision)
        cost = step_cost(trainer.recipe, trainer.data.variates)
        # Weights, gradients and moments are read and written once.
        floor, why = machine.floor(cost.flops, 2 * 16 * cost.parameters, TYPES[precision])
        ours = measure(_step(trainer), config.repeats, trainer.device)
        plain = None
        if backbone != "mlp_ensemble":
            other = make_trainer(config, corpus, backbone, precision, "train.attention=einsum")
            plain = measure(_step(other), 1, trainer.device, warm=trainer.device.type == "cuda").seconds[0]
        report(number + 1, f"{backbone} {precision}")
        alike = not (config.batch or config.blocks or config.settings) and trainer.device.type == "cpu"
        yield ours.row(
            f"{backbone} {precision}, batch {trainer.settings.batch_size}",
            "cpu s" if trainer.device.type == "cpu" else "s",
            floor=floor,
            why=why,
            reference=plain,
            way=WAY if plain else "",
            released=RELEASED[backbone] if alike else None,
        )


def chosen(backbone: str) -> tuple[str, ...]:
    """The backbones that a setting asks for: one of them, or all."""
    return (backbone,) if backbone else tuple(BLOCKS)


def make_trainer(config: Config, corpus: Path, backbone: str, precision: str, *others: str) -> Trainer:
    """The training loop of a backbone's recipe at the paper's size on made-up data; nothing is written."""
    smaller = [f"model.backbone.{BLOCKS[backbone]}={config.blocks}"] if config.blocks else []
    settings = [
        f"data.corpus={corpus}",
        "data.environments=[made/set0]",
        f"train.batch_size={config.batch or BATCH[backbone]}",
        f"train.precision={precision}",
        f"train.device={config.device}",
        f"tracking.folder={corpus.parent / 'runs'}",
    ]
    return Trainer(load(backbone, [*settings, *smaller, *others, *config.settings]))


def _step(trainer: Trainer) -> Callable[[], object]:
    window, rows = trainer.sampler[0]
    return lambda: trainer.update(window, rows)
