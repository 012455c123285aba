"""What a training step costs, counted without training: parameters, tokens, FLOPs and memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from wmzoo.model import WorldModel, build
from wmzoo.recipe import SINGLE_ENVIRONMENT, Recipe
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


def step_cost(recipe: Recipe, variates: Mapping[str, Variates], shares: Mapping[str, float] | None = None) -> Cost:
    """Count one training step of a recipe on tensors without contents.

    Of several environments it is what a step costs on average, if none is padded to the width of another; else, and of
    memory, what it costs on the widest.

    Args:
        recipe: a checked recipe.
        variates: by environment.
        shares: how often each is drawn; all alike if left out.
    """
    part = recipe.train.batch_size // recipe.train.accumulate
    with torch.device("meta"):
        model = WorldModel(recipe, variates).train()
    model.kernel = "matmul"  # plain products, which the counter knows on any device
    widths: dict[tuple[int, int], tuple[int, int, int]] = {}
    for own in variates.values():
        widths.setdefault((own.states, own.actions), (len(own.names), *_count(model, own)))
    tokens, flops, activations = (max(counts) for counts in zip(*widths.values(), strict=True))
    if model.packs or recipe.data.batch == SINGLE_ENVIRONMENT:
        shares = shares or dict.fromkeys(variates, 1.0)
        drawn = [(shares[name], widths[own.states, own.actions]) for name, own in variates.items()]
        tokens, flops, _ = (sum(share * counts[i] for share, counts in drawn) / sum(shares.values()) for i in range(3))
    parameters = sum(p.numel() for p in model.parameters())
    half = 0.5 if recipe.train.precision == "bf16" else 1.0
    return Cost(
        parameters=parameters,
        tokens=round(recipe.train.batch_size * recipe.data.window * tokens),
        flops=round(recipe.train.batch_size * flops),
        memory=int(16 * parameters + half * activations * part),
    )


def _count(model: WorldModel, variates: Variates) -> tuple[int, int]:
    """FLOPs of one window, forwards and backwards, and the bytes of what is kept between the two."""
    rows = model.recipe.data.window
    window = blank_window(variates, 1, rows, "meta")
    saved: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model.loss(window, rows=rows - 1).total.backward()
    activations = _bytes(saved) - _bytes([t for t in saved if t.untyped_storage()._cdata in _storages(model)])
    return int(counter.get_total_flops()), activations


def _storages(model: WorldModel) -> set[int]:
    return {p.untyped_storage()._cdata for p in model.parameters()}


def _bytes(tensors: list[torch.Tensor]) -> int:
    """Memory behind some tensors; what several of them share counts once."""
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())


def blank_window(variates: Variates, batch: int, rows: int, device: torch.device | str) -> Window:
    """Zeros ``[batch, rows, M]``; on the device ``meta``, nothing but their shape."""
    return window_of(np.zeros((batch, rows, len(variates.names)), np.float32), variates).to(device)


TRIAL_FLOPS = 2e10  # of a timed step, most; half a second of a slow core


def step_seconds(recipe: Recipe, variates: Mapping[str, Variates], cost: Cost, device: torch.device) -> float:
    """Seconds that a training step takes here, less the optimizer's: timed, on a share of the batch if it is long.

    Args:
        recipe: a checked recipe.
        variates: by environment; the one of the most usual width is timed.
        cost: of a step.
        device: to time it on.
    """
    batch = max(1, min(recipe.train.batch_size, int(recipe.train.batch_size * TRIAL_FLOPS / max(cost.flops, 1))))
    usual = cost.tokens / recipe.train.batch_size / recipe.data.window
    timed = min(variates.values(), key=lambda own: abs(len(own.names) - usual))
    model = build(recipe, variates).to(device).train()
    window = blank_window(timed, batch, recipe.data.window, device)
    taken = []
    for _ in range(3):  # the first of them allocates
        began = time.perf_counter()
        model.loss(window, rows=batch * (recipe.data.window - 1)).total.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return min(taken) * recipe.train.batch_size / batch * usual / len(timed.names)
