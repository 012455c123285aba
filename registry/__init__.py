"""What a recipe can name: one file, one name.

A part is ``registry/<kind>/<name>.py``. Looking it up imports that file alone; listing reads the folder, so a
broken part hides no other. In the file: a module docstring (its first line is the summary; ``Paper:`` and
``Status:`` lines are shown by ``wmzoo ls``), a frozen keyword-only dataclass ``Config`` made of
:func:`wmzoo.recipe.setting` fields, optionally ``PRESETS`` (named sizes) and ``OFFICIAL`` (settings as a paper's
released code has them, ``OFFICIAL_TRAIN`` those of training), and the module itself, a class whose name is the
file's without underscores, in any case (``mlp_ensemble`` holds ``MLPEnsemble``).

Parts are looked for in this package, then in a ``registry/`` folder of the working directory, then in packages
that declare an entry point in the group ``wmzoo.registry``. The first one found has the name.
"""

if __name__ != "wmzoo.registry":
    # The checkout's root is on sys.path when one works there; a second copy of every class would be made.
    raise ImportError("import wmzoo.registry, not registry")

import ast
import functools
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from wmzoo.errors import WmzooError, nearest

KINDS = ("tokenizers", "backbones", "heads", "objectives", "planners")
ENTRY_POINTS = "wmzoo.registry"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What can be told of a part without importing it."""

    kind: str
    name: str
    path: Path
    summary: str
    paper: str
    status: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """An imported part: its settings and its module."""

    kind: str
    name: str
    config: type
    build: type
    presets: dict[str, dict[str, Any]]
    official: dict[str, Any]
    official_train: dict[str, Any]
    module_doc: str


def folders() -> list[Path]:
    """The registries, in the order in which they are searched."""
    found = [Path(__file__).parent, Path.cwd() / "registry"]
    for point in _points():
        spec = importlib.util.find_spec(point.value)
        found += [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    return list(dict.fromkeys(path.resolve() for path in found if path.is_dir()))


@functools.lru_cache(maxsize=1)
def _points() -> tuple[EntryPoint, ...]:
    """What installed packages add; all their metadata is read for it, and recipes ask often."""
    return tuple(entry_points(group=ENTRY_POINTS))


def paths(kind: str) -> dict[str, Path]:
    """The files of the parts of a kind, by name."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted((folder / kind).glob("[a-z]*.py")):
            found.setdefault(path.stem, path)
    return found


def cards() -> list[Card]:
    """Cards of all parts, read from the text of their files."""
    return [card(kind, name, path) for kind in KINDS for name, path in paths(kind).items()]


def card(kind: str, name: str, path: Path) -> Card:
    """The card of a part. A file that does not parse has the status ``broken``."""
    try:
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        status = "stable"
    except SyntaxError as error:
        docstring, status = "", f"broken: line {error.lineno}: {error.msg}"
    lines = docstring.splitlines() or [""]
    marked = dict(line.split(": ", 1) for line in lines if line.startswith(("Paper: ", "Status: ")))
    return Card(
        kind=kind,
        name=name,
        path=path,
        summary=lines[0],
        paper=marked.get("Paper", ""),
        status=marked.get("Status", status),
    )


def find(kind: str, name: str) -> Part:
    """Import one part.

    Args:
        kind: one of ``KINDS``.
        name: the stem of its file.

    Raises:
        WmzooError: there is no such part, or its file lacks ``Config`` or its class.
    """
    known = paths(kind)
    if name not in known:
        raise WmzooError(f'unknown {kind[:-1]} "{name}". {nearest(name, known)}')
    module = _load(kind, name, known[name])
    wanted = name.replace("_", "")
    classes = [value for key, value in vars(module).items() if key.lower() == wanted and isinstance(value, type)]
    if not hasattr(module, "Config") or not classes:
        raise WmzooError(f"{known[name]}: needs a dataclass Config and a class named {wanted} (in any case).")
    return Part(
        kind=kind,
        name=name,
        config=module.Config,
        build=classes[0],
        presets=getattr(module, "PRESETS", {}),
        official=getattr(module, "OFFICIAL", {}),
        official_train=getattr(module, "OFFICIAL_TRAIN", {}),
        module_doc=module.__doc__ or "",
    )


def _load(kind: str, name: str, path: Path) -> ModuleType:
    if path.is_relative_to(Path(__file__).parent.resolve()):
        return importlib.import_module(f"wmzoo.registry.{kind}.{name}")
    title = f"wmzoo_user_registry.{kind}.{name}"
    loaded = sys.modules.get(title)
    if loaded is not None and loaded.__file__ == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(title, path)
    if spec is None or spec.loader is None:
        raise WmzooError(f"{path}: can't be imported; it must be a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[title] = module  # dataclasses look their module up here
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise WmzooError(f"{path}:{error.lineno}: not valid Python ({error.msg}); correct it.") from error
    return module
