"""Attention over variates, by layer: who looks at whom.

The weights are computed anew from each layer's input, by hooks, so that the kernels that train and imagine need not
keep them. Interleaved attention has a layer over variates in every block. Where all scalars of a window are one
sequence, the weights on a variate are summed over its rows.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from wmzoo.attention import Visible
from wmzoo.layers import Attention

if TYPE_CHECKING:
    from wmzoo.explain import Shown
    from wmzoo.model import WorldModel
    from wmzoo.trajectories import Window

PAIRS = {"qpos": "qvel", "cos": "qvel", "sin": "qvel"}
"""What comes before the colon in the name of a position, and in that of its velocity."""
AT_ONCE = 2**24
"""Weights of a head and layer that are computed at once."""


def measure(shown: Shown) -> dict[str, Any]:
    """The map of each layer and what of it lies between positions and their velocities, or why there is none.

    Returns:
        ``names`` and ``layers``: each with a ``layer`` name, its ``map`` (rows look at columns, each row sums to 1) and
        :func:`shares`.
    """
    model = shown.model
    layers = maps_of(model, shown.window.until(-1))
    if not layers:
        return {"none": f"{model.recipe.model.backbone.name} has no attention over variates, so there is no map of it."}
    return {
        "names": list(shown.item.names),
        "layers": [
            {"layer": name, "map": map_.tolist(), **shares(map_, shown.item.names, shown.item.bodies)}
            for name, map_ in layers.items()
        ],
    }


def maps_of(model: WorldModel, window: Window) -> dict[str, np.ndarray]:
    """The map ``[M, M]`` of each layer over variates, a mean over windows, rows and heads; of the first member.

    Args:
        model: any; without attention there are no maps.
        window: ``[N, T, M]``.
    """
    rows, count = window.values.shape[1:]
    width = count + -count % model.backbone.first.multiple
    size = max(1, AT_ONCE // (rows * width) ** 2)
    total: dict[str, np.ndarray] = {}
    for i in range(0, len(window), size):
        part = window.index(slice(i, i + size)).to(next(model.parameters()).device)
        with capture(model.backbone.first) as kept, torch.no_grad():
            model.parameters_of(part)
        for name, (weights, causal) in kept.items():
            found = by_variate(weights, rows, width, causal)
            if found is not None:
                total[name] = total.get(name, 0) + found[:count, :count] * len(part) / len(window)
    return total


@contextlib.contextmanager
def capture(module: nn.Module) -> Iterator[dict[str, tuple[Tensor, bool]]]:
    """Collect the attention weights of what runs meanwhile.

    Args:
        module: whose layers are watched.

    Yields:
        By the name of the layer, ``[N, L, L]`` weights averaged over heads, and whether it is causal.
    """
    found: dict[str, tuple[Tensor, bool]] = {}

    def hook(name: str) -> Any:
        def keep(layer: Attention, inputs: tuple[Any, ...], settings: dict[str, Any], output: Tensor) -> None:
            found[name] = weights_of(layer, inputs[0], settings["causal"], settings["keys"]), settings["causal"]

        return keep

    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, Attention)}
    handles = [layer.register_forward_hook(hook(name), with_kwargs=True) for name, layer in layers.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def weights_of(layer: Attention, x: Tensor, causal: bool, keys: Tensor | None) -> Tensor:
    """The weights ``[N, L, L]`` of an attention layer for its input ``[N, L, D]``, averaged over heads."""
    q, k = (project(x).unflatten(-1, (layer.heads, -1)) for project in (layer.query, layer.key))
    scores = torch.einsum("nlhd,nmhd->nhlm", q, k) / math.sqrt(q.shape[-1])
    mask = Visible(causal, keys, layer.padding_last).mask(q, k)
    return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1).nan_to_num().mean(1)


def by_variate(weights: Tensor, rows: int, count: int, causal: bool) -> np.ndarray | None:
    """``[M, M]`` mean weights from variate to variate; None for attention over the time of one variate.

    Args:
        weights: ``[N, M, M]`` over the variates of a row, or causal ``[N, T M, T M]`` over a flattened window.
        rows: of the window, ``T``.
        count: of its variates, ``M``.
        causal: of the layer.
    """
    if weights.shape[1] != (rows * count if causal else count):
        return None
    folded = weights.unflatten(2, (-1, count)).sum(2).unflatten(1, (-1, count))  # [N, T, M, M]
    return np.asarray(folded.mean((0, 1)).cpu().numpy(), np.float64)


def shares(map_: np.ndarray, names: Sequence[str], bodies: Sequence[str]) -> dict[str, Any]:
    """How much of the attention goes where the mechanics would have it, as weights of one variate on another.

    Args:
        map_: ``[M, M]``, rows look at columns.
        names, bodies: of the columns, see :class:`wmzoo.data.store.TrajectorySet`; bodies are empty where unknown.

    Returns:
        ``position_velocity``: the mean weight between a joint's position and its velocity, both ways; ``other``: that
        between all other pairs of states; ``pairs``: how many joints there are; and mean weights between states of one
        body (``same_body``), of bodies joined to each other (``joined``) and of others (``apart``). None for no pairs.
    """
    states = [i for i, name in enumerate(names) if not name.startswith("action:") and name != "reward"]
    linked = joints(names)
    ways = [(i, j) for i in states for j in states if i != j]
    own = [pair for pair in ways if tuple(sorted(pair)) in linked]
    found: dict[str, Any] = {"pairs": len(linked), "position_velocity": _mean(map_, own)}
    found["other"] = _mean(map_, [pair for pair in ways if tuple(sorted(pair)) not in linked])
    groups: dict[str, list[tuple[int, int]]] = {"same_body": [], "joined": [], "apart": []}
    for i, j in ways if all(bodies[i] for i in states) else []:
        groups[_relation(bodies[i], bodies[j])].append((i, j))
    return found | {name: _mean(map_, pairs) for name, pairs in groups.items()}


def joints(names: Sequence[str]) -> set[tuple[int, int]]:
    """Places of the positions and the velocity of each joint, in ascending order."""
    place = {name: i for i, name in enumerate(names)}
    found = set()
    for name, i in place.items():
        kind, _, joint = name.partition(":")
        other = f"{PAIRS.get(kind, '')}:{joint}"
        if other in place:
            found.add((min(i, place[other]), max(i, place[other])))
    return found


def _relation(some: str, other: str) -> str:
    if some == other:
        return "same_body"
    return "joined" if some.rpartition("/")[0] == other or other.rpartition("/")[0] == some else "apart"


def _mean(map_: np.ndarray, pairs: Sequence[tuple[int, int]]) -> float | None:
    return float(np.mean([map_[pair] for pair in pairs])) if pairs else None


def describe(found: Mapping[str, Any]) -> str:
    """The layer that joins positions to velocities most."""
    told = [layer for layer in found["layers"] if layer["position_velocity"] is not None and layer["other"]]
    if not told:
        return f"attention: {len(found['layers'])} maps; no names tell a joint's position from its velocity."
    best = max(told, key=lambda layer: layer["position_velocity"] / layer["other"])
    return (
        f"attention: weight between a joint's position and its velocity {best['position_velocity']:.3f}, between other "
        f"states {best['other']:.3f} ({best['position_velocity'] / best['other']:.2f} times), in {best['layer']}."
    )
