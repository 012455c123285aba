"""One comparison of many runs, as their protocol makes it: printed, and written as CSV, Markdown and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from wmzoo import evaluation
from wmzoo.errors import WmzooError
from wmzoo.evaluation import tables
from wmzoo.evaluation.comparison import Comparison
from wmzoo.evaluation.records import RunRecord, check
from wmzoo.files import replacing

__all__ = ["RunRecord", "print_table", "write"]


def print_table(
    records: Sequence[RunRecord], allow_mixed: bool = False, published: bool = False, console: Console | None = None
) -> None:
    """Print a comparison.

    Args:
        records: evaluated runs.
        allow_mixed: compare runs of different data or settings too; the caption then says so.
        published: put published numbers beside.
        console: to print to; the standard output if None.

    Raises:
        WmzooError: no records, they mix protocols, settings or data, or there are no published numbers of their kind.
    """
    made, console = _compare(records, allow_mixed, published), console or Console()
    for grid in made.short:
        console.print(tables.terminal(grid), end="\n\n")
    console.print("\n".join(made.caption), highlight=False, markup=False)


def write(records: Sequence[RunRecord], folder: Path, allow_mixed: bool = False, published: bool = False) -> list[Path]:
    """Write a comparison as ``comparison.csv``, ``comparison.md`` and pictures.

    Args:
        records: evaluated runs.
        folder: is made if need be.
        allow_mixed: compare runs of different data or settings too; the caption then says so.
        published: put published numbers beside.

    Returns:
        The files, each of which was written whole.

    Raises:
        WmzooError: as :func:`print_table`, or the folder can't be written.
    """
    made = _compare(records, allow_mixed, published)
    title = f"## {records[0].experiment}: {records[0].result['protocol']}\n"
    return [
        _write(folder / "comparison.csv", lambda path: _text(path, tables.as_csv(made.lines))),
        _write(folder / "comparison.md", lambda path: _text(path, _markdown(title, made))),
        *(_write(folder / name, picture.draw) for name, picture in made.pictures.items()),
    ]


def _compare(records: Sequence[RunRecord], allow_mixed: bool, published: bool) -> Comparison:
    mixed = check(records, allow_mixed)
    name = records[0].result["protocol"]
    protocol = evaluation.find(name)
    if published and not hasattr(protocol, "published"):
        raise WmzooError(f"--published: there are no published numbers for {name}; leave --published out.")
    made: Comparison = protocol.compare(records, mixed)
    return made.beside(protocol.published(records)) if published else made


def _markdown(title: str, made: Comparison) -> str:
    pictures = "\n".join(f"![{picture.what}]({name})\n" for name, picture in made.pictures.items())
    return "\n".join([title, *map(tables.markdown, made.full), "\n\n".join(made.caption) + "\n", pictures])


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write(path: Path, make: Callable[[Path], None]) -> Path:
    with replacing(path) as partial:
        make(partial)
    return path
