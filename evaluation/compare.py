"""One table of many runs: models, floors, their errors with intervals, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from wmzoo.errors import WmzooError
from wmzoo.evaluation import tables
from wmzoo.evaluation.entries import Entry, rows
from wmzoo.evaluation.records import RunRecord, check, settings_text
from wmzoo.files import replacing

__all__ = ["RunRecord", "caption", "print_table", "write"]

LEGEND = (
    "in: test episodes of the level trained on; OOD: mean over the other levels of the environment. nmae, crps and nll "
    "are per variate in training standard deviations, mae in physical units. 95 % intervals: bootstrap over seeds, "
    "then episodes (± is half the width). Bold: the best, where its interval does not overlap the next row's.",
    "skill: share of the best floor's nmae that is removed (0: no better, below 0: worse); vs last: the same of the "
    "last value's. 50 % and 90 %: share of true values inside those central intervals. nmae@k: k steps ahead.",
)
UNRANKED = "A teacher-forced row was given the true earlier variates of the row that it predicts, so it is not ranked."


def print_table(records: Sequence[RunRecord], allow_mixed: bool = False, console: Console | None = None) -> None:
    """Print a comparison.

    Args:
        records: evaluated runs.
        allow_mixed: compare runs of different data or settings too; the caption then says so.
        console: to print to; the standard output if None.

    Raises:
        WmzooError: no records, or they mix protocols, settings or data.
    """
    mixed = check(records, allow_mixed)
    entries, console = rows(records), console or Console()
    for grid in tables.grids(entries, _horizons(records)[-1], full=False):
        console.print(tables.terminal(grid), end="\n\n")
    console.print(caption(records, entries, mixed), highlight=False, markup=False)


def write(records: Sequence[RunRecord], folder: Path, allow_mixed: bool = False) -> list[Path]:
    """Write a comparison as ``comparison.csv``, ``.md`` and ``.png``, and the errors by variate as ``variates.png``.

    Args:
        records: evaluated runs.
        folder: is made if need be.
        allow_mixed: compare runs of different data or settings too; the caption then says so.

    Returns:
        The files, each of which was written whole.

    Raises:
        WmzooError: no records, they mix protocols, settings or data, or the folder can't be written.
    """
    from wmzoo.evaluation import figures  # matplotlib is slow to import

    mixed = check(records, allow_mixed)
    entries, horizons = rows(records), _horizons(records)
    text = _markdown(records, entries, mixed)
    return [
        _write(folder / "comparison.csv", lambda path: _text(path, tables.as_csv(entries, horizons))),
        _write(folder / "comparison.md", lambda path: _text(path, text)),
        _write(folder / "comparison.png", lambda path: figures.comparison(entries, horizons, path)),
        _write(folder / "variates.png", lambda path: figures.variates(entries, path)),
    ]


def caption(records: Sequence[RunRecord], entries: Sequence[Entry], mixed: Sequence[str] = ()) -> str:
    """What the tables show, in sentences.

    Args:
        records: evaluated runs.
        entries: their rows.
        mixed: what they differ in although they should not.
    """
    result = records[0].result
    counts = sorted({len(entry.seeds) for entry in entries if entry.seeds})
    hashes = ", ".join(sorted({record.result["manifest_hash"][:12] for record in records}))
    trained = ", ".join(sorted({key for record in records for key in record.result["trained_on"]})) or "other data"
    first = (
        f"Experiment {records[0].experiment}, {result['protocol']} ({settings_text(result['settings'])}). "
        f"Trained on {trained}; data hash {hashes}; seeds a model: {' or '.join(map(str, counts))}."
    )
    forced = [] if all(entry.ranked for entry in entries) else [UNRANKED]
    return "\n".join([first, *LEGEND, *forced, *(f"MIXED: {problem}." for problem in mixed)])


def _markdown(records: Sequence[RunRecord], entries: Sequence[Entry], mixed: Sequence[str]) -> str:
    parts = [tables.markdown(grid) for grid in tables.grids(entries, _horizons(records)[-1], full=True)]
    pictures = "![errors by level and by horizon](comparison.png)\n\n![errors by variate](variates.png)\n"
    title = f"## {records[0].experiment}: {records[0].result['protocol']}\n"
    return "\n".join([title, *parts, caption(records, entries, mixed).replace("\n", "\n\n") + "\n", pictures])


def _horizons(records: Sequence[RunRecord]) -> list[int]:
    """Steps ahead that all records share, ascending."""
    shared = set.intersection(*(set(record.result["settings"]["horizons"]) for record in records))
    if not shared:
        raise WmzooError(f"{records[0].experiment}: the runs share no horizon; evaluate them with the same horizons.")
    return sorted(shared)


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write(path: Path, make: Callable[[Path], None]) -> Path:
    with replacing(path) as partial:
        make(partial)
    return path
