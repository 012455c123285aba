"""Recipes that start from another recipe's run: which run that is, whether it was made already or not.

``init_from: pretrain/unitraj-mini data.fraction=0.1`` stands for the run of that recipe with those settings, and with
the model of the recipe that starts from it, if that one states a model. A grid trains such runs before its own cells.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from wmzoo.cellnames import changed
from wmzoo.errors import WmzooError
from wmzoo.recipe import Recipe, Source, check, names

TAKEN = ("model", "tracking")  # sections of the recipe that starts from the run


def named(values: Mapping[str, Any]) -> Recipe | None:
    """The recipe whose run others start from; None if ``init_from`` names no recipe, but a run or nothing.

    Args:
        values: of the recipe that starts from it, merged and not yet checked.

    Raises:
        WmzooError: it can't be read, has mistakes, stands for several runs, or starts from yet another recipe.
    """
    from wmzoo import grid

    text = values.get("init_from")
    if not _is_recipe(text):
        return None
    name, *settings = shlex.split(str(text))
    sources = grid.cells(name, settings)
    if len(sources) != 1:
        raise WmzooError(f"init_from: {text}: its grid makes {len(sources)} recipes; choose one by name=.")
    found = sources[0].values
    if _is_recipe(found.get("init_from")):
        raise WmzooError(f"init_from: {text}: starts from a recipe itself ({found['init_from']}); name a run there.")
    taken = {key: values[key] for key in TAKEN if values.get(key)}
    found = {**found, **taken, "name": _name(found, taken, settings)}
    return check(dataclasses.replace(sources[0], values=found))


def require(source: Source) -> None:
    """Refuse to start from a recipe's run that is not there.

    Raises:
        WmzooError: so it is; with what makes it.
    """
    from wmzoo.gridrun import state
    from wmzoo.runs import run_folder

    earlier = named(source.values)
    if earlier is not None and not state.trained(run_folder(earlier)):
        raise WmzooError(
            f"init_from: {source.values['init_from']}: its run {run_folder(earlier)} is not finished; "
            "`wmzoo grid` with this recipe trains it first."
        )


def _is_recipe(text: object) -> bool:
    try:
        words = shlex.split(text) if isinstance(text, str) else []
    except ValueError as error:
        raise WmzooError(f"init_from: {text}: can't be read ({error}).") from error
    return bool(words) and words[0] in {**names(), **{path.rpartition("/")[2]: path for path in names()}}


def _name(found: Mapping[str, Any], taken: Mapping[str, Any], settings: list[str]) -> str:
    """Its own name, with the backbone behind it if that is another one, and the settings that change it."""
    name = str(found["name"])
    own, other = (_backbone(values.get("model")) for values in (found, taken))
    if any(text.startswith("name=") for text in settings):
        return name
    return "-".join([name, *([] if other in ("", own) else [other]), *changed(settings)]).replace("/", "-")


def _backbone(model: Any) -> str:
    backbone = model.get("backbone") if isinstance(model, Mapping) else None
    return str(backbone.get("name", "")) if isinstance(backbone, Mapping) else str(backbone or "")
