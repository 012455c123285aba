"""Released checkpoints as world models: ``wmzoo import``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmzoo import checkpoint, compat, tracking
from wmzoo.collect.environments import D4RL, find_environment
from wmzoo.data.recordings import plain_names
from wmzoo.errors import WmzooError, nearest
from wmzoo.files import replacing, write_json
from wmzoo.model import WorldModel, build
from wmzoo.recipe import Source, check, overridden
from wmzoo.released import names, pickles
from wmzoo.released.pickles import Tree
from wmzoo.trajectories import Variates, roles_of

HEADS = 4  # no array tells how many; all released models have four
PADDED = (90, 30)  # states and actions of the padded ensemble
SIGNS = {"mlp_ensemble": "output_layer/weight", "trajworld": "embed_variate/embedding", "tdm": "embed_proj/kernel"}
"""An array by which each kind of model is known; the first that a file holds counts."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """Which columns are states, as the user tells it; the files do not.

    Attributes:
        environment: a known one, or empty.
        states: number of state dims, or None.
    """

    environment: str = ""
    states: int | None = None


def import_file(path: Path, kind: str, out: Path, told: Told = Told(), overrides: Sequence[str] = ()) -> Path:
    """Turn a released checkpoint into a run's folder that everything here can open.

    Args:
        path: ``trm_dynamics*.pkl``, or ``mlp_dynamics*.pkl`` with ``mu.npy`` and ``std.npy`` beside it.
        kind: ``trajworld``, ``tdm`` or ``mlp_ensemble``.
        out: folder to make.
        told: what the file does not tell.
        overrides: ``key.path=value`` settings of the model's recipe, such as ``name=mine``.

    Returns:
        The folder.

    Raises:
        WmzooError: no such kind, a file that is not what it should be, or a folder that is in use.
    """
    if kind not in names.KINDS:
        raise WmzooError(f'--as: unknown kind "{kind}". {nearest(kind, names.KINDS)}')
    if (out / checkpoint.BEST).exists():
        raise WmzooError(f"{out}: holds a model already; choose another folder, or delete this one.")
    tree = pickles.read(path)
    arrays = names.flatten(_group(_group(tree, "params", path), "params", path))
    looks = next((k for k, name in SIGNS.items() if name in arrays), kind)
    if looks != kind:
        raise WmzooError(f"{path}: holds {SIGNS[looks]}, so it is no {kind}; import it --as {looks}.")
    read = _read_ensemble if kind == "mlp_ensemble" else _read_transformer
    values, variates, elites = read(path, kind, tree, arrays, told)
    recipe = check(overridden(Source(values, {}), overrides))
    model = build(recipe, variates)
    _load(model, arrays, path)
    if elites is not None:
        model.elites.copy_(torch.from_numpy(elites))
    return _write(model, path, out)


def _read_transformer(
    path: Path, kind: str, tree: Tree, arrays: dict[str, np.ndarray], told: Told
) -> tuple[dict[str, Any], dict[str, Variates], None]:
    """The recipe and the variates of a sequence model."""
    low, high = (_range(tree, name, path) for name in ("min_values", "max_values"))
    if low.shape != high.shape:
        raise WmzooError(f"{path}: min_values has shape {list(low.shape)}, max_values {list(high.shape)}.")
    bins, width = _shape(arrays, "embed_proj/kernel", 2, path)
    positions = _shape(arrays, "embed_timestep/embedding", 2, path)[0]
    universal = low.ndim == 0
    backbone = {"name": kind, "blocks": _count(arrays, "blocks_"), "width": width, "heads": HEADS}
    backbone |= {"positions": positions, "max_variates": max(100, low.size)}
    if kind == "trajworld":
        backbone["max_variates"] = _shape(arrays, "embed_variate/embedding", 2, path)[0]
    if kind == "tdm" and universal:
        backbone["pad_to"] = 31
    model = {
        # Pre-training clips values to their range, fine-tuning does not.
        "tokenizer": {"name": "gauss_hist", "bins": bins, "outside": "clip" if universal else "fade"},
        "backbone": backbone,
        "head": {"name": "categorical", "bins": bins},
    }
    values = _recipe(kind, model, universal, window=min(20, positions))
    if universal:
        return values, {}, None
    unknown = {"mean": np.zeros_like(low), "std": np.ones_like(low)}
    return values, _variates(path, told, {"low": low, "high": high, **unknown}), None


def _read_ensemble(
    path: Path, kind: str, tree: Tree, arrays: dict[str, np.ndarray], told: Told
) -> tuple[dict[str, Any], dict[str, Variates], np.ndarray]:
    """The recipe, the variates and the elites of an ensemble."""
    elites = tree.get("elites")
    if not isinstance(elites, np.ndarray) or elites.ndim != 1 or elites.dtype.kind not in "iu":
        raise WmzooError(f"{path}: lacks elites, a list of members.")
    members, inputs, width = _shape(arrays, "backbones_0/weight", 3, path)
    outputs = _shape(arrays, "output_layer/weight", 3, path)[2]
    states, layers = outputs // 2 - 1, _count(arrays, "backbones_")
    if states < 1 or inputs <= states or elites.size > members or elites.min() < 0 or elites.max() >= members:
        raise WmzooError(f"{path}: {inputs} inputs, {outputs} outputs and elites {elites.tolist()} of {members} clash.")
    mean, std = (pickles.read_array(path.parent / f"{name}.npy") for name in ("mu", "std"))
    universal = mean is None or std is None
    backbone = {"name": kind, "members": members, "elites": len(elites), "layers": layers, "width": width}
    backbone |= {"max_states": states, "max_actions": inputs - states, "pad": -1.0 if universal else 0.0}
    backbone |= {} if layers == 4 else {"decay": []}
    units = {"units": "range"} if universal else {}
    model = {
        "tokenizer": {"name": "continuous", **units},
        "backbone": backbone,
        "head": {"name": "gaussian", **units},
    }
    values = _recipe(kind, model, universal, window=2)
    if mean is None or std is None:
        return values, {}, elites.astype(np.int64)
    for name, array in (("mu", mean), ("std", std)):
        if array.shape != (1, inputs):
            raise WmzooError(f"{path.parent / name}.npy: is {list(array.shape)}, but the weights take [1, {inputs}].")
    return values, _scaled(path, told, mean[0], std[0], states), elites.astype(np.int64)


def _scaled(path: Path, told: Told, mean: np.ndarray, std: np.ndarray, states: int) -> dict[str, Variates]:
    """The variates of an ensemble, less the padding of its inputs, whose mean is 0 and whose deviation is 1."""
    used = (mean != 0) | (std != 1)
    actions = len(mean) - states
    m, n = (states, actions) if (states, actions) != PADDED else (_last(used[:states]), _last(used[states:]))
    m = told.states or m
    kept = [*range(m), *range(states, states + n)]
    fill = {"mean": 0.0, "std": 1.0}
    arrays = {
        name: np.insert(array[kept].astype(np.float32), m, fill[name]) for name, array in (("mean", mean), ("std", std))
    }
    unknown = np.full(m + 1 + n, np.inf, np.float32)
    about = Told(environment=told.environment, states=m)
    return _variates(path, about, {**arrays, "low": -unknown, "high": unknown})


def _last(used: np.ndarray) -> int:
    return int(np.flatnonzero(used)[-1]) + 1 if used.any() else 1


@dataclass(frozen=True)
class _Named:
    """The names of all columns, how many are states, and the control interval in seconds (0 if unknown)."""

    names: tuple[str, ...]
    states: int
    dt: float = 0.0


def _variates(path: Path, told: Told, arrays: Mapping[str, np.ndarray]) -> dict[str, Variates]:
    """The columns with their statistics, by environment."""
    count = len(arrays["low"])
    columns = _known(told, count) if told.environment else _unknown(path, told, count)
    roles = roles_of(columns.states, count - columns.states - 1)
    float32 = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    found = Variates(names=columns.names, roles=roles, dt=columns.dt, **float32)
    return {told.environment or "environment": found}


def _known(told: Told, count: int) -> _Named:
    """The columns of a known environment."""
    from wmzoo.collect.making import layout

    found = layout(find_environment(told.environment).name)
    if len(found.names) != count or told.states not in (None, found.states):
        raise WmzooError(
            f"--environment: {told.environment} has {len(found.names)} variates, {found.states} of them states; the "
            f"file has {count}."
        )
    return _Named(found.names, found.states, found.dt)


def _unknown(path: Path, told: Told, count: int) -> _Named:
    """Plain names for the columns, as many states as told or as the paper's test environments of that size have."""
    states = told.states if told.states is not None else _guess(path, count)
    if not 0 < states < count:
        raise WmzooError(f"--states: {states} does not fit {count} columns, which are states, a reward and actions.")
    return _Named(plain_names(states, count - states - 1), states)


def _guess(path: Path, count: int) -> int:
    """How many states the paper's test environments of so many columns have, if they agree."""
    from wmzoo.collect.making import layout

    states = {found.states for found in map(layout, D4RL) if len(found.names) == count}
    if len(states) != 1:
        raise WmzooError(
            f"{path}: has ranges of {count} variates and does not say which are states; "
            f"add --states N, or --environment NAME ({', '.join(D4RL)}, ...)."
        )
    return states.pop()


def _recipe(kind: str, model: Mapping[str, Any], universal: bool, window: int) -> dict[str, Any]:
    """A recipe around the model; training is as the released scripts document it."""
    training = {"steps": 1_000_000, "learning_rate": 1e-4} if universal else {"steps": 1_500_000, "learning_rate": 1e-5}
    return {
        "name": kind,
        "experiment": "imported",
        "compat": compat.OFFICIAL,
        "data": {"corpus": "", "environments": [], "window": window},
        "model": model,
        "train": training,
    }


def _load(model: WorldModel, arrays: dict[str, np.ndarray], path: Path) -> None:
    """Check the file's arrays against the model's, and copy them."""
    state = model.state_dict()
    listed = names.leaves(model.recipe.model.backbone)
    shapes = {leaf.released: leaf.write(np.empty(state[leaf.own].shape)).shape for leaf in listed}
    names.check(arrays, shapes, path)
    for leaf in listed:
        state[leaf.own].copy_(torch.from_numpy(np.array(leaf.read(arrays[leaf.released]))))


def _write(model: WorldModel, source: Path, out: Path) -> Path:
    """The folder of a run that was trained elsewhere, recorded like any other."""
    recipe = model.recipe
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    parameters = sum(p.numel() for p in model.parameters())
    manifest = {"corpus": "", "sha256": digest, "settings": {}, "sets": {}, "imported": source.name}
    about = {"recipe_hash": recipe.hash, "manifest_hash": digest, "step": 0, "imported": source.name}
    tracking.client(recipe.tracking.uri)  # before anything is written
    checkpoint.save(out / checkpoint.BEST, model, {}, about)
    with replacing(out / "recipe.yaml") as partial:
        partial.write_text(recipe.to_yaml())
    write_json(out / "manifest.json", manifest)
    facts = {"compat": compat.label(recipe), "imported": source.name}
    run_id = tracking.start(recipe, manifest, facts)
    cost = {"parameters": parameters}
    tracking.finish(recipe, run_id, cost, out)
    return out


def _group(tree: Tree, name: str, path: Path) -> Tree:
    if not isinstance(tree.get(name), dict):
        raise WmzooError(f"{path}: lacks the dictionary {name}; a released checkpoint has params, twice nested.")
    return tree[name]


def _range(tree: Tree, name: str, path: Path) -> np.ndarray:
    """``[M]`` float32, or ``[]`` of a pre-trained model."""
    try:
        array = np.asarray(tree[name], np.float32)
    except (KeyError, TypeError, ValueError):
        raise WmzooError(f"{path}: lacks {name}, a number or one for each variate.") from None
    if array.ndim > 1 or not np.isfinite(array).all():
        raise WmzooError(f"{path}: {name} must be a finite number or one for each variate, not {list(array.shape)}.")
    return array


def _shape(arrays: Mapping[str, np.ndarray], name: str, axes: int, path: Path) -> tuple[int, ...]:
    if name not in arrays or arrays[name].ndim != axes:
        found = f"is {list(arrays[name].shape)}" if name in arrays else "is missing"
        raise WmzooError(f"{path}: {name} {found}; it must have {axes} axes.")
    return arrays[name].shape


def _count(arrays: Mapping[str, np.ndarray], prefix: str) -> int:
    """How many groups ``<prefix>0/...`` and so on there are."""
    return len({name.partition("/")[0] for name in arrays if name.startswith(prefix)})
