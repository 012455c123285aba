"""Few-shot: one unit and one test set for every share of the episodes, and boards that stand side by side."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from exact import SPLIT, Exact, corpus_of, level, rows_of

from wmzoo.data.splits import manifest, merge_variates, split
from wmzoo.data.subset import choose_episodes
from wmzoo.errors import WmzooError
from wmzoo.evaluation import few_shot, transition
from wmzoo.evaluation.records import RunRecord, check

COST = dict.fromkeys(("parameters", "train_tokens", "train_flops", "train_seconds", "peak_memory_mb", "steps"), 1.0)


@pytest.fixture
def corpus(workdir):
    return corpus_of(workdir, [level("a", rows_of(0, 30, 0.5)), level("b", rows_of(1, 8, 1.0))])


def evaluated(corpus, fraction, bias=0.0, **settings):
    """A model that is wrong by ``bias`` of its own training deviations, trained on a share of one level."""
    item = corpus.sets["curved/a"]
    part = split(item, **SPLIT)
    part = dataclasses.replace(part, train=choose_episodes(item, part.train, fraction, 0))
    variates = {item.environment: merge_variates([(item, part.train)])}
    model = Exact(variates, bias=bias)
    model.recipe = SimpleNamespace(data=SimpleNamespace(fraction=fraction))
    model.weight = torch.nn.Parameter(torch.zeros(1))
    about = manifest(corpus, {item.key: part}, SPLIT)
    config = few_shot.Config(context=4, **settings)
    return few_shot.evaluate(model, corpus, about, config, progress=False), variates[item.environment], item


def board(result):
    (found,) = result["boards"].values()
    return found


def test_a_right_model_has_no_error_at_any_share_and_the_floors_do(corpus):
    for fraction in (0.1, 1.0):
        rows = board(evaluated(corpus, fraction)[0])["rows"]
        assert rows["model"]["metrics"]["nmae"]["value"] < 1e-5
        assert rows["last value"]["metrics"]["nmae"]["value"] > 0.1


def test_the_unit_is_that_of_all_episodes_whatever_the_share(corpus):
    few, few_variates, item = evaluated(corpus, 0.1, bias=1.0)
    whole = merge_variates([(item, split(item, **SPLIT).train)])
    ratio = (few_variates.std[:3] / whole.std[:3]).mean()
    assert abs(ratio - 1) > 0.01, "a planted difference, or the next line says nothing"
    assert board(few)["rows"]["model"]["metrics"]["nmae"]["value"] == pytest.approx(ratio, rel=1e-3)
    every, _, _ = evaluated(corpus, 1.0)
    last = [board(result)["rows"]["last value"]["metrics"]["nmae"]["value"] for result in (few, every)]
    assert last[0] == last[1], "the same rows in the same unit"


def test_the_ridge_floor_knows_the_episodes_of_the_share_alone(corpus):
    ridge = [board(evaluated(corpus, f)[0])["rows"]["ridge"]["metrics"]["nmae"]["value"] for f in (0.1, 1.0)]
    assert ridge[0] != ridge[1]


def test_shares_are_boards_of_one_comparison_with_a_picture(corpus, workdir):
    records = [
        RunRecord(
            run_id=f"{name}{fraction}{seed}",
            name=name,
            seed=seed,
            experiment="e",
            tags={"recipe_hash": f"{name}{fraction}"},
            cost=COST,
            result=evaluated(corpus, fraction, bias)[0],
        )
        for name, bias in (("scratch", 0.5), ("pre-trained", 0.2))
        for fraction in (0.1, 1.0)
        for seed in (0, 1)
    ]
    assert check(records) == [], "shares have data of their own, so nothing is mixed"
    made = few_shot.compare(records)
    titles = [grid.title.split(":")[0] for grid in made.full]
    assert [title.rpartition(", ")[2] for title in titles[:2]] == ["10 %", "100 %"]
    for grid in made.full[:2]:
        assert [row[0] for row in grid.rows[:2]] == ["pre-trained", "scratch"]
    costs = [row[0] for row in made.full[2].rows]
    assert costs[:2] == ["pre-trained (curved, 10 %)", "scratch (curved, 10 %)"] and len(set(costs)) == 4
    made.pictures["comparison.png"].draw(workdir / "c.png")
    assert (workdir / "c.png").stat().st_size > 10_000


def test_an_imported_model_is_refused(corpus):
    with pytest.raises(WmzooError, match="its share of the episodes is unknown"):
        few_shot.evaluate(Exact({}), corpus, {"imported": "x", "sets": {}}, few_shot.Config(), progress=False)


def test_few_shot_errors_are_those_of_the_transition_protocol(corpus):
    result, variates, item = evaluated(corpus, 1.0, bias=0.3)
    part = split(item, **SPLIT)
    about = manifest(corpus, {item.key: part}, SPLIT)
    config = transition.Config(context=4, horizons=(1,), rollouts=4, windows=1024)
    model = Exact({item.environment: variates}, bias=0.3)
    other = transition.evaluate(model, corpus, about, config, progress=False)["modes"][""][item.key]
    found = board(result)["rows"]["model"]["metrics"]
    assert found["nmae"]["value"] == pytest.approx(other["nmae"]) and found["mae"]["value"] == pytest.approx(
        other["mae"]
    )
    assert np.isfinite(found["ood"]["value"])
