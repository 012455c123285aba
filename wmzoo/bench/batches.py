"""``wmzoo bench batches``: training on many environments at once, packed, padded, and one environment a batch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch.utils.flop_counter import FlopCounterMode

from wmzoo.bench.machine import Machine
from wmzoo.bench.made import made_environments
from wmzoo.bench.rows import TOKENS, Row, measure
from wmzoo.progress import bar
from wmzoo.recipe import load, setting
from wmzoo.training import Trainer
from wmzoo.trajectories import Window

BACKBONES = ("trajworld", "tdm")
KINDS = {"mixed": "mixed, packed", "single_environment": "of a single environment"}
MADE_STATES = (3, 5, 8, 11, 14, 17, 24, 39, 67)  # of a made-up corpus, about as widths are spread in unitraj-mini
WAY = "the same batches padded to their widest window"


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is trained."""

    corpus: str = setting("", "of many environments; a made-up one if empty")
    backbone: str = setting("", "whose steps; of both if empty", choices=("", *BACKBONES))
    size: str = setting("S", "preset of the backbone")
    batch: int = setting(16, "windows of a step", symbol="B", low=1)
    batches: int = setting(8, "steps of a measurement, on as many batches", low=1)
    repeats: int = setting(2, "measurements", low=1)
    device: str = setting("auto", "CUDA where there is one if auto", choices=("auto", "cpu", "cuda"))


def bench(config: Config, machine: Machine, quiet: bool = False) -> list[Row]:
    """Useful tokens (real scalars) a second of whole optimizer steps, loading of the batches apart.

    Raises:
        WmzooError: the corpus can't be opened, or the backbone has no such size.
    """
    cases = [(b, kind) for b in ((config.backbone,) if config.backbone else BACKBONES) for kind in KINDS]
    with tempfile.TemporaryDirectory() as folder, bar("bench batches", len(cases), quiet=quiet, unit="cases") as report:
        corpus = config.corpus or str(made_environments(Path(folder) / "made.h5", MADE_STATES))
        rows = []
        for number, (backbone, kind) in enumerate(cases):
            trainer = _trainer(config, corpus, backbone, kind, Path(folder))
            rows.append(_row(config, machine, trainer, kind))
            report(number + 1, f"{backbone}, batches {KINDS[kind]}")
        return rows


def _row(config: Config, machine: Machine, trainer: Trainer, kind: str) -> Row:
    batches = [trainer.sampler[number] for number in range(config.batches)]
    tokens = sum(int(window.variate_mask.sum()) * window.values.shape[1] for window, _ in batches)
    ours = measure(_steps(trainer, batches), config.repeats, trainer.device)
    weights = 2 * 16 * sum(p.numel() for p in trainer.model.parameters()) * len(batches)
    floor, why = machine.floor(_flops(trainer, batches), weights, trainer.precision)
    padded = None
    if kind == "mixed":
        trainer.model.packs = ""
        padded = tokens / measure(_steps(trainer, batches), 1, trainer.device, warm=False).seconds[0]
    return ours.row(
        f"{trainer.recipe.name} {config.size}, batches of {config.batch} {KINDS[kind]}",
        TOKENS,
        tokens,
        floor=tokens / floor,
        why=why,
        reference=padded,
        way=WAY if padded else "",
    )


def _trainer(config: Config, corpus: str, backbone: str, kind: str, folder: Path) -> Trainer:
    """The training loop on all environments of a corpus; nothing is written."""
    settings = [
        f"data.corpus={corpus}",
        "data.environments=['*']",
        f"data.batch={kind}",
        f"model.backbone.size={config.size}",
        f"train.batch_size={config.batch}",
        f"train.device={config.device}",
        f"tracking.folder={folder / 'runs'}",
    ]
    return Trainer(load(backbone, settings))


def _steps(trainer: Trainer, batches: list[tuple[Window, int]]) -> Callable[[], None]:
    def run() -> None:
        for window, rows in batches:
            trainer.update(window, rows)

    return run


def _flops(trainer: Trainer, batches: list[tuple[Window, int]]) -> float:
    """Counted FLOPs of the products of these steps, forwards and backwards, without padding."""
    kernel, trainer.model.kernel = trainer.model.kernel, "matmul"  # which the counter knows
    with FlopCounterMode(display=False) as counter:
        for window, rows in batches:
            trainer.model.loss(trainer.model.packed(window).to(trainer.device), rows).total.backward()
    trainer.optimizer.zero_grad()
    trainer.model.kernel = kernel
    return float(counter.get_total_flops())
