"""One number a model over training and test sets: shares of the error of TrajWorld from scratch."""

import dataclasses

import numpy as np
import pytest
from test_compare import printed, runs

from wmzoo.errors import WmzooError
from wmzoo.evaluation import aggregate, entries, levels
from wmzoo.evaluation.records import check

__all__ = ["runs"]


def as_backbones(records, **origins):
    """The records with the backbone, and what it started from, of each name."""
    return [
        dataclasses.replace(record, tags={**record.tags, **origins[record.name]})
        for record in records
        if record.name in origins
    ]


SCRATCH, TUNED = {"backbone": "trajworld"}, {"backbone": "trajworld", "init_from": "runs/pretrain/x"}


def test_each_cell_is_divided_by_the_mean_of_trajworld_from_scratch(runs):
    records = as_backbones(runs, good=TUNED, poor=SCRATCH)
    rows = entries.rows(records)
    found = aggregate.relative(rows, aggregate.reference(records, rows), "mae")
    assert list(found)[:2] == ["good", "poor"] and found["poor"].mean == pytest.approx(1.0)
    errors = {
        name: np.array([[cell["mae"] for cell in r.result["modes"][""].values()] for r in records if r.name == name])
        for name in ("good", "poor")
    }
    by_hand = (errors["good"] / errors["poor"].mean(0)).mean()
    assert found["good"].mean == pytest.approx(by_hand, rel=1e-6)
    assert found["good"].low < by_hand < found["good"].high < 1
    assert {"floor: last value", "floor: ridge"} <= set(found)


def test_the_interval_knows_that_the_seeds_of_the_reference_vary(runs):
    """A model without any error of its own is as unsure as what it is divided by; the reference is 1 and sure."""
    records = as_backbones(runs, good=TUNED, poor=SCRATCH)

    def with_errors(record, errors):
        cells = {
            key: {
                **cell,
                "mae": errors[record.seed],
                "by_episode": {**cell["by_episode"], "mae": [errors[record.seed]] * len(cell["by_episode"]["mae"])},
            }
            for key, cell in record.result["modes"][""].items()
        }
        return dataclasses.replace(record, result={**record.result, "modes": {"": cells}})

    seeds = sorted({record.seed for record in records})
    planted = {
        "poor": dict(zip(seeds, np.linspace(0.5, 1.5, len(seeds)), strict=True)),
        "good": dict.fromkeys(seeds, 1.0),
    }
    made = [with_errors(record, planted[record.name]) for record in records]
    rows = entries.rows(made)
    found = aggregate.relative(rows, aggregate.reference(made, rows), "mae")
    assert (found["poor"].mean, found["poor"].low) == (1.0, None)
    assert found["good"].mean == pytest.approx(1.0)
    draws = 1 / np.random.default_rng(1).choice(list(planted["poor"].values()), (20_000, len(seeds))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found["good"].low == pytest.approx(low, rel=0.1) and found["good"].high == pytest.approx(high, rel=0.1)


def test_it_stands_in_the_comparison_only_beside_its_reference(runs):
    text = printed(as_backbones(runs, good=TUNED, poor=SCRATCH))
    assert "shares of those of TrajWorld from scratch" in " ".join(text.split())
    assert "from scratch" not in printed(as_backbones(runs, good=TUNED, poor=TUNED)), "nothing to divide by"
    assert "from scratch" not in printed(as_backbones(runs, good=SCRATCH)), "nothing else to compare"
    ambiguous = as_backbones(runs, good=SCRATCH, poor=SCRATCH)
    assert aggregate.reference(ambiguous, entries.rows(ambiguous)) == []


def on_another_set(record):
    """The record as if it had been trained on another set."""
    result = {**record.result, "manifest_hash": "f" * 64, "trained_on": ["line/z"]}
    return dataclasses.replace(record, result=result, run_id=f"{record.run_id}-z")


def test_models_of_the_same_several_training_sets_are_compared(runs, tmp_path):
    records = as_backbones(runs, good=TUNED, poor=SCRATCH)
    both = [*records, *map(on_another_set, records)]
    assert check(both) == []
    rows = entries.rows(both)
    of = aggregate.reference(both, rows)
    assert len(of) == 2
    once = aggregate.relative(entries.rows(records), aggregate.reference(records, entries.rows(records)), "nmae")
    assert aggregate.relative(rows, of, "nmae")["good"].mean == pytest.approx(once["good"].mean)
    assert aggregate.grid(both, rows, full=True).rows[0][-1] == "6", "three test sets of two training sets"
    drawn = levels.compare(both).pictures
    assert list(drawn) == ["comparison.png", "matrix.png"], "bars of every training set can't be read"
    for name, picture in drawn.items():
        picture.draw(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 10_000
    assert "calibration.png" in levels.compare(records).pictures, "one training set has them all"
    with pytest.raises(WmzooError, match="manifest hashes"):
        check([*records, on_another_set(records[0])])
    lacking = [r for r in both if not (r.name == "good" and r.run_id.endswith("z"))]
    rows = entries.rows(lacking)
    assert "good" not in aggregate.relative(rows, aggregate.reference(lacking, rows), "mae"), "a cell lacks"


def test_what_began_from_another_run_is_said_to_cost_more(runs):
    said = printed(as_backbones(runs, good=TUNED, poor=SCRATCH), width=200)
    assert "Costs leave out the training of the runs that these started from: good." in said
    assert "started from" not in printed(runs, width=200)
