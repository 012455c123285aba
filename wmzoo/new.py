"""``wmzoo new``: a part of one's own, begun from a file that works."""

from __future__ import annotations

import ast
import contextlib
import keyword
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Template

from wmzoo import recipe, registry
from wmzoo.errors import WmzooError, nearest
from wmzoo.files import replacing

KINDS = {"backbone": "backbones"}


def begin(kind: str, name: str) -> list[Path]:
    """Write a working part into ``registry/`` of the working directory, and a recipe of it into ``recipes/``.

    Args:
        kind: what it is, ``backbone``.
        name: of the part, of its file and of its recipe, in lower case.

    Returns:
        The two files.

    Raises:
        WmzooError: the kind is unknown, or the name is taken, reserved, or none for a Python file; nothing is written.
    """
    if kind not in KINDS:
        raise WmzooError(f'new: no template of a "{kind}". {nearest(kind, KINDS)}')
    part, example = Path("registry", KINDS[kind], f"{name}.py"), Path("recipes", f"{name}.yaml")
    made = {part: _template(kind, name), example: _template("recipe", name)}
    problem = _problem(kind, name) or next((f"{path} exists already" for path in made if path.exists()), "")
    if problem:
        raise WmzooError(f"new {kind} {name}: {problem}; choose another name.")
    with contextlib.ExitStack() as both:  # both files or none
        for path, text in made.items():
            both.enter_context(replacing(path)).write_text(text)
    return list(made)


def class_of(name: str) -> str:
    """The class of a part: ``MyMixer`` of ``my_mixer``."""
    return "".join(word.capitalize() for word in name.split("_"))


def _template(kind: str, name: str) -> str:
    text = files("wmzoo").joinpath("templates", f"{kind}.txt").read_text()
    return Template(text).substitute(name=name, cls=class_of(name))


def _problem(kind: str, name: str) -> str:
    """Why a part can't be called so; empty if it can."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        return "a name is lower-case words of letters and digits, joined by _, and no word of Python"
    if class_of(name).lower() in {used.lower() for used in _names(_template(kind, "x"))}:
        return f"a class named {class_of(name)} would hide what the file needs"
    if name in registry.paths(KINDS[kind]):
        return f"there is a {kind} of that name, {registry.paths(KINDS[kind])[name]}"
    return f"there is a recipe of that name, {recipe.names()[name]}" if name in recipe.names() else ""


def _names(code: str) -> Iterator[str]:
    """What a file imports and defines, but for the part's own class."""
    for node in ast.parse(code).body:
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
    yield "Config"
