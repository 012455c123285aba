"""Checkpoints: one safetensors file each, written whole or not at all, and read without executing anything.

The file holds tensors (``model/...``, ``optimizer/...``, ``random/...``) and, in its header, JSON: the resolved
recipe, the variates, the step and what else training needs to go on as if it had never stopped.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from wmzoo.data.splits import known_episodes
from wmzoo.errors import WmzooError, nearest
from wmzoo.files import read_json, replacing
from wmzoo.model import WorldModel, build
from wmzoo.recipe import Source, check
from wmzoo.trajectories import Variates

FORMAT, VERSION = "wmzoo-checkpoint", 2
BEST, LAST = "best.safetensors", "last.safetensors"


def save(path: Path, model: WorldModel, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: the file.
        model: its weights, recipe and variates are saved.
        tensors: more tensors, such as the optimizer's.
        about: more plain values, such as the step.

    Raises:
        WmzooError: the folder cannot be written, or the disk is full.
    """
    header = {
        "format": FORMAT,
        "version": VERSION,
        "recipe": model.recipe.to_dict(),
        "variates": {name: v.to_json() for name, v in model.variates.items()},
        **about,
    }
    weights = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    everything = {name: tensor.detach().cpu().contiguous() for name, tensor in {**weights, **tensors}.items()}
    with replacing(path) as partial:
        try:
            save_file(everything, partial, metadata={"wmzoo": json.dumps(header)})
        except SafetensorError as error:
            raise OSError(str(error)) from error


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a checkpoint.

    Raises:
        WmzooError: missing, damaged, not a checkpoint of wmzoo, or of another version.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _header(file, path)


def header(path: Path) -> dict[str, Any]:
    """The header alone of a checkpoint; its tensors stay on disk. Errors as :func:`read`."""
    with _opened(path) as file:
        return _header(file, path)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise WmzooError(f"{path}: not a readable checkpoint ({error}); train again, or use another one.") from error


def _header(file: Any, path: Path) -> dict[str, Any]:
    found = json.loads((file.metadata() or {}).get("wmzoo", "{}"))
    if found.get("format") != FORMAT or found.get("version") != VERSION:
        raise WmzooError(f"{path}: not a checkpoint of this version of wmzoo; train again, or use another one.")
    return found


def _weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The model's own tensors among those of a checkpoint."""
    return {name.removeprefix("model/"): tensor for name, tensor in tensors.items() if name.startswith("model/")}


def initialise(model: WorldModel, run: str) -> None:
    """Give a fresh model the weights of a checkpoint; the variates stay its own.

    Raises:
        WmzooError: there is no such checkpoint, or its weights do not fit.
    """
    path = find(run)
    weights, own = _weights(read(path)[0]), model.state_dict()
    odd = [name for name in {**own, **weights} if _shape(own, name) != _shape(weights, name)]
    if odd:
        told = "; ".join(f"{n} {_shape(weights, n)} there, {_shape(own, n)} here" for n in sorted(odd)[:3])
        raise WmzooError(
            f"init_from: {path} does not fit the recipe's model in {len(odd)} arrays ({told}); leave `model` out of "
            "the recipe to take the checkpoint's own."
        )
    model.load_state_dict(weights)


def seen_before(run: str) -> list[str]:
    """Fingerprints of the episodes that a run, and those that it started from itself, trained or validated on.

    Of an imported model nobody knows them; then there are none.
    """
    path = find(run).parent / "manifest.json"
    return sorted(known_episodes(read_json(path))) if path.is_file() else []


def _shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, ...] | str:
    return tuple(tensors[name].shape) if name in tensors else "none"


def restore(path: Path) -> tuple[WorldModel, dict[str, Tensor], dict[str, Any]]:
    """Rebuild a model from its checkpoint; also the file's tensors and header.

    Raises:
        WmzooError: as :func:`read`, or its weights do not fit its recipe.
    """
    tensors, header = read(path)
    recipe = check(Source(header["recipe"], {}))
    model = build(recipe, {name: Variates.from_json(v) for name, v in header["variates"].items()})
    try:
        model.load_state_dict(_weights(tensors))
    except RuntimeError as error:
        raise WmzooError(f"{path}: its weights do not fit its recipe ({error}).") from error
    return model, tensors, header


def find(run: str | Path, name: str = BEST) -> Path:
    """The checkpoint of a run.

    Args:
        run: a checkpoint file, a run's folder, or ``experiment/run`` under ``runs/``.
        name: which of the run's checkpoints.

    Raises:
        WmzooError: there is none.
    """
    for path in (Path(run), Path("runs") / run):
        if path.is_file():
            return path
        if (path / name).is_file():
            return path / name
    known = sorted(str(p.parent) for p in Path("runs").glob(f"*/*/{name}"))
    raise WmzooError(f"{run}: no run and no checkpoint. {nearest(str(run), known) or 'Train one with `wmzoo train`.'}")


def load(run: str | Path) -> WorldModel:
    """Open a trained world model.

    Args:
        run: a run's folder, ``experiment/run`` under ``runs/``, or a checkpoint file.

    Returns:
        The model with its best weights by validation loss, in evaluation mode, on the CPU.

    Raises:
        WmzooError: there is none, or it can't be read.
    """
    return restore(find(run))[0].eval()


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors by name, and the rest as plain values."""
    state = optimizer.state_dict()
    tensors, plain = {}, {}
    for index, entry in state["state"].items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{key}"] = value
            else:
                plain[f"{index}/{key}"] = value
    return tensors, {"groups": state["param_groups"], "plain": plain}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """The inverse of :func:`flatten_optimizer`, into a fresh optimizer over the same parameters."""
    state: dict[int, dict[str, Any]] = {}
    saved = {name.removeprefix("optimizer/"): t for name, t in tensors.items() if name.startswith("optimizer/")}
    for name, value in {**saved, **about["plain"]}.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": about["groups"]})
