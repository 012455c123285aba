"""What a training step costs, counted without training: parameters, tokens, FLOPs and memory."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from wmzoo.model import WorldModel, build
from wmzoo.recipe import Recipe
from wmzoo.trajectories import Variates, Window, window_of


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one optimizer step of the whole batch.

    Attributes:
        parameters: trainable numbers.
        tokens: scalars read, ``B * T * M``.
        flops: multiplications and additions of the forward and the backward pass.
        memory: bytes of weights, gradients, two moments of the optimizer and saved activations.
    """

    parameters: int
    tokens: int
    flops: int
    memory: int


def step_cost(recipe: Recipe, variates: dict[str, Variates]) -> Cost:
    """Count one training step of a recipe on its widest environment, on tensors without contents.

    Args:
        recipe: a checked recipe.
        variates: by environment.
    """
    widest = max(variates.values(), key=lambda v: len(v.names))
    part = recipe.train.batch_size // recipe.train.accumulate
    with torch.device("meta"):
        model = WorldModel(recipe, variates).train()
    model.kernel = "matmul"  # plain products, which the counter knows on any device
    window = blank_window(widest, 1, recipe.data.window, "meta")
    saved: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model.loss(window, rows=recipe.data.window - 1).total.backward()
    parameters = sum(p.numel() for p in model.parameters())
    activations = _bytes(saved) - _bytes([t for t in saved if t.untyped_storage()._cdata in _storages(model)])
    half = 0.5 if recipe.train.precision == "bf16" else 1.0
    return Cost(
        parameters=parameters,
        tokens=recipe.train.batch_size * recipe.data.window * len(widest.names),
        flops=counter.get_total_flops() * recipe.train.batch_size,
        memory=int(16 * parameters + half * activations * part),
    )


def _storages(model: WorldModel) -> set[int]:
    return {p.untyped_storage()._cdata for p in model.parameters()}


def _bytes(tensors: list[torch.Tensor]) -> int:
    """Memory behind some tensors; what several of them share counts once."""
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())


def blank_window(variates: Variates, batch: int, rows: int, device: torch.device | str) -> Window:
    """Zeros ``[batch, rows, M]``; on the device ``meta``, nothing but their shape."""
    return window_of(np.zeros((batch, rows, len(variates.names)), np.float32), variates).to(device)


TRIAL_FLOPS = 2e10  # of a timed step, most; half a second of a slow core


def step_seconds(recipe: Recipe, variates: dict[str, Variates], cost: Cost, device: torch.device) -> float:
    """Seconds that a training step takes here, less the optimizer's: timed, on a share of the batch if it is long.

    Args:
        recipe: a checked recipe.
        variates: by environment.
        cost: of a step.
        device: to time it on.
    """
    batch = max(1, min(recipe.train.batch_size, int(recipe.train.batch_size * TRIAL_FLOPS / cost.flops)))
    widest = max(variates.values(), key=lambda v: len(v.names))
    model = build(recipe, variates).to(device).train()
    window = blank_window(widest, batch, recipe.data.window, device)
    taken = []
    for _ in range(3):  # the first of them allocates
        began = time.perf_counter()
        model.loss(window, rows=batch * (recipe.data.window - 1)).total.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return min(taken) * recipe.train.batch_size / batch
