"""Evaluated runs, and whether they may stand in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wmzoo import compat
from wmzoo.errors import WmzooError

IRRELEVANT = ("batch_size",)  # settings of a protocol that move no number
NAMED = 15  # most sets that are told by their names, as many as the paper's training sets


@dataclass(frozen=True, kw_only=True, eq=False)
class RunRecord:
    """One evaluated run.

    Attributes:
        run_id: in the tracking store.
        name: of its recipe.
        seed: of its recipe.
        experiment: that it belongs to.
        tags: ``recipe_hash``, ``manifest_hash``, ``protocol`` and others; ``variant``, if there is one, is the
            row's label instead of the name.
        cost: ``parameters``, ``train_tokens``, ``train_flops``, ``train_seconds``, ``peak_memory_mb``, ``steps``.
        result: of the protocol.
        settings: of its recipe, by dotted path, as the tracking store keeps them.
        group: the row that it belongs to, if rows are not made by name.
        unit: what it is paired by with runs of other rows; its seed, if empty.
        older: runs of the same recipe, with its seed, and data, which it replaces.
    """

    run_id: str
    name: str
    seed: int
    experiment: str
    tags: dict[str, str]
    cost: dict[str, float]
    result: dict[str, Any]
    settings: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    unit: str = ""
    older: tuple[RunRecord, ...] = ()


def check(records: Sequence[RunRecord], allow_mixed: bool = False) -> list[str]:
    """What the records differ in although one table should not mix it; sentences.

    Raises:
        WmzooError: there are no records, or they differ and that is not allowed. Of protocols, versions may differ.
    """
    if not records:
        raise WmzooError("nothing to compare; evaluate at least one run of the experiment first.")
    protocols = _differing("protocols", [record.result["protocol"] for record in records])
    several = len({record.result["protocol"].partition("/")[0] for record in records}) > 1
    if protocols and (several or not allow_mixed):
        raise WmzooError(f"{records[0].experiment}: {protocols[0]}; compare the runs of one protocol at a time.")
    found = [problem for what, values in _conditions(records).items() for problem in _differing(what, values)]
    mixed = protocols + found
    if mixed and not allow_mixed:
        remedy = "evaluate the runs alike, compare them as separate experiments, or add --mixed to compare them anyway."
        raise WmzooError(*(f"{records[0].experiment}: {problem}; {remedy}" for problem in mixed))
    return mixed


def _differing(what: str, values: Sequence[str]) -> list[str]:
    """A sentence if the values are not all the same."""
    groups = Counter(values)
    listed = "; ".join(f"{value} ({count} runs)" for value, count in groups.items())
    return [f"{what} are mixed: {listed}"] if len(groups) > 1 else []


def _conditions(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    """What must not differ; of results that have a board for each environment, the data of each environment."""
    found = {"settings of the protocol": [_settings(record) for record in records]}
    boards = [record.result.get("boards") or [_trained_on(record, records)] for record in records]
    for environment in dict.fromkeys(name for names in boards for name in names):
        of = f" of {environment}" if environment else ""
        found[f"data{of} (manifest hashes)"] = [
            record.result["manifest_hash"][:12]
            for record, names in zip(records, boards, strict=True)
            if environment in names
        ]
    return found


def _trained_on(record: RunRecord, records: Sequence[RunRecord]) -> str:
    """The sets that a run trained on, if every model was trained on the same several collections of sets; else empty.

    So a grid may vary the training set: each model then has a result on every one of them.
    """
    found: dict[str, set[str]] = {}
    for other in records:
        name = other.tags.get("variant", other.name)
        found.setdefault(name, set()).add(", ".join(other.result.get("trained_on", [])))
    alike = len({frozenset(sets) for sets in found.values()}) == 1
    return ", ".join(record.result.get("trained_on", [])) if alike else ""


def _settings(record: RunRecord) -> str:
    return settings_text(record.result["settings"])


def settings_text(settings: Mapping[str, Any]) -> str:
    """The settings that move numbers, in words; those that are left empty are left out."""
    shown = {name: value for name, value in settings.items() if name not in IRRELEVANT and value not in ("", None)}
    return ", ".join(f"{name} {_plain(value)}" for name, value in shown.items())


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):  # a part: its name and its settings
        own = settings_text({name: setting for name, setting in value.items() if name != "name"})
        return f"{value['name']} ({own})" if own else str(value["name"])
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value).lower()


def heading(records: Sequence[RunRecord], seeds: Iterable[int]) -> str:
    """What is compared, in a sentence or two.

    Args:
        records: evaluated runs.
        seeds: how many each model has.
    """
    result = records[0].result
    hashes = ", ".join(sorted({record.result["manifest_hash"][:12] for record in records}))
    trained = listed(sorted({key for record in records for key in record.result["trained_on"]}))
    return (
        f"Experiment {records[0].experiment}, {result['protocol']} ({settings_text(result['settings'])}). "
        f"Trained on {trained}; data hash {hashes}; seeds a model: {' or '.join(map(str, sorted(set(seeds))))}."
    )


def listed(keys: Sequence[str]) -> str:
    """Sets by their names, if they are few."""
    if len(keys) > NAMED:
        return f"{len(keys)} sets, {keys[0]} to {keys[-1]}"
    return ", ".join(keys) or "other data"


def labels(records: Sequence[RunRecord]) -> list[str]:
    """A label for each record; runs of one name and one seed are told apart by their recipe's hash."""
    names = [(record.group or record.tags.get("variant", record.name)) + _compat(record.result) for record in records]
    keys = [(n, r.unit or r.seed, r.result["manifest_hash"]) for n, r in zip(names, records, strict=True)]
    repeated = {key[0] for key, count in Counter(keys).items() if count > 1}
    return [
        f"{name} {record.tags.get('recipe_hash', record.run_id)[:6]}" if name in repeated else name
        for name, record in zip(names, records, strict=True)
    ]


def rows(records: Sequence[RunRecord]) -> list[tuple[str, list[RunRecord]]]:
    """Labels and runs of the rows: runs that differ in their seed alone, or in what is averaged over, on the same data.

    Where a label stands for several data, their hash is added to it.
    """
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for label, record in zip(labels(records), records, strict=True):
        groups.setdefault((label, record.result["manifest_hash"]), []).append(record)
    count = Counter(label for label, _ in groups)
    return [
        (f"{label} {manifest[:6]}" if count[label] > 1 else label, sorted(runs, key=lambda r: (r.seed, r.unit)))
        for (label, manifest), runs in groups.items()
    ]


def units(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """What the runs of a row are paired by with those of another."""
    return tuple(run.unit or str(run.seed) for run in runs)


def seeds_text(seeds: Sequence[int]) -> str:
    """How many seeds, and how many runs if those are more."""
    count = len(set(seeds))
    return f"{count} ({len(seeds)} runs)" if count < len(seeds) else str(count or "-")


FEW = {2: 50, 3: 75, 4: 79, 5: 84, 6: 85, 7: 87, 8: 88, 9: 89, 10: 89}
"""Of 100 intervals of so many seeds, how many hold the mean of all seeds where seeds alone vary (simulated)."""


def few(seeds: Iterable[Sequence[int]]) -> list[str]:
    """What few seeds mean for the intervals, in a sentence or two.

    Args:
        seeds: of the runs of each row; none for what was not trained.
    """
    count = min((len(runs) for runs in seeds if runs), default=0)
    if count == 1:
        return [
            "A row of one seed has an interval over episodes alone; another seed may lie outside, so it is not bold."
        ]
    if count not in FEW:
        return []
    return [
        f"With {count} runs a row, its own interval is too narrow: where seeds differ more than episodes, {FEW[count]} "
        "of 100 such intervals, not 95, hold the mean of many seeds. The paired differences allow for that."
    ]


def _compat(result: Mapping[str, Any]) -> str:
    """What to add to the name of a model that is not plainly corrected."""
    found = result.get("compat", compat.CORRECTED)
    return {compat.CORRECTED: "", compat.OFFICIAL: ", official"}.get(found, ", official in part")


def mean_cost(runs: Sequence[RunRecord]) -> dict[str, float]:
    """What runs cost on average."""
    return {name: float(np.mean([run.cost[name] for run in runs])) for name in runs[0].cost}
