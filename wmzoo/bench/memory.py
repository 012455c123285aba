"""``wmzoo bench memory``: the most that each kind of work holds, beside what it must hold.

Each case runs in a process of its own, whose memory before the work is subtracted.
"""

from __future__ import annotations

import mmap
import multiprocessing
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wmzoo.bench.machine import Machine
from wmzoo.bench.made import ACTIONS, made_corpus, made_variates, made_window, uniform
from wmzoo.bench.rollout import BLOCKS
from wmzoo.bench.rows import MB, Row
from wmzoo.bench.train import BATCH, chosen, make_trainer
from wmzoo.bench.train import Config as TrainBench
from wmzoo.data.store import open_corpus
from wmzoo.data.windows import RESIDENT, Batches, mapped
from wmzoo.model import build
from wmzoo.progress import bar
from wmzoo.recipe import load, setting
from wmzoo.training import choose_device, peak_memory_mb

TRAIN, READ = "train.h5", "read.h5"
WATCHED = 2e-4  # seconds between looks at what is held while reading


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is measured."""

    backbone: str = setting("", "whose training; of all if empty", choices=("", *BLOCKS))
    batch: int = setting(16, "windows of a training step of trajworld and tdm", symbol="B", low=8)
    blocks: int = setting(0, "of smaller models; the paper's number if 0", low=0)
    trajectories: int = setting(16, "imagined at once", symbol="S", low=1)
    horizons: tuple[int, ...] = setting((25, 250), "of rollouts", unit="steps", low=1)
    megabytes: float = setting(300.0, "of a made-up corpus that is read at random", unit="MB", low=1.0)
    mapped: float = setting(64.0, "data.memory of that reading", unit="MB", low=1.0)
    device: str = setting("auto", "CUDA where there is one if auto", choices=("auto", "cpu", "cuda"))


@dataclass(frozen=True)
class Held:
    """What a case held: MB at the most, MB that it must hold, and what these are."""

    peak: float
    must: float
    why: str


def bench(config: Config, machine: Machine, quiet: bool = False) -> list[Row]:
    """Measure the peaks; beside training with ``accumulate`` and ``recompute``, the plain way without them."""
    cases = _cases(config)
    held: dict[str, Held] = {}
    with tempfile.TemporaryDirectory() as folder, bar("bench memory", len(cases), quiet=quiet, unit="cases") as report:
        made_corpus(Path(folder) / TRAIN, 1)
        made_corpus(Path(folder) / READ, config.megabytes)
        for number, (name, (work, *arguments)) in enumerate(cases.items()):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                held[name] = pool.apply(work, (config, folder, *arguments))
            report(number + 1, name)
    return [_row(name, held) for name in cases]


def _row(name: str, held: dict[str, Held]) -> Row:
    found, plain = held[name], held.get(name.partition(", train.")[0])
    beside = plain if ", train." in name else None
    return Row(
        what=name,
        unit=MB,
        ours=found.peak,
        least=found.peak,
        most=found.peak,
        floor=found.must,
        why=found.why,
        reference=None if beside is None else beside.peak,
        way="" if beside is None else "training without the setting",
    )


def _cases(config: Config) -> dict[str, tuple[Callable[..., Held], Any]]:
    found: dict[str, tuple[Any, ...]] = {}
    for backbone in chosen(config.backbone):
        base = f"{backbone}, a step of {BATCH[backbone] if backbone == 'mlp_ensemble' else config.batch} windows"
        found[base] = (_training, backbone)
        if backbone != "mlp_ensemble":
            found[f"{base}, train.accumulate=8"] = (_training, backbone, "train.accumulate=8")
            found[f"{base}, train.recompute=true"] = (_training, backbone, "train.recompute=true")
    for horizon in config.horizons:
        found[f"trajworld, {config.trajectories} trajectories of {horizon} steps"] = (_rollout, horizon)
    found[f"reading {config.megabytes:,.0f} MB at random, data.memory={config.mapped:g}"] = (_reading, config.mapped)
    return found


def _training(config: Config, folder: str, backbone: str, *settings: str) -> Held:
    batch = 0 if backbone == "mlp_ensemble" else config.batch
    bench = TrainBench(batch=batch, blocks=config.blocks, device=config.device)
    before = _held(choose_device(config.device))
    trainer = make_trainer(bench, Path(folder) / TRAIN, backbone, "fp32", *settings)
    for number in range(2):
        trainer.update(*trainer.sampler[number])
    must = 16 * sum(p.numel() for p in trainer.model.parameters()) / 1e6
    peak = peak_memory_mb(trainer.device) - before
    return Held(peak, must, "training: weights, gradients and two moments of the optimizer")


@torch.no_grad()
def _rollout(config: Config, folder: str, horizon: int) -> Held:
    device = choose_device(config.device)
    smaller = [f"model.backbone.blocks={config.blocks}"] if config.blocks else []
    before, variates = _held(device), made_variates()
    model = build(load("trajworld", smaller), variates).eval().to(device)
    actions = uniform(config.trajectories, horizon, ACTIONS).to(device)
    model.rollout(made_window(variates, 1, model.context).to(device), actions, horizon, clip=True)
    weights = sum(p.numel() for p in model.parameters())
    backbone = model.recipe.model.backbone.config
    rows = config.trajectories * len(variates.names) * model.context
    kept = 2 * 2 * rows * backbone.blocks * backbone.width  # two memories of keys and values
    return Held(peak_memory_mb(device) - before, 4 * (weights + kept) / 1e6, "rollouts: weights and two memories")


def _held(device: torch.device) -> float:
    """MB held now: of the GPU, or of the process, where the system tells; else the most so far."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 1e6
    if not RESIDENT.is_file():
        return peak_memory_mb(device)
    return int(RESIDENT.read_text().split()[1]) * mmap.PAGESIZE / 1e6


def _reading(config: Config, folder: str, memory: float) -> Held:
    from wmzoo.bench.data import Config as DataBench
    from wmzoo.bench.data import make_loader

    corpus = open_corpus(Path(folder) / READ)
    loader: Batches = make_loader(corpus, DataBench(), memory * 1e6)
    before, peak = mapped(), 0  # of mapped files; the peak of the process would remember how the corpus was made
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(WATCHED):
            peak = max(peak, mapped() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(int(config.megabytes)):
        loader[number]
    done.set()
    watcher.join()
    return Held(peak / 1e6, memory, "reading: data.memory")
