"""Evaluated runs, and whether they may stand in one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wmzoo.errors import WmzooError

IRRELEVANT = ("batch_size",)  # settings of a protocol that move no number


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
    """

    run_id: str
    name: str
    seed: int
    experiment: str
    tags: dict[str, str]
    cost: dict[str, float]
    result: dict[str, Any]


def check(records: Sequence[RunRecord], allow_mixed: bool = False) -> list[str]:
    """What the records differ in although one table should not mix it; sentences.

    Raises:
        WmzooError: there are no records, or they differ and that is not allowed.
    """
    if not records:
        raise WmzooError("nothing to compare; evaluate at least one run of the experiment first.")
    mixed = []
    for what, values in _conditions(records).items():
        groups = Counter(values)
        if len(groups) > 1:
            listed = "; ".join(f"{value} ({count} runs)" for value, count in groups.items())
            mixed.append(f"{what} are mixed: {listed}")
    if mixed and not allow_mixed:
        remedy = "evaluate the runs alike, compare them as separate experiments, or add --mixed to compare them anyway."
        raise WmzooError(*(f"{records[0].experiment}: {problem}; {remedy}" for problem in mixed))
    return mixed


def _conditions(records: Sequence[RunRecord]) -> dict[str, list[str]]:
    return {
        "protocols": [record.result["protocol"] for record in records],
        "settings of the protocol": [_settings(record) for record in records],
        "data (manifest hashes)": [record.result["manifest_hash"][:12] for record in records],
    }


def _settings(record: RunRecord) -> str:
    return settings_text(record.result["settings"])


def settings_text(settings: Mapping[str, Any]) -> str:
    """The settings that move numbers, in words."""
    shown = {name: value for name, value in settings.items() if name not in IRRELEVANT}
    return ", ".join(f"{name} {_plain(value)}" for name, value in shown.items())


def _plain(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value).lower()
