"""``wmzoo data merge``: several corpora into one, such as the shards of a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wmzoo.data.store import Corpus, TrajectorySet, corpus_path, cost_path, costs_of, digest, open_corpus, write_corpus
from wmzoo.errors import WmzooError
from wmzoo.files import write_json
from wmzoo.progress import Report, bar


def merge(paths: Sequence[str], to: Path, quiet: bool = False) -> Path:
    """Copy the sets of several corpora into a new one, one set at a time; a set that several hold is kept once.

    What the sets cost to collect is written beside it, as far as the corpora tell. Shards of one recipe become the
    corpus that the recipe makes.

    Args:
        paths: of the corpora.
        to: of the new one; ``.h5`` is added to a path without an ending.
        quiet: show no bar.

    Returns:
        The new corpus's path.

    Raises:
        WmzooError: a corpus can't be read or is damaged, two hold different sets of one name, or the file is there.
    """
    target = corpus_path(to)
    if target.exists():
        raise WmzooError(f"{target}: is there already; choose another place by --to, or delete it.")
    corpora = [open_corpus(path) for path in dict.fromkeys(paths)]
    owners, costs = _owners(corpora), _costs(corpora)
    with bar("merge", len(owners), quiet=quiet, unit="sets") as report:
        write_corpus(target, _checked(owners, report), _about(corpora))
    if costs:
        write_json(cost_path(target), {"seconds": {key: costs[key] for key in owners if key in costs}})
    return target


def _owners(corpora: Sequence[Corpus]) -> dict[str, Corpus]:
    """The first corpus that holds each set, sorted by key.

    Raises:
        WmzooError: another one holds something else by the same name; all such are told.
    """
    owners: dict[str, Corpus] = {}
    problems = []
    for corpus in corpora:
        for key, item in corpus.sets.items():
            first = owners.setdefault(key, corpus)
            difference = _difference(first.sets[key], item)
            if difference:
                problems.append(
                    f"{corpus.path}: its set {key} is not that of {first.path} (different {difference}); leave one out "
                    f"by `wmzoo data subset {corpus.path} 'exclude=[{key}]' --to NEW`, and merge that."
                )
    if problems:
        raise WmzooError(*problems)
    return dict(sorted(owners.items()))


def _difference(first: TrajectorySet, second: TrajectorySet) -> str:
    """What two sets differ in; empty if they are the same."""
    names = ("sha256", "names", "states", "dt", "component", "bodies")
    found = [name for name in names if getattr(first, name) != getattr(second, name)]
    if not np.array_equal(first.episodes, second.episodes):
        found.append("episodes")
    return ", ".join(found).replace("sha256", "rows")


def _checked(owners: dict[str, Corpus], report: Report) -> Iterator[TrajectorySet]:
    """The sets, each as it was written.

    Raises:
        WmzooError: the rows of one are damaged, which copying would hide.
    """
    for index, (key, corpus) in enumerate(owners.items()):
        item = corpus.sets[key]
        if digest(item.data, item.offsets) != item.sha256:
            raise WmzooError(f"{corpus.path}: set {key}: its rows have changed since they were written; make it again.")
        yield item
        report(index + 1, key)


def _about(corpora: Sequence[Corpus]) -> dict[str, Any]:
    """What they were made by, if it is the same, or else by what each of them was."""
    if all(corpus.about == corpora[0].about for corpus in corpora):
        return corpora[0].about
    return {"merged": [{"corpus": corpus.path.name, "about": corpus.about} for corpus in corpora]}


def _costs(corpora: Sequence[Corpus]) -> dict[str, float]:
    """Seconds that each set took to collect, of those that tell."""
    found: dict[str, float] = {}
    for corpus in reversed(corpora):  # the first one's sets are those that are kept
        found.update(costs_of(corpus.path))
    return found
