"""Rows by settings of the recipe: runs that agree in the chosen settings are averaged, whatever else they differ in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from wmzoo.errors import WmzooError, nearest
from wmzoo.evaluation.records import RunRecord

SILENT = ("name", "experiment", "seed", "data.corpus", "data.memory")  # what moves no number, or stands for itself
OUTSIDE = ("tracking.", "evaluate.")


def grouped(records: Sequence[RunRecord], paths: Sequence[str]) -> list[RunRecord]:
    """The records with the row that each belongs to, and with what it is paired by with those of other rows.

    A run's counterpart in another row has its seed and agrees with it in every setting that varies within a row.

    Args:
        records: evaluated runs of one experiment.
        paths: dotted paths of settings, such as ``model.backbone.name``.

    Raises:
        WmzooError: no recipe has such a setting.
    """
    valid = {path for record in records for path in record.settings}
    wrong = [path for path in paths if path not in valid]
    if wrong:
        raise WmzooError(*(f'--by: no recipe has a setting "{path}". {_meant(path, valid)}' for path in wrong))
    labels = ["-".join(_label(path, record.settings) for path in paths) for record in records]
    rest = varying(records, labels)
    return [
        dataclasses.replace(record, group=label, unit=_unit(record, rest))
        for record, label in zip(records, labels, strict=True)
    ]


def _meant(path: str, valid: set[str]) -> str:
    """What a setting that there is not may be: the name of a part, the end of a path, or what is written alike."""
    close = sorted(p for p in valid if f".{p}".endswith((f".{path}.name", f".{path}")))
    return f'Did you mean "{close[0]}"?' if close else nearest(path, valid)


def _label(path: str, settings: Mapping[str, str]) -> str:
    """A word stands alone, a number behind the last piece of its path."""
    value = settings.get(path)
    if value is None:
        return f"no {path.rpartition('.')[2]}"
    return value if value[:1].isalpha() and value not in ("None", "True", "False") else f"{path.split('.')[-1]}={value}"


def varying(records: Sequence[RunRecord], labels: Sequence[str]) -> list[str]:
    """The settings, beside the seed, that vary within a row.

    Args:
        records: evaluated runs.
        labels: of their rows.
    """
    rows: dict[str, list[RunRecord]] = {}
    for record, label in zip(records, labels, strict=True):
        rows.setdefault(label, []).append(record)
    return [
        path
        for path in dict.fromkeys(path for record in records for path in record.settings)
        if path not in SILENT
        and not path.startswith(OUTSIDE)
        and any(len({record.settings.get(path) for record in runs}) > 1 for runs in rows.values())
    ]


def _unit(record: RunRecord, rest: Sequence[str]) -> str:
    return ", ".join([*(f"{path}={record.settings.get(path)}" for path in rest), f"seed {record.seed}"])


def told(records: Sequence[RunRecord], paths: Sequence[str]) -> str:
    """What the rows are, in a sentence or two; empty if they are not made by settings."""
    if not paths:
        return ""
    rest = varying(records, [record.group for record in records])
    also = [path for path in rest if not any(_same_part(path, other) for other in rest if other != path)]
    averaged = f" A row averages runs that differ in {', '.join([*also, 'seed'])}." if also else ""
    return f"Rows by {', '.join(paths)}.{averaged}"


def _same_part(path: str, other: str) -> bool:
    """Whether a setting belongs to a part whose name varies: then the name says it."""
    return other.endswith(".name") and path.startswith(other.removesuffix("name"))
