"""One training loop for every model: resumable to the bit, on one process or several, on a CPU or CUDA."""

from __future__ import annotations

import contextlib
import csv
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from wmzoo import checkpoint, compat, heap, tracking
from wmzoo.attention import choose_kernel
from wmzoo.cost import step_cost
from wmzoo.data.windows import Batches, batches, gather
from wmzoo.errors import WmzooError, nearest
from wmzoo.files import read_json, replacing, write_json
from wmzoo.interrupts import deferred
from wmzoo.model import Loss, WorldModel, build
from wmzoo.progress import bar
from wmzoo.recipe import Recipe, TrainConfig
from wmzoo.runs import RunData, prepare, run_folder
from wmzoo.trajectories import Window, moved

VALIDATION_BATCH = 256
FUSED = ("adam", "adamw", "sgd")  # optimizers of torch that have one kernel for all of their work, on every device
SHOWN_EVERY = 1.0  # seconds between looks at the losses, each of which waits for the device


def train(recipe: Recipe, *, resume: bool = False, quiet: bool = False) -> Path:
    """Train a recipe's model.

    Args:
        recipe: a checked recipe.
        resume: go on from the run's last checkpoint, if there is one.
        quiet: show no progress bar.

    Returns:
        The run's folder: ``best`` and ``last`` checkpoints, recipe, manifest, history, and the MLflow run's name.

    Raises:
        WmzooError: bad data, a run that exists already, a checkpoint of another recipe, a loss that is not finite.
    """
    with _processes() as (rank, world):
        trainer = Trainer(recipe, resume=resume, rank=rank, world=world)
        trainer.run(quiet=quiet or rank > 0)
        return trainer.folder


@contextlib.contextmanager
def _processes() -> Iterator[tuple[int, int]]:
    """This process's rank and their number, as ``torchrun`` tells; (0, 1) without it."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        yield 0, 1
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank(), world
    finally:
        dist.destroy_process_group()


class _Objective(nn.Module):
    """The model's loss as a forward pass, which DistributedDataParallel wraps."""

    def __init__(self, model: WorldModel):
        super().__init__()
        self.model = model

    def forward(self, window: Window, rows: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        loss = self.model.loss(window, rows)
        return loss.total, loss.terms, loss.windows


@dataclass(frozen=True, eq=False)
class _Point:
    """What a step found; it stays on the device until it is read, for reading waits for the device.

    Attributes:
        step: its number.
        learning_rate: of the step.
        terms: the loss, its parts and other numbers, scalars.
        losses: ``[B]`` share of each window in the loss.
        row, source: ``[B]`` of the windows, as in :class:`wmzoo.trajectories.Window`.
    """

    step: int
    learning_rate: float
    terms: dict[str, Tensor]
    losses: Tensor
    row: Tensor
    source: Tensor


class Trainer:
    """The state of a training run.

    Args:
        recipe: a checked recipe.
        resume: go on from the last checkpoint.
        rank, world: this process and their number.
    """

    def __init__(self, recipe: Recipe, *, resume: bool = False, rank: int = 0, world: int = 1):
        self.recipe, self.rank, self.world = recipe, rank, world
        self.settings: TrainConfig = recipe.train
        if self.settings.batch_size % (world * self.settings.accumulate):
            parts = world * self.settings.accumulate
            raise WmzooError(f"train.batch_size: {self.settings.batch_size} can't be shared by {parts} equal parts.")
        self.folder = run_folder(recipe)
        self.data: RunData = prepare(recipe)
        self.device = choose_device(self.settings.device)
        if self.device.type == "cpu":
            heap.keep_pages()
        self.precision = choose_precision(self.settings.precision, self.device)
        self.step, self.seconds, self.tokens, self.best = 0, 0.0, 0, float("inf")
        self.history: list[dict[str, float]] = []
        self.run_id = ""
        last = self._last_checkpoint(resume)
        self.manifest = {**self.data.manifest, "earlier": self._earlier()}
        self.model = self._fresh() if last is None else checkpoint.restore(last)[0]
        self.model.to(self.device).train()
        self.optimizer = make_optimizer(self.model, self.settings)
        self.schedule = make_schedule(self.optimizer, self.settings)
        self.facts = self._facts()
        if last is not None:
            self._restore(last)
        if self.settings.recompute:
            for copy in self.model.backbone.copies:
                recompute_blocks(copy)
        if self.settings.compile:
            for copy in self.model.backbone.copies:
                copy.compile()
        objective = _Objective(self.model)
        self.objective: Any = DistributedDataParallel(objective) if world > 1 else objective
        early = self.model.objective.starts_early(self.model)
        memory = recipe.data.memory * 1e6
        self.sampler = Batches(self.data.sampler(recipe), self.data.variates, rank, world, early, memory)

    def _earlier(self) -> list[str]:
        """Fingerprints of the episodes that the weights have learned from before; kept once the run has begun."""
        path = self.folder / "manifest.json"
        if path.is_file():
            return list(read_json(path).get("earlier", ()))
        return checkpoint.seen_before(self.recipe.init_from) if self.recipe.init_from else []

    def _fresh(self) -> WorldModel:
        model = build(self.recipe, self.data.variates)
        if self.recipe.init_from:
            checkpoint.initialise(model, self.recipe.init_from)
        return model

    def run(self, quiet: bool = False) -> None:
        """Train to the last step, validating and saving on the way."""
        with contextlib.ExitStack() as ending:
            if self.rank == 0:
                self._make_folder()
                with deferred():  # a run that nobody knows of could not be ended
                    self._open()
                    ending.callback(tracking.end, self.recipe, self.run_id, "FAILED")
            self._loop(quiet)
            if self.rank == 0:
                self._finish()
            ending.pop_all()

    def _open(self) -> None:
        """Open the run in the tracking store, or go on with it, and let the folder know of it."""
        self.run_id = tracking.start(self.recipe, self.data.manifest, self.facts, self.run_id)
        write_json(self.folder / "run.json", tracking.run_record(self.recipe, self.run_id, "running"))

    def _loop(self, quiet: bool) -> None:
        if not self.settings.steps:
            self.history.append({"step": 0})
            self._validate_and_save()
        points: list[dict[str, float]] = []
        unread: list[_Point] = []
        every = max(1, self.settings.validate_every // 20)
        with bar(self.recipe.name, self.settings.steps, self.step, quiet) as progress:
            source = batches(self.sampler, self.step, self.settings.steps)
            started = read = time.perf_counter()
            for window, rows in source:
                unread.append(self.update(window, rows))
                self.step += 1
                due = self.step % every == 0 or self.step == self.settings.steps
                if due or time.perf_counter() - read > SHOWN_EVERY:
                    points += self._read(unread)
                    unread, read = [], time.perf_counter()
                    progress(self.step, f"loss {points[-1]['loss']:.3f}")
                if due:
                    self.history.append(self._average(points))
                    points = []
                if self.step % self.settings.validate_every == 0 or self.step == self.settings.steps:
                    self.seconds += time.perf_counter() - started
                    progress(self.step, self._validate_and_save())
                    started = time.perf_counter()

    def update(self, window: Window, rows: int) -> _Point:
        """One optimizer step on this process's windows; ``rows`` counts the whole batch's.

        What is padded is looked up here, while the windows are on the host, so that the step waits for no device.
        """
        self.tokens += int(window.variate_mask.sum()) * window.values.shape[1] * self.world
        clipped, count = moved(self.model.clipped(window), self.device), self.settings.accumulate
        parts = [self.model.packed(window.index(slice(i, None, count))).to(self.device) for i in range(count)]
        return self._optimize(parts, rows, clipped)

    def _optimize(self, parts: list[Window], rows: int, clipped: Tensor) -> _Point:
        """The step on a batch that was cut into parts and lies on the device."""
        # Seeding every step makes dropout a function of the step, so that a resumed run repeats it.
        torch.manual_seed(int(np.random.SeedSequence([self.recipe.seed, self.step, self.rank]).generate_state(1)[0]))
        found = [self._backward(part, rows, last=part is parts[-1]) for part in parts]
        limit = float("inf") if self.settings.clip is None else self.settings.clip
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        terms = {name: torch.stack([terms[name] for terms, _ in found]).sum(0) for name in found[0][0]}
        terms |= {"gradient_norm": norm, "clipped": clipped}
        rate = float(self.schedule.get_last_lr()[0])
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return _Point(self.step, rate, terms, *(torch.cat(x) for x in zip(*(own for _, own in found), strict=True)))

    def _backward(self, part: Window, rows: int, last: bool) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """Add the gradients of some windows; their loss and its terms, and ``[b]`` loss, row and source of each."""
        together = contextlib.nullcontext() if self.world == 1 or last else self.objective.no_sync()
        with together, self._autocast():
            total, terms, windows = self.objective(part, rows)
        (total * self.world).backward()
        assert part.row is not None and part.source is not None
        return {"loss": total.detach(), **terms}, (windows, part.row, part.source)

    def _read(self, points: list[_Point]) -> list[dict[str, float]]:
        """The numbers of some steps.

        Raises:
            WmzooError: the loss or the gradient of one was not finite.
        """
        names = list(points[0].terms)
        # One transfer for all.
        table = torch.stack([torch.stack([p.terms[name].float() for name in names]) for p in points]).tolist()
        found = [dict(zip(names, row, strict=True)) for row in table]
        for point, numbers in zip(points, found, strict=True):
            if not np.isfinite([numbers["loss"], numbers["gradient_norm"]]).all():
                raise WmzooError(self._not_finite(point))
        return [{**numbers, "learning_rate": p.learning_rate} for p, numbers in zip(points, found, strict=True)]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16)

    def _not_finite(self, point: _Point) -> str:
        """Which window broke the loss (the worst one, if only the gradient did), and what to do."""
        index = int(torch.nan_to_num(point.losses, nan=torch.inf).argmax())
        item, row = self.data.items[int(point.source[index])], int(point.row[index])
        episode = int(item.episode_of(np.asarray(row)))
        last = self.folder / checkpoint.LAST
        kept = f"the last good checkpoint is {last}" if last.is_file() else "no checkpoint had been written yet"
        return (
            f"training stopped at step {point.step}: the loss or its gradient is not finite (window of {item.key}, "
            f"episode {episode}, step {row - int(item.offsets[episode])}); lower train.learning_rate or look at that "
            f"episode; {kept}."
        )

    def _average(self, points: list[dict[str, float]]) -> dict[str, float]:
        """Means of the last steps; over all processes, whose losses are shares of one sum."""
        mean = {name: float(np.mean([p[name] for p in points])) for name in points[0]}
        if self.world > 1:
            shares = torch.tensor([mean["loss"], mean["state"], mean["reward"]], device=self.device)
            dist.all_reduce(shares)
            mean |= dict(zip(("loss", "state", "reward"), shares.tolist(), strict=True))
        return {"step": self.step, **mean}

    def _validate_and_save(self) -> str:
        """Choose the elites, keep the best and the last checkpoint, send the metrics; a word for the progress bar."""
        members, components = self.validate()
        order = members.argsort()[: len(self.model.elites)]
        self.model.elites.copy_(order.sort().values)
        loss = float(members[order].mean())
        self.history[-1]["validation_loss"] = loss
        if len(components) > 1:
            self.history[-1] |= {f"validation_loss/{c}": float(own[order].mean()) for c, own in components.items()}
        better, self.best = loss < self.best, min(loss, self.best)
        if self.rank == 0:
            tracking.log(self.recipe, self.run_id, self.history)
            self._write_history()
            if better:
                checkpoint.save(self.folder / checkpoint.BEST, self.model, {}, self._about())
            tensors, plain = checkpoint.flatten_optimizer(self.optimizer)
            about = {**self._about(), "optimizer": plain, "schedule": self.schedule.state_dict()}
            checkpoint.save(self.folder / checkpoint.LAST, self.model, tensors, about)
        self.history = []
        return f"validation {loss:.3f}"

    @torch.no_grad()
    def validate(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Each member's loss ``[E]`` on the validation windows, without dropout or resampling; and by component."""
        self.model.eval()
        source, ends = self.data.validation(self.settings.validation_windows)
        component = np.array([item.component for item in self.data.items])[source]
        found = {str(c): self._loss_on(source[component == c], ends[component == c]) for c in np.unique(component)}
        self.model.train()
        total = torch.stack([own for own, _ in found.values()]).sum(0)
        rows = sum(count for _, count in found.values())
        return total / rows, {name: own / count for name, (own, count) in found.items()}

    def _loss_on(self, source: np.ndarray, ends: np.ndarray) -> tuple[Tensor, int]:
        """The sum of each member's losses ``[E]`` on the rows of some windows, and the number of rows."""
        total = torch.zeros(self.model.members, device=self.device)
        rows = 0
        for start in range(0, len(ends), VALIDATION_BATCH):
            chosen = slice(start, start + VALIDATION_BATCH)
            length, variates = self.recipe.data.window, self.data.variates
            window = gather(self.data.items, source[chosen], ends[chosen], length, variates).to(self.device)
            with self._autocast():
                loss: Loss = self.model.loss(window)
            count = int(self.model.objective.weights(self.model, window).sum())
            total, rows = total + loss.members * count, rows + count
        return total, rows

    def _last_checkpoint(self, resume: bool) -> Path | None:
        """The checkpoint to go on from, if any; refuses a run that is finished, or one that was not to be resumed."""
        record = self.folder / "run.json"
        if record.is_file():
            known = read_json(record)
            if known["status"] == "finished":
                raise WmzooError(f"{self.folder}: already trained; evaluate it, or delete the folder to train again.")
            if not resume:
                raise WmzooError(f"{self.folder}: an unfinished run; add --resume to go on, or delete the folder.")
            self.run_id = known["mlflow_run_id"]
        last = self.folder / checkpoint.LAST
        return last if last.is_file() else None

    def _make_folder(self) -> None:
        """Begin the run's folder, once all that can be wrong with the recipe and the data has been checked."""
        with replacing(self.folder / "recipe.yaml") as partial:
            partial.write_text(self.recipe.to_yaml())
        write_json(self.folder / "manifest.json", self.manifest)

    def _restore(self, last: Path) -> None:
        tensors, header = checkpoint.read(last)
        if header["recipe_hash"] != self.recipe.hash:
            raise WmzooError(f"{last}: a checkpoint of another recipe; resume with the recipe it was made from.")
        if header["manifest_hash"] != self.data.manifest["sha256"]:
            raise WmzooError(f"{last}: the corpus or its split has changed since; restore it, or delete {self.folder}.")
        checkpoint.restore_optimizer(self.optimizer, tensors, header["optimizer"])
        self.schedule.load_state_dict(header["schedule"])
        self.step, self.best = header["step"], header["best"]
        self.seconds, self.tokens = header["seconds"], header["tokens"]

    def _about(self) -> dict[str, Any]:
        """What a checkpoint tells of the run; the random state is a function of the seed and the step."""
        return {
            "recipe_hash": self.recipe.hash,
            "manifest_hash": self.data.manifest["sha256"],
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
            "tokens": self.tokens,
        }

    def _facts(self) -> dict[str, str]:
        """What ran, for the run's tags."""
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu"
        return {
            "attention": choose_kernel(self.settings.attention, self.device, self.precision),
            "device": name,
            "precision": str(self.precision).removeprefix("torch."),
            "compat": compat.label(self.recipe),
            "processes": str(self.world),
        }

    def _write_history(self) -> None:
        """Append the averaged losses to ``history.csv``, less what a killed run had written beyond its checkpoint."""
        path = self.folder / "history.csv"
        names = list(self.history[-1])  # the last one has those of the validation too
        first = self.history[0]["step"]
        rows: list[dict[str, Any]] = []
        if path.is_file():
            rows = [r for r in csv.DictReader(path.open()) if float(r["step"]) < first]
        with replacing(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows([*rows, *self.history])

    def _finish(self) -> None:
        cost = step_cost(self.recipe, self.data.variates, self.data.shares(self.recipe))
        totals = {
            "parameters": cost.parameters,
            "train_tokens": self.tokens,
            "train_flops": cost.flops * self.settings.steps,
            "train_seconds": self.seconds,
            "peak_memory_mb": peak_memory_mb(self.device),
            "steps": self.settings.steps,
        }
        tracking.finish(self.recipe, self.run_id, totals, self.folder)


def choose_device(wanted: str) -> torch.device:
    """The device that a recipe's ``auto``, ``cpu`` or ``cuda`` stands for.

    Raises:
        WmzooError: CUDA was asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise WmzooError("train.device: cuda is not available here; use auto or cpu.")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted, int(os.environ.get("LOCAL_RANK", 0))) if wanted == "cuda" else torch.device(wanted)


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The type that products are computed in; weights stay in fp32."""
    bf16 = wanted == "bf16" or (wanted == "auto" and device.type == "cuda")
    return torch.bfloat16 if bf16 else torch.float32


def recompute_blocks(backbone: nn.Module) -> None:
    """Let the blocks of a backbone keep their inputs alone, and compute the rest again in the backward pass.

    Raises:
        WmzooError: it has no blocks.

    Source: Chen et al. (2016), arXiv 1604.06174.
    """
    blocks = getattr(backbone, "blocks", ())
    if not blocks:
        raise WmzooError(f"train.recompute: {type(backbone).__name__} is not made of blocks; leave the setting out.")
    for block in blocks:
        block.forward = partial(torch.utils.checkpoint.checkpoint, block.forward, use_reentrant=False)


def make_optimizer(model: nn.Module, settings: TrainConfig) -> torch.optim.Optimizer:
    """Any optimizer of torch.optim, or else of timm, by its lower-case name.

    Raises:
        WmzooError: neither has it.
    """
    own = {name.lower(): cls for name, cls in vars(torch.optim).items() if isinstance(cls, type)}
    options = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer in own and own[settings.optimizer] is not torch.optim.Optimizer:
        fused = {"fused": True} if settings.optimizer in FUSED else {}
        return own[settings.optimizer](model.parameters(), **options, **fused)
    from wmzoo.vision import import_timm

    timm_optim = import_timm().optim
    if settings.optimizer not in timm_optim.list_optimizers():
        known = [*own, *timm_optim.list_optimizers()]
        raise WmzooError(f'train.optimizer: "{settings.optimizer}" is not known. {nearest(settings.optimizer, known)}')
    return timm_optim.create_optimizer_v2(model.parameters(), opt=settings.optimizer, **options)


def make_schedule(optimizer: torch.optim.Optimizer, settings: TrainConfig) -> torch.optim.lr_scheduler.LRScheduler:
    """Linear warm-up from 0, then a cosine to 0 or, if so set, no change."""
    schedules = torch.optim.lr_scheduler
    fall = settings.cosine or max(1, settings.steps - settings.warmup)
    constant = settings.schedule == "constant"
    after = schedules.ConstantLR(optimizer, 1.0) if constant else schedules.CosineAnnealingLR(optimizer, fall)
    if not settings.warmup:
        return after
    rise = schedules.LambdaLR(optimizer, lambda step: step / settings.warmup)
    return schedules.SequentialLR(optimizer, [rise, after], milestones=[settings.warmup])


def peak_memory_mb(device: torch.device) -> float:
    """Most memory held so far: of the GPU, or of the process, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status")  # on Linux the other counts what the process was started by, too
    lines = status.read_text().splitlines() if status.is_file() else []
    peak = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    if peak is not None:
        return peak / 1e3
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1e3 if sys.platform != "darwin" else 1e6)
