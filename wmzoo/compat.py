"""Official or corrected: what the switch ``compat`` of a recipe changes, in one place.

``corrected``, the default, follows the paper (Yin et al. 2025) and repairs what the released code does by mistake.
``official`` does what the released code does. Each part lists its own settings in ``OFFICIAL``, and those of training
in ``OFFICIAL_TRAIN``; the other sections', and what no setting governs, are listed here. A setting that a recipe
states itself is left as stated, and :func:`label` says so in every result.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from wmzoo import registry
from wmzoo.errors import WmzooError

if TYPE_CHECKING:
    from wmzoo.recipe import Recipe

CORRECTED, OFFICIAL = "corrected", "official"
KINDS = {
    "model.tokenizer": "tokenizers",
    "model.backbone": "backbones",
    "model.head": "heads",
    "objective": "objectives",
}
SECTIONS: dict[str, dict[str, Any]] = {
    "data": {"widen": 1e-5},
    "train": {"optimizer": "adamw", "cosine": 10_000_000},
}
BEHAVIOUR = {
    "rollout": (
        "no limits; memories that overlap, so that a prediction sees between half and all of the context",
        "inputs, states and rewards clipped to the training range (tdm: inputs and counted rewards alone); looks back "
        "at half of the context, left-padded, and reads it afresh every 10 steps (tdm: every step)",
    ),
    "transition": (
        "tdm free-running, and teacher-forced beside it; error of an ensemble's mean; inputs scaled as in training",
        "tdm teacher-forced alone; mean of the elites' errors; an ensemble's inputs scaled by the test set's moments",
    ),
}
"""What no setting governs: corrected, then official."""


def apply(values: Mapping[str, Any]) -> dict[str, Any]:
    """The official settings under those that a recipe states.

    Args:
        values: of a merged recipe, its parts as mappings; left as they are.
    """
    made = copy.deepcopy(dict(values))
    for path, official in _governed(made):
        group = _group(made, path)
        group.update({key: value for key, value in official.items() if key not in group})
    return made


def label(recipe: Recipe) -> str:
    """``corrected``, ``official``, or ``official but`` and the settings that are not."""
    if recipe.compat == CORRECTED:
        return CORRECTED
    values, other = recipe.to_dict(), []
    for path, official in _governed(values):
        group = _group(values, path)
        other += [f"{path}.{key}={group[key]}" for key, value in official.items() if group[key] != value]
    return f"{OFFICIAL} but {', '.join(other)}" if other else OFFICIAL


def inherited(model: Mapping[str, Any], switch: str) -> dict[str, Any]:
    """The ``model`` section of a checkpoint for a recipe that starts from it, so that ``compat`` decides again.

    Args:
        model: the checkpoint's.
        switch: the recipe's ``compat``. Official fine-tuning scales, clips and pads otherwise than pre-training, so all
            that the switch governs is left out; corrected training keeps what pre-training did.
    """
    made = {"model": copy.deepcopy(dict(model))}
    for path, official in _governed(made):
        group = _group(made, path)
        for key, value in official.items():
            if switch == OFFICIAL or group.get(key) == value:
                group.pop(key, None)
    return made["model"]


def _group(values: dict[str, Any], path: str) -> dict[str, Any]:
    """The settings at a dotted path, made if there are none."""
    for key in path.split("."):
        values = values.setdefault(key, {})
    return values


def _governed(values: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sections and parts of a recipe that the switch changes, with their official settings."""
    sections = {name: dict(settings) for name, settings in SECTIONS.items()}
    for path, part in _parts(values):
        sections["train"] |= part.official_train
        if part.official:
            yield path, part.official
    yield from sections.items()


def _parts(values: Mapping[str, Any]) -> Iterator[tuple[str, registry.Part]]:
    """The parts that a recipe names."""
    for path, kind in KINDS.items():
        outer, _, last = path.rpartition(".")
        group = values.get(outer, {}) if outer else values
        name = (group.get(last) or {}).get("name") if isinstance(group, Mapping) else None
        try:
            yield path, registry.find(kind, name or "")
        except WmzooError:
            continue  # an unknown name is reported where the part is built
