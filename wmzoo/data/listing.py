"""``wmzoo data table``: each environment of a corpus in one line, to print or to put into a document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from wmzoo.data.store import Corpus, TrajectorySet, costs_of, open_corpus
from wmzoo.errors import WmzooError
from wmzoo.files import replacing
from wmzoo.progress import console

FACTS = ("environment", "component", "m", "n", "dt (s)", "steps", "episodes", "seconds", "MB")
WORDS = ("environment", "component")
UNKNOWN = "all"


def print_table(path: str, to: Path | None = None) -> None:
    """Print a line an environment: dimensions, control interval, size, cost, and returns by kind of behaviour.

    Args:
        path: of the corpus.
        to: a Markdown file to write too; it may be there.

    Raises:
        WmzooError: the corpus can't be opened, or the file can't be written.
    """
    corpus = open_corpus(path)
    kinds, seconds = _kinds(corpus), costs_of(corpus.path)
    lines = [_line(items, seconds, kinds) for items in _environments(corpus)]
    total = _total(corpus, len(lines), seconds)
    if to is None:
        console().print(_printed(kinds, lines, total))
        return
    if not to.parent.is_dir():
        raise WmzooError(f"{to}: its folder is not there; make it, or choose another place by --md.")
    with replacing(to) as partial:
        partial.write_text(_markdown(corpus.path.stem, kinds, lines, total))
    console().print(f"{to}", highlight=False)


def _environments(corpus: Corpus) -> list[list[TrajectorySet]]:
    """The sets of each environment, environments sorted by component and name."""
    found: dict[tuple[str, str], list[TrajectorySet]] = {}
    for item in corpus.sets.values():
        found.setdefault((item.component, item.environment), []).append(item)
    return [items for _, items in sorted(found.items())]


def _kinds(corpus: Corpus) -> list[str]:
    """The kinds of behaviour in the order in which they come up."""
    return list(dict.fromkeys(kind for item in corpus.sets.values() for kind in _kind_of(item)))


def _kind_of(item: TrajectorySet) -> list[str]:
    """The kind of each episode's behaviour: as its collection calls it, or ``all`` if nothing is known of it."""
    told = item.kinds
    return [told[index] or UNKNOWN if 0 <= index < len(told) else UNKNOWN for index in item.episodes["behaviour"]]


def _line(items: Sequence[TrajectorySet], seconds: Mapping[str, float], kinds: Sequence[str]) -> list[str]:
    first = items[0]
    spent = [seconds[item.key] for item in items if item.key in seconds]
    facts = [first.environment, first.component, str(first.states), str(first.actions), f"{first.dt:g}"]
    facts += [f"{sum(item.transitions for item in items):,}", f"{sum(len(item.episodes) for item in items):,}"]
    facts += [f"{sum(spent):.0f}" if spent else "", f"{sum(item.data.nbytes for item in items) / 1e6:.1f}"]
    return facts + list(_returns(items, kinds))


def _returns(items: Sequence[TrajectorySet], kinds: Sequence[str]) -> Iterator[str]:
    """Mean and standard deviation of the returns of the episodes of each kind."""
    of = np.array([kind for item in items for kind in _kind_of(item)])
    returns = np.concatenate([item.episodes["return"] for item in items]).astype(np.float64)
    for kind in kinds:
        own = returns[of == kind]
        digits = 0 if len(own) and abs(own.mean()) + own.std() >= 100 else 1
        yield f"{own.mean():.{digits}f} ± {own.std():.{digits}f}" if len(own) else ""


def _total(corpus: Corpus, environments: int, seconds: Mapping[str, float]) -> str:
    items = list(corpus.sets.values())
    spent = f", {sum(seconds.values()):,.0f} s of collection" if seconds else ""
    return (
        f"{environments} environments, {sum(item.transitions for item in items):,} steps, "
        f"{sum(len(item.episodes) for item in items):,} episodes, {corpus.path.stat().st_size / 1e6:.1f} MB{spent}"
    )


def _printed(kinds: Sequence[str], lines: Sequence[Sequence[str]], total: str) -> Table:
    table = Table(
        caption=f"Mean return by kind of behaviour; {total}",
        box=None,
        pad_edge=False,
        header_style="dim",
        caption_justify="left",
    )
    for name in FACTS:
        table.add_column(name, justify="left" if name in WORDS else "right", no_wrap=True)
    for kind in kinds:
        table.add_column(kind, justify="right", no_wrap=True)
    for line in lines:  # the spread is for a page that is wide enough
        table.add_row(*(cell.partition(" ±")[0] for cell in line))
    return table


def _markdown(name: str, kinds: Sequence[str], lines: Sequence[Sequence[str]], total: str) -> str:
    """A document: what made it, the sums, and the table."""
    heads = [*FACTS, *(f"return, {kind}" for kind in kinds)]
    ruler = ["---" if name in WORDS else "---:" for name in heads]
    rows = [heads, ruler, *lines]
    about = (
        "Seconds are those that collection took in all its processes, with the training of the environment's own "
        "policies; MB are of rows. Returns are the mean ± standard deviation over the episodes of one kind of "
        "behaviour; episodes that were cut short count as they are."
    )
    body = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return f"# {name}\n\n{total}. Made by `wmzoo data table`.\n\n{about}\n\n{body}\n"
