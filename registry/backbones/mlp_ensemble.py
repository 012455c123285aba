"""An ensemble of fully connected networks on zero-padded states and actions, one step back and no further.

Paper: Chua et al. 2018, PETS (arXiv 1805.12114); Yu et al. 2020, MOPO (arXiv 2005.13239); as a baseline in Yin et al.
2025 (arXiv 2502.01366), section 5
All members are trained at once, as one batch of weights. Tokens of more than one feature are first projected to
``embed`` features each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor, nn

from wmzoo.backbone import Backbone, BackboneConfig, Layout
from wmzoo.recipe import setting
from wmzoo.trajectories import ACTION, REWARD, STATE

if TYPE_CHECKING:
    from wmzoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Config(BackboneConfig):
    """Settings of the padded ensemble."""

    members: int = setting(7, "independent networks, trained together", symbol="E", low=1)
    elites: int = setting(5, "members with the least validation loss, whose even mixture predicts", low=1)
    layers: int = setting(4, "hidden layers", low=1)
    width: int = setting(640, "units of a hidden layer", low=1)
    max_states: int = setting(90, "states are padded with zeros to this number", low=1)
    max_actions: int = setting(30, "actions are padded with zeros to this number", low=1)
    embed: int = setting(8, "features that a token of several features is projected to", low=1)
    pad: float = setting(0.0, "what the padded inputs are")
    decay: tuple[float, ...] = setting((), "weight of the squared weights of each layer in the loss", low=0.0)

    def problems(self, recipe: Recipe) -> Iterator[tuple[str, str]]:
        """Settings that can't go together, as (name, sentence)."""
        yield from super().problems(recipe)
        if self.decay and len(self.decay) != self.layers + 1:
            yield "decay", f"{self.layers} hidden layers and the output need {self.layers + 1} numbers, or none at all."


OFFICIAL = {"decay": [2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4], "pad": 0.0}
OFFICIAL_TRAIN = {"optimizer": "adam", "weight_decay": 0.0, "schedule": "constant", "warmup": 0, "clip": None}


PRESETS = {
    "XXS": {"width": 18},
    "XS": {"width": 46},
    "S": {"width": 112},
    "M": {"width": 304},
    "L": {"width": 640},
    "paper": {"width": 640},
}


class MLPEnsemble(Backbone):
    """The padded ensemble.

    Args:
        config: its settings.
        features: token features, ``K``.
        outputs: head parameters of each variate, ``P``.
    """

    batched = True
    looks_back = 1

    def __init__(self, config: Config, features: int, outputs: int):
        super().__init__()
        self.config, self.outputs = config, outputs
        self.columns = config.max_states + 1 + config.max_actions
        self.predicted = config.max_states + 1
        members, inner = config.members, features if features == 1 else config.embed
        self.embed = None if features == 1 else BatchedLinear(members, features, config.embed)
        sizes = [(config.max_states + config.max_actions) * inner] + [config.width] * config.layers
        self.hidden = nn.ModuleList([BatchedLinear(members, a, b) for a, b in zip(sizes, sizes[1:], strict=False)])
        self.out = BatchedLinear(members, config.width, self.predicted * outputs)

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Head parameters ``[E, B, T, M, P]`` of every next row, each from the row before it alone."""
        batch, time, variates, _ = tokens.shape
        x = rearrange(tokens, "b t m k -> 1 (b t m) k")
        x = x if self.embed is None else self.embed(x)
        x = rearrange(x, "e (b t m) k -> e b t m k", b=batch, t=time)
        states, actions = self._filled(variates)
        features, every = x.shape[-1], self.config.max_states
        first = [slice(states * features), slice(every * features, (every + actions) * features)]
        last = [slice(states * self.outputs), slice(every * self.outputs, None)]
        x = _pick(x, self._sources(layout.role, states, actions), self.config.pad)
        x = nn.functional.silu(self.hidden[0](rearrange(x, "e b t s k -> e (b t) (s k)"), inputs=first))
        for layer in list(self.hidden)[1:]:
            x = nn.functional.silu(layer(x))
        out = rearrange(self.out(x, outputs=last), "e (b t) (s p) -> e b t s p", b=batch, p=self.outputs)
        return _pick(out, self._slots(layout.role, states))

    def penalty(self) -> Tensor:
        """Half the squared weights of each layer by its decay, summed over members (Chua et al. 2018)."""
        layers = [*self.hidden, self.out]
        terms = [w / 2 * (layer.weight**2).sum() for w, layer in zip(self.config.decay, layers, strict=False)]
        return torch.stack(terms).sum() if terms else torch.zeros(())

    def fits(self, columns: int, predicted: int) -> str:
        """Why an environment is too wide for the padding; empty if it is not."""
        states, actions = predicted - 1, columns - predicted
        if states > self.config.max_states or actions > self.config.max_actions:
            return (
                f"{states} states and {actions} actions, but it is padded to {self.config.max_states} and "
                f"{self.config.max_actions}; raise max_states or max_actions."
            )
        return ""

    def _filled(self, variates: int) -> tuple[int, int]:
        """How many slots for states and for actions so many columns can fill; zeros in the others would add nothing."""
        most = self.config.max_states, self.config.max_actions
        return most if self.config.pad else (min(most[0], variates - 1), min(most[1], variates - 1))

    def _sources(self, role: Tensor, state_slots: int, action_slots: int) -> Tensor:
        """``[B, slots]`` the column that each input is read from; -1 for the padding."""
        states, actions = (role == STATE).sum(1, keepdim=True), (role == ACTION).sum(1, keepdim=True)
        state = torch.arange(state_slots, device=role.device).expand(len(role), -1)
        action = torch.arange(action_slots, device=role.device).expand(len(role), -1)
        first = torch.where(state < states, state, -1)
        return torch.cat([first, torch.where(action < actions, action + states + 1, -1)], 1)

    def _slots(self, role: Tensor, state_slots: int) -> Tensor:
        """``[B, M]`` the output that holds each column's parameters; -1 where nothing is predicted."""
        column = torch.arange(role.shape[1], device=role.device).expand_as(role)
        return torch.where(role == STATE, column, torch.where(role == REWARD, state_slots, -1))


def _pick(x: Tensor, index: Tensor, fill: float = 0.0) -> Tensor:
    """Gather ``[E, B, T, N, F]`` along N by ``[B, W]`` indices; -1 gives ``fill``."""
    chosen = index.clamp_min(0)[None, :, None, :, None].expand(x.shape[0], -1, x.shape[2], -1, x.shape[4])
    return torch.where((index >= 0)[None, :, None, :, None], x.gather(3, chosen), fill)


class BatchedLinear(nn.Module):
    """One dense layer for each member, ``[E, N, in]`` to ``[E, N, out]``."""

    def __init__(self, members: int, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))
        std = 1 / (2 * math.sqrt(inputs))
        nn.init.trunc_normal_(self.weight, std=std, a=-2 * std, b=2 * std)

    def forward(self, x: Tensor, inputs: Sequence[slice] = (), outputs: Sequence[slice] = ()) -> Tensor:
        """``[E, N, in]``, or ``[1, N, in]`` for all members, to ``[E, N, out]``; of some inputs or outputs, if told."""
        weight, bias = _joined(self.weight, 1, inputs), _joined(self.bias, 2, outputs)
        return torch.baddbmm(bias, x.expand(len(weight), -1, -1), _joined(weight, 2, outputs))


def _joined(x: Tensor, dim: int, parts: Sequence[slice]) -> Tensor:
    """Some parts of an axis, one behind another; all of it if none are named, or if they are all there is."""
    kept = [x[(slice(None),) * dim + (part,)] for part in parts]
    return x if sum(part.shape[dim] for part in kept) in (0, x.shape[dim]) else torch.cat(kept, dim)
