"""Readers of foreign trajectory files: one file, one format.

A reader defines ``files(path) -> list[Path]``, the files of its format at or below a path, and ``read(path) ->
Iterator[Recording | Skipped]``, which streams the episodes of one of them; and ``FOREIGN = True`` where a library that
may crash on a damaged file reads it, so that a process of its own does that. Facts of the formats are those of their
makers' code and pages, named in each file.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

from wmzoo.errors import WmzooError, nearest


def formats() -> dict[str, str]:
    """The readers by name with their summaries, read from the text of their files."""
    found = {path.stem: path for path in sorted(Path(__file__).parent.glob("[a-z]*.py"))}
    return {
        name: (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0] for name, path in found.items()
    }


def find(name: str) -> ModuleType:
    """Import one reader.

    Raises:
        WmzooError: there is none of that name.
    """
    if name not in formats():
        raise WmzooError(f'unknown format "{name}". {nearest(name, formats())}')
    return importlib.import_module(f"wmzoo.data.sources.{name}")


def below(path: Path, *patterns: str) -> list[Path]:
    """The path itself if it is a file, else the files below it that match any of the patterns, in order."""
    if path.is_file():
        return [path]
    return sorted({found for pattern in patterns for found in path.rglob(pattern) if found.is_file()})
