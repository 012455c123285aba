"""One comparison of many runs, as their protocol makes it: printed, and written as text and pictures."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from wmzoo import evaluation
from wmzoo.errors import WmzooError
from wmzoo.evaluation import tables
from wmzoo.evaluation.comparison import Comparison
from wmzoo.evaluation.grouping import grouped, told
from wmzoo.evaluation.records import RunRecord, check
from wmzoo.evaluation.repeats import repeated
from wmzoo.files import replacing
from wmzoo.progress import bar

__all__ = ["Options", "RunRecord", "make", "print_table", "write"]

FIRST = "comparison.png"  # the picture that every comparison has


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is compared, and how.

    Attributes:
        mixed: compare runs of different data, settings or versions of the protocol too; the caption then says so.
        published: put published numbers beside.
        by: dotted paths of the recipes' settings that make a row; runs of one name and data make one if empty.
        baseline: the row to measure the others by, if any.
    """

    mixed: bool = False
    published: bool = False
    by: Sequence[str] = ()
    baseline: str = ""


PLAIN = Options()
SUFFIXES = (".csv", ".md", ".tex", ".png")


def make(records: Sequence[RunRecord], options: Options = PLAIN) -> Comparison:
    """Compare runs.

    Args:
        records: evaluated runs.
        options: what is compared, and how.

    Raises:
        WmzooError: no records, they mix protocols, settings or data, an option names what there is not, or there are
            no published numbers of their kind.
    """
    mixed = check(records, options.mixed)
    records = grouped(records, options.by) if options.by else records
    name = max(record.result["protocol"] for record in records)
    protocol = evaluation.find(name)
    if options.published and not hasattr(protocol, "published"):
        raise WmzooError(f"--published: there are no published numbers for {name}; leave --published out.")
    beside = {"baseline": options.baseline} if options.baseline else {}
    made: Comparison = protocol.compare(records, mixed, **beside)
    notes = [told(records, options.by), _owed(records), *repeated(records)]
    made = dataclasses.replace(made, caption=[*made.caption, *filter(None, notes)])
    return made.beside(protocol.published(records)) if options.published else made


def _owed(records: Sequence[RunRecord]) -> str:
    """A sentence on the cost of runs that began with the weights of another one; empty if none did."""
    begun = sorted({record.tags.get("variant", record.name) for record in records if record.tags.get("init_from")})
    return f"Costs leave out the training of the runs that these started from: {', '.join(begun)}." if begun else ""


def print_table(made: Comparison, console: Console | None = None) -> None:
    """Print a comparison.

    Args:
        made: the comparison.
        console: to print to; the standard output if None.
    """
    console = console or Console()
    for grid in made.short:
        console.print(tables.terminal(grid), end="\n\n")
    console.print("\n".join(made.caption), highlight=False, markup=False)


def write(
    made: Comparison, title: str, folder: Path, named: Mapping[str, Path] | None = None, quiet: bool = True
) -> list[Path]:
    """Write a comparison as ``comparison.csv``, ``.md`` and ``.tex``, and pictures.

    Args:
        made: the comparison.
        title: of it.
        folder: is made if need be.
        named: files to write a form into besides, by suffix; the Markdown links the pictures where they lie.
        quiet: show no progress.

    Returns:
        The files, each of which was written whole: those of the folder, then those that were named.

    Raises:
        WmzooError: a file can't be written.
    """
    named = named or {}
    pictures = {name: folder / name for name in made.pictures}
    linked = {**pictures, FIRST: named.get(".png", pictures[FIRST])}
    written = itertools.chain(
        (_written(made, title, folder / f"comparison{suffix}", suffix, pictures) for suffix in SUFFIXES[:-1]),
        (_write(pictures[name], picture.draw) for name, picture in made.pictures.items()),
        (_written(made, title, path, suffix, linked) for suffix, path in named.items()),
    )
    paths: list[Path] = []
    count = len(SUFFIXES[:-1]) + len(pictures) + len(named)
    with bar(f"write {title}", count, unit="files", quiet=quiet) as report:
        for path in written:
            paths.append(path)
            report(len(paths), "")
    return paths


def _written(made: Comparison, title: str, path: Path, suffix: str, pictures: Mapping[str, Path]) -> Path:
    """One form of a comparison in a file."""
    if suffix == ".png":
        return _write(path, made.pictures[FIRST].draw)
    links = {name: os.path.relpath(where, path.parent) for name, where in pictures.items()}
    text = {
        ".csv": lambda: tables.as_csv(made.lines),
        ".md": lambda: _markdown(title, made, links),
        ".tex": lambda: _latex(title, made),
    }[suffix]()
    return _write(path, lambda partial: _text(partial, text))


def _markdown(title: str, made: Comparison, links: Mapping[str, str]) -> str:
    pictures = "\n".join(f"![{picture.what}]({links[name]})\n" for name, picture in made.pictures.items())
    return "\n".join([f"## {title}\n", *map(tables.markdown, made.full), "\n\n".join(made.caption) + "\n", pictures])


def _latex(title: str, made: Comparison) -> str:
    said = "\n\n".join(tables.escaped(text) for text in made.caption)
    return "\n".join([f"% {title}. Needs \\usepackage{{booktabs,graphicx}}.", *map(tables.latex, made.full), said, ""])


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write(path: Path, make: Callable[[Path], None]) -> Path:
    with replacing(path) as partial:
        make(partial)
    return path
