"""How models are compared: versioned protocols that see nothing of a model but its five verbs.

A protocol is a file of this folder that defines ``PROTOCOL`` (such as ``"transition/v1"``), a frozen dataclass
``Config`` made of :func:`wmzoo.recipe.setting` fields, and

- ``evaluate(model, corpus, manifest, config, progress=True) -> dict``: the result, plain JSON;
- ``summary(result) -> dict[str, float]``: flat metrics, under the same names for every model;
- ``describe(result) -> list``: what is printed of one run;
- ``pictures(result) -> dict[str, Picture]``, if there is something to draw of one run: by the name of the file;
- ``compare(records, mixed=(), baseline="") -> Comparison``: what is shown of many runs, beside one row if it is named;
- ``READS_CORPUS = False``, if it needs no corpus: it is then given none, and runs of imported models name none;
- ``published(records) -> Comparison``, if papers report such numbers: those, to put beside.

Protocols are listed from the text of their files, without importing them, so listing is quick and a broken
protocol hides no other. A change that moves a number makes a new version.
"""

if __name__ != "wmzoo.evaluation":
    # The checkout's root is on sys.path when one works there; a second copy of every class would be made.
    raise ImportError("import wmzoo.evaluation, not evaluation")

import ast
import functools
import importlib
from pathlib import Path
from types import ModuleType

from wmzoo.errors import WmzooError, nearest


def protocols() -> dict[str, str]:
    """The summaries of all protocols, by versioned name such as ``transition/v1``."""
    return {name: summary for name, summary in _cards().values()}


def short_names() -> list[str]:
    """The names of the protocols as a recipe's ``evaluate`` section uses them, such as ``transition``."""
    return list(_cards())


def config_of(short_name: str) -> type:
    """The settings of a protocol.

    Args:
        short_name: such as ``transition``.

    Raises:
        WmzooError: there is no such protocol.
    """
    return _module(short_name).Config


def find(protocol: str) -> ModuleType:
    """Import a protocol.

    Args:
        protocol: its versioned name, such as ``transition/v1``.

    Raises:
        WmzooError: there is no such protocol.
    """
    return _module(short_name(protocol))


def short_name(protocol: str) -> str:
    """The name of a protocol as a recipe's ``evaluate`` section uses it, such as ``transition``.

    Args:
        protocol: its versioned name.

    Raises:
        WmzooError: there is no such protocol.
    """
    files = {name: short for short, (name, _) in _cards().items()}
    if protocol not in files:
        raise WmzooError(f'unknown protocol "{protocol}". {nearest(protocol, files)}')
    return files[protocol]


def file_name(protocol: str) -> str:
    """What a protocol is called in names of files, metrics and views: ``transition-v1``.

    Args:
        protocol: its versioned name.
    """
    return protocol.replace("/", "-")


def _module(short_name: str) -> ModuleType:
    if short_name not in _cards():
        raise WmzooError(f'unknown protocol "{short_name}". {nearest(short_name, _cards())}')
    return importlib.import_module(f"wmzoo.evaluation.{short_name}")


@functools.cache
def _cards() -> dict[str, tuple[str, str]]:
    """The versioned name and the summary of each protocol, by the stem of its file."""
    read = {path.stem: _card(path) for path in sorted(Path(__file__).parent.glob("[a-z]*.py"))}
    return {stem: card for stem, card in read.items() if card is not None}


def _card(path: Path) -> tuple[str, str] | None:
    """``PROTOCOL`` and the docstring's first line of a file; None if it is no protocol."""
    try:
        tree = ast.parse(path.read_text())
    except SyntaxError:
        return None
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    constants = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)]
    named = [node.value for node in constants if ast.unparse(node.targets[0]) == "PROTOCOL"]
    return (ast.literal_eval(named[0]), summary) if named else None
