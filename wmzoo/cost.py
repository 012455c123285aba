"""What a training step costs, counted without training: parameters, tokens, FLOPs and memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from wmzoo.model import WorldModel
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
    window = _blank_window(widest, 1, recipe.data.window)
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


def _blank_window(variates: Variates, batch: int, rows: int) -> Window:
    """A window of nothing but shapes."""
    window = window_of(np.zeros((batch, rows, len(variates.names)), np.float32), variates)
    return window.to("meta")
