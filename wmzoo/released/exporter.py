"""World models as checkpoints of the released code: ``wmzoo export``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wmzoo import checkpoint
from wmzoo.binning import support
from wmzoo.errors import WmzooError, nearest
from wmzoo.files import replacing
from wmzoo.model import WorldModel
from wmzoo.recipe import ModelConfig
from wmzoo.released import names, pickles
from wmzoo.trajectories import columns_of

FORMATS = ("official",)
TIMESTEPS = 10_240  # rows of the released TDM's position table, of which it can use 20
SIGMA = 0.75  # of the released tokens, in bins
UNIVERSAL = {"max_values": 1 + 1e-5, "min_values": 0 - 1e-5}  # of a pre-trained model


def export(run: str, form: str, out: Path) -> list[Path]:
    """Write a run's best weights in a released format.

    Args:
        run: a run's folder, ``experiment/run``, or a checkpoint.
        form: ``official``, that of the released TrajWorld code.
        out: folder for ``trm_dynamics.pkl``, or for ``mlp_dynamics.pkl``, ``mu.npy`` and ``std.npy``.

    Returns:
        The files written.

    Raises:
        WmzooError: no such format or run, or a model that the format can't hold, with all reasons.
    """
    if form not in FORMATS:
        raise WmzooError(f'--as: unknown format "{form}". {nearest(form, FORMATS)}')
    model = checkpoint.load(run)
    problems = [f"{run}: {problem}" for problem in _problems(model)]
    if problems:
        raise WmzooError(*problems)
    if model.recipe.model.backbone.name == "mlp_ensemble":
        return _ensemble(model, out)
    path = out / "trm_dynamics.pkl"
    pickles.write(path, {"params": {"params": _tree(model)}, **_ranges(model)})
    return [path]


def _problems(model: WorldModel) -> list[str]:
    """Why the format can't hold a model."""
    parts = model.recipe.model
    kind = parts.backbone.name
    if kind not in names.KINDS:
        return [f"the format has no backbone {kind}, only {', '.join(names.KINDS)}."]
    ensemble = kind == "mlp_ensemble"
    tokenizers, head = (("continuous",), "gaussian") if ensemble else (("gauss_hist", "one_hot"), "categorical")
    found = {
        f"its tokenizer is {parts.tokenizer.name}, not {' or '.join(tokenizers)}.": parts.tokenizer.name
        not in tokenizers,
        f"its head is {parts.head.name}, not {head}.": parts.head.name != head,
    }
    if any(found.values()):
        return [problem for problem, holds in found.items() if holds]
    return _ensemble_problems(model) if kind == "mlp_ensemble" else _transformer_problems(parts)


def _transformer_problems(parts: ModelConfig) -> list[str]:
    tokenizer, config, head = parts.tokenizer.config, parts.backbone.config, parts.head.config
    found = {
        "it has several members; the format holds one.": config.members > 1,
        "its tokens and its head have different bins.": tokenizer.bins != head.bins,
        "its tokens and its head have different margins.": tokenizer.margin != head.margin,
        f"its tokens have another sigma than {SIGMA}.": getattr(tokenizer, "sigma", SIGMA) != SIGMA,
        "it has a variate embedding; train it with compat=official.": getattr(config, "variate_embedding", False),
    }
    return [problem for problem, holds in found.items() if holds]


def _ensemble_problems(model: WorldModel) -> list[str]:
    parts, several = model.recipe.model, len(model.variates) > 1
    units = (parts.tokenizer.config.units, parts.head.config.units)
    found = {
        f"it reads {units[0]} and predicts {units[1]}; train it with compat=official.": units
        not in (("deviations", "physical"), ("range", "range")),
        "it predicts values; the format holds differences.": parts.head.config.target != "difference",
        "it was trained on several environments; the format holds one input scale.": several and units[0] != "range",
    }
    return [problem for problem, holds in found.items() if holds]


def _tree(model: WorldModel) -> pickles.Tree:
    """The weights under their released names."""
    backbone, state = model.recipe.model.backbone, model.state_dict()
    arrays = {
        leaf.released: np.ascontiguousarray(leaf.write(state[leaf.own].numpy())) for leaf in names.leaves(backbone)
    }
    if backbone.name == "tdm":
        table = arrays["embed_timestep/embedding"]
        arrays["embed_timestep/embedding"] = np.pad(table, ((0, max(0, TIMESTEPS - len(table))), (0, 0)))
    return names.unflatten(arrays)


def _ranges(model: WorldModel) -> pickles.Tree:
    """The edges of the bins: of the one environment that the model is for, or of all."""
    if len(model.variates) != 1:
        return dict(UNIVERSAL)
    low, high = support(columns_of(list(model.variates.values())), model.tokenizer.margin)
    return {"max_values": high[0].numpy(), "min_values": low[0].numpy()}


def _ensemble(model: WorldModel, out: Path) -> list[Path]:
    elites = model.elites.numpy().astype(np.int32)
    paths = [out / "mlp_dynamics.pkl", out / "mu.npy", out / "std.npy"]
    pickles.write(paths[0], {"params": {"params": _tree(model)}, "elites": elites})
    for path, array in zip(paths[1:], _scale(model), strict=True):
        with replacing(path) as partial, partial.open("wb") as file:
            np.save(file, array, allow_pickle=array.dtype == object)
    return paths


def _scale(model: WorldModel) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation ``[1, inputs]`` of the padded inputs; None in an array for one that reads ranges."""
    parts = model.recipe.model
    if parts.tokenizer.config.units == "range":
        return np.array(None, object), np.array(None, object)
    config = parts.backbone.config
    (variates,) = model.variates.values()
    mean = np.zeros((1, config.max_states + config.max_actions), np.float32)
    std = np.ones_like(mean)
    m, n = variates.states, variates.actions
    slots = [*range(m), *range(config.max_states, config.max_states + n)]
    columns = [*range(m), *range(m + 1, m + 1 + n)]
    mean[0, slots] = variates.mean[columns]
    std[0, slots] = np.where(variates.std > 1e-6, variates.std, 1.0)[columns]
    return mean, std
