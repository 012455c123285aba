"""What the released code calls each weight, and what it is called here.

A dense layer's kernel is stored ``[in, out]`` there and ``[out, in]`` here. The ensemble's output holds all means, then
all log-variances there; here, the two of each variate lie side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from wmzoo.errors import WmzooError
from wmzoo.recipe import Choice
from wmzoo.released.pickles import Tree

Change = Callable[[np.ndarray], np.ndarray]


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _halves_to_pairs(array: np.ndarray) -> np.ndarray:
    """``[..., 2 D]`` of means then log-variances to one pair for each variate."""
    return array.reshape(*array.shape[:-1], 2, -1).swapaxes(-1, -2).reshape(array.shape)


def _pairs_to_halves(array: np.ndarray) -> np.ndarray:
    return array.reshape(*array.shape[:-1], -1, 2).swapaxes(-1, -2).reshape(array.shape)


@dataclass(frozen=True)
class Leaf:
    """One array: its path in the released tree, its name in the model, and how to go from one to the other and back."""

    released: str
    own: str
    read: Change = _same
    write: Change = _same


def leaves(backbone: Choice) -> list[Leaf]:
    """The arrays of a model.

    Args:
        backbone: one of ``KINDS``, with its settings.
    """
    config = backbone.config
    return list(_LEAVES[backbone.name](config.layers if backbone.name == "mlp_ensemble" else config.blocks))


def _trajworld(blocks: int) -> Iterator[Leaf]:
    yield from _embedding()
    yield Leaf("embed_variate/embedding", "backbone.copies.0.embed.variate.weight")
    for i in range(blocks):
        theirs, ours = f"blocks_{i}", f"backbone.copies.0.blocks.{i}"
        yield from _attention(f"{theirs}/Attention_1", f"{theirs}/LayerNorm_1", f"{ours}.temporal")
        yield from _feed(theirs, (2, 3), f"{theirs}/LayerNorm_3", f"{ours}.temporal_feed")
        yield from _attention(f"{theirs}/Attention_0", f"{theirs}/LayerNorm_0", f"{ours}.across")
        yield from _feed(theirs, (0, 1), f"{theirs}/LayerNorm_2", f"{ours}.across_feed")
    yield from _dense("head", "backbone.copies.0.head")


def _tdm(blocks: int) -> Iterator[Leaf]:
    yield from _embedding()
    for i in range(blocks):
        theirs, ours = f"blocks_{i}", f"backbone.copies.0.blocks.{i}"
        yield from _attention(f"{theirs}/Attention_1", f"{theirs}/LayerNorm_1", f"{ours}.attention")
        yield from _feed(theirs, (2, 3), f"{theirs}/LayerNorm_3", f"{ours}.feed")
    yield from _dense("head", "backbone.copies.0.head")


def _mlp_ensemble(layers: int) -> Iterator[Leaf]:
    for i in range(layers):
        for name in ("weight", "bias"):
            yield Leaf(f"backbones_{i}/{name}", f"backbone.copies.0.hidden.{i}.{name}")
    for name in ("weight", "bias"):
        yield Leaf(f"output_layer/{name}", f"backbone.copies.0.out.{name}", _halves_to_pairs, _pairs_to_halves)
    yield Leaf("max_logvar", "head.highest")
    yield Leaf("min_logvar", "head.lowest")


_LEAVES = {"trajworld": _trajworld, "tdm": _tdm, "mlp_ensemble": _mlp_ensemble}
KINDS = tuple(_LEAVES)


def _dense(theirs: str, ours: str) -> Iterator[Leaf]:
    yield Leaf(f"{theirs}/kernel", f"{ours}.weight", np.transpose, np.transpose)
    yield Leaf(f"{theirs}/bias", f"{ours}.bias")


def _norm(theirs: str, ours: str) -> Iterator[Leaf]:
    yield Leaf(f"{theirs}/scale", f"{ours}.weight")
    yield Leaf(f"{theirs}/bias", f"{ours}.bias")


def _embedding() -> Iterator[Leaf]:
    yield from _dense("embed_proj", "backbone.copies.0.embed.project")
    yield Leaf("embed_obs_act/embedding", "backbone.copies.0.embed.kind.weight")
    yield Leaf("embed_timestep/embedding", "backbone.copies.0.embed.position.weight")


def _attention(theirs: str, norm: str, ours: str) -> Iterator[Leaf]:
    for i, name in enumerate(("query", "key", "value", "out")):
        yield from _dense(f"{theirs}/Dense_{i}", f"{ours}.{name}")
    yield from _norm(norm, f"{ours}.norm")


def _feed(theirs: str, dense: tuple[int, int], norm: str, ours: str) -> Iterator[Leaf]:
    yield from _dense(f"{theirs}/Dense_{dense[0]}", f"{ours}.up")
    yield from _dense(f"{theirs}/Dense_{dense[1]}", f"{ours}.down")
    yield from _norm(norm, f"{ours}.norm")


def flatten(tree: Tree, prefix: str = "") -> dict[str, np.ndarray]:
    """The leaves of nested dictionaries by path, such as ``head/bias``, all as arrays."""
    found: dict[str, np.ndarray] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flatten(value, f"{prefix}{key}/")
        else:
            found[f"{prefix}{key}"] = np.asarray(value)
    return found


def unflatten(arrays: dict[str, np.ndarray]) -> Tree:
    """The inverse of :func:`flatten`."""
    tree: Tree = {}
    for path, array in arrays.items():
        *outer, last = path.split("/")
        group = tree
        for key in outer:
            group = group.setdefault(key, {})
        group[last] = array
    return tree


def check(found: dict[str, np.ndarray], expected: dict[str, tuple[int, ...]], path: object) -> None:
    """Refuse a file whose arrays are not those of its model.

    Args:
        found: the file's arrays by released path.
        expected: shapes by released path.
        path: of the file, to name it.

    Raises:
        WmzooError: with the arrays that are missing, that are extra, and that are of another shape or type.
    """
    missing = [f"{name} {list(shape)}" for name, shape in expected.items() if name not in found]
    extra = [name for name in found if name not in expected]
    both = {name: (found[name], shape) for name, shape in expected.items() if name in found}
    other = [
        f"{n} is {list(array.shape)}, not {list(shape)}" for n, (array, shape) in both.items() if array.shape != shape
    ]
    other += [f"{n} is {array.dtype}, not float32" for n, (array, _) in both.items() if array.dtype != np.float32]
    listed = {"lacks": missing, "holds what the model has not:": extra, "does not fit:": other}
    problems = [f"{path}: {what} {', '.join(arrays)}." for what, arrays in listed.items() if arrays]
    if problems:
        raise WmzooError(*problems)
