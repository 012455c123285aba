"""The protocol on a system whose right answer is known, and its refusals."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from exact import Decoding, Exact, corpus_of, level, rows_of, trained
from rich.console import Console
from systems import toy_recipe

from wmzoo import evaluation, grid
from wmzoo.errors import WmzooError
from wmzoo.evaluation import transition
from wmzoo.evaluation.cells import choose, draw
from wmzoo.evaluation.transition import Config
from wmzoo.model import build
from wmzoo.recipe import Source, check

SETTINGS = Config(context=9, windows=100, horizons=(1, 3, 9), rollouts=40, batch_size=32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    items = [
        level("a", rows_of(0, 12, 0.6)),
        level("b", rows_of(1, 5, 0.9)),
        level("other", rows_of(2, 3, 0.9), "else"),
    ]
    return corpus_of(tmp_path_factory.mktemp("corpus"), items)


def run(model, corpus, manifest, **changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    return transition.evaluate(model, corpus, manifest, settings, progress=False)


def without_times(value):
    """A result less what no two runs share."""
    if not isinstance(value, dict):
        return value
    return {k: without_times(v) for k, v in value.items() if "second" not in k and k != "settings"}


def test_an_exact_model_has_no_error_and_all_skill(corpus):
    manifest, variates, _ = trained(corpus)
    result = run(Exact(variates), corpus, manifest)
    assert result["protocol"] == "transition/v1" and list(result["modes"]) == [""]
    assert set(result["tests"]) == {"curved/a", "curved/b"}
    for cell in result["modes"][""].values():
        assert cell["mae"] < 1e-6 and cell["nmae"] < 1e-6
        assert cell["skill"] > 0.999 and cell["vs_last"] > 0.999 and cell["mae_skill"] > 0.999
        assert cell["coverage50"] == cell["coverage90"] == 1
        assert cell["nll"] == pytest.approx(np.log(1e-3 * np.sqrt(2 * np.pi)), abs=1e-3)
        assert all(errors["nmae"] < 1e-4 for errors in cell["horizons"].values())


def test_a_known_error_is_measured_in_training_deviations(corpus):
    manifest, variates, _ = trained(corpus)
    result = run(Exact(variates, bias=0.25, spread=0.25), corpus, manifest)
    for cell in result["modes"][""].values():
        assert cell["nmae"] == pytest.approx(0.25, rel=1e-4)
        np.testing.assert_allclose(cell["variates"]["mae"], 0.25 * variates["curved"].std[:3], rtol=1e-3)
        assert cell["mae"] == pytest.approx(np.mean(cell["variates"]["mae"]))
        assert cell["horizons"]["1"]["nmae"] == pytest.approx(0.25, rel=1e-4)


def test_own_level_is_tested_on_test_episodes_and_others_on_all(corpus):
    manifest, variates, part = trained(corpus)
    result = run(Exact(variates), corpus, manifest, windows=10_000)
    own, other = result["tests"]["curved/a"], result["tests"]["curved/b"]
    assert (own["distribution"], other["distribution"]) == ("in", "out")
    assert own["episodes"] == len(part.test) == 4 and other["episodes"] == 5
    assert own["windows"] == 4 * 40 and other["windows"] == 5 * 40
    episodes = result["modes"][""]["curved/a"]["by_episode"]
    assert episodes["episode"] == part.test.tolist() and episodes["windows"] == [40] * 4
    assert run(Exact(variates), corpus, manifest)["tests"]["curved/a"]["windows"] == 100


def test_every_horizon_predicts_the_same_rows(corpus):
    manifest, variates, _ = trained(corpus)
    result = run(Exact(variates), corpus, manifest)
    item, std = corpus.sets["curved/b"], variates["curved"].std[:3]
    cell = next(c for c in choose(corpus, manifest, variates) if c.item.key == "curved/b")
    rows = draw(cell, SETTINGS.context, SETTINGS.rollouts)
    assert len(rows) == result["tests"]["curved/b"]["rollouts"] == 40
    assert (rows - item.offsets[np.searchsorted(item.offsets, rows, side="right") - 1] >= 9).all()
    for k in SETTINGS.horizons:
        expected = np.abs(item.data[rows, :3] - item.data[rows - k, :3]) / std
        found = result["floors"]["last value"]["curved/b"]["horizons"][str(k)]["nmae"]
        assert found == pytest.approx(expected.mean(), rel=1e-5)


def test_numbers_do_not_depend_on_the_batch_size(corpus):
    manifest, variates, _ = trained(corpus)
    model = Exact(variates, bias=0.1, spread=0.2)
    one, other = (leaves(without_times(run(model, corpus, manifest, batch_size=size))) for size in (7, 500))
    assert len(one) > 100
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-9)


def leaves(value):
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value] if isinstance(value, float) else []


def test_ranges_come_from_the_training_episodes(tmp_path, corpus):
    """Blowing other levels and the environment's test episodes up moves no number of an untouched set."""
    manifest, variates, _ = trained(corpus)
    before = run(Exact(variates, bias=0.1), corpus, manifest)
    wild = [level("a", rows_of(0, 12, 0.6)), level("b", [50 * r for r in rows_of(1, 5, 0.9)])]
    altered = corpus_of(tmp_path, wild)
    again, same, _ = trained(altered)
    np.testing.assert_array_equal(same["curved"].std, variates["curved"].std)
    after = run(Exact(same, bias=0.1), altered, again)
    for part in ("modes", "floors"):
        for name in before[part]:
            assert without_times(before[part][name]["curved/a"]) == without_times(after[part][name]["curved/a"])
    clipped = after["tests"]["curved/b"]["clipped"]
    assert clipped > 0.5 > before["tests"]["curved/b"]["clipped"]
    ratio = np.divide(*(after["floors"]["last value"]["curved/b"]["variates"][n] for n in ("mae", "nmae")))
    np.testing.assert_allclose(ratio, variates["curved"].std[:3], rtol=1e-5)


def leaking(folder):
    """Level b holds a copy of an episode that a run on level a is trained on."""
    rows = rows_of(0, 12, 0.6)
    first = corpus_of(folder, [level("a", rows)])
    copied = rows[trained(first)[2].train[0]]
    return corpus_of(folder, [level("a", rows), level("b", [*rows_of(1, 2, 0.9), copied])])


def test_episodes_trained_on_are_refused_with_their_place(tmp_path):
    corpus = leaking(tmp_path)
    manifest, variates, _ = trained(corpus)
    with pytest.raises(WmzooError, match=r"set curved/b.* episode 2 .*in_distribution=true"):
        run(Exact(variates), corpus, manifest)


def test_episodes_trained_on_are_marked_when_they_are_accepted(tmp_path):
    corpus = leaking(tmp_path)
    manifest, variates, _ = trained(corpus)
    tests = run(Exact(variates), corpus, manifest, in_distribution=True)["tests"]
    assert tests["curved/b"]["distribution"] == "in" and tests["curved/b"]["episodes_seen"] == 1
    assert tests["curved/a"]["episodes_seen"] == 0


@pytest.mark.parametrize("name", ["transfer", "unitraj_subsets"])
def test_the_recipes_of_the_papers_size_are_evaluated_on_sets_that_share_episodes(tmp_path, name):
    """D4RL's medium-expert is medium and expert in one file."""
    config = dataclasses.replace(check(grid.cells(name)[0]).evaluate["transition"], context=4, horizons=(1,))
    medium, expert = rows_of(0, 12, 0.6), rows_of(1, 12, 0.9)
    sets = {"medium": medium, "expert": expert, "medium-expert": [*medium, *expert]}
    corpus = corpus_of(tmp_path, [level(*item) for item in sets.items()])
    for key in corpus.sets:
        manifest, variates, _ = trained(corpus, key)
        result = transition.evaluate(Exact(variates), corpus, manifest, config, progress=False)
        assert len(result["tests"]) == 3 and result["tests"][key]["episodes_seen"] == 0


@pytest.mark.parametrize("name", ["unitraj_subsets", "unitraj_subsets-mini"])
def test_what_pre_training_owes_is_seen_after_training_on_experts(name):
    """Section 5.5: trained on expert data of each environment, tested on all levels."""
    cells = [check(source) for source in grid.cells(name)]
    sets = {cell.data.environments for cell in cells}
    assert all(len(keys) == 1 and keys[0].endswith("/expert") for keys in sets)
    per_model = {model: {c.data.environments for c in cells if c.name == model} for model in {c.name for c in cells}}
    assert all(own == sets for own in per_model.values()), "or the comparison refuses to mix them"


def test_another_corpus_than_the_runs_is_refused(tmp_path, corpus):
    manifest, variates, _ = trained(corpus)
    changed = corpus_of(tmp_path, [level("a", rows_of(5, 12, 0.6))])
    with pytest.raises(WmzooError, match="curved/a is not as it was"):
        run(Exact(variates), changed, manifest)
    lacking = corpus_of(tmp_path, [level("b", rows_of(1, 5, 0.9))])
    with pytest.raises(WmzooError, match="lacks curved/a"):
        run(Exact(variates), lacking, manifest)


def test_a_run_without_test_episodes_is_refused(corpus):
    manifest, variates, _ = trained(corpus, test=0.0)
    with pytest.raises(WmzooError, match="data.split.test"):
        run(Exact(variates), corpus, manifest)


def test_a_horizon_beyond_the_context_is_refused(corpus):
    manifest, variates, _ = trained(corpus)
    with pytest.raises(WmzooError, match="horizons"):
        run(Exact(variates), corpus, manifest, horizons=(1, 10))


def test_nan_in_a_test_set_is_refused(tmp_path):
    broken = rows_of(1, 3, 0.9)
    broken[1][5, 0] = np.nan
    corpus = corpus_of(tmp_path, [level("a", rows_of(0, 12, 0.6)), level("b", broken)])
    manifest, variates, _ = trained(corpus)
    with pytest.raises(WmzooError, match="curved/b: NaN"):
        run(Exact(variates), corpus, manifest)


def test_short_episodes_have_no_rollout_errors(tmp_path):
    corpus = corpus_of(tmp_path, [level("a", rows_of(0, 12, 0.6)), level("b", rows_of(1, 6, 0.9, length=4))])
    manifest, variates, _ = trained(corpus)
    result = run(Exact(variates, bias=0.1), corpus, manifest)
    assert result["tests"]["curved/b"]["rollouts"] == 0 and result["modes"][""]["curved/b"]["horizons"] == {}
    assert result["modes"][""]["curved/b"]["nmae"] == pytest.approx(0.1, rel=1e-4)


def test_models_that_decode_are_scored_in_both_modes(corpus):
    manifest, variates, _ = trained(corpus)
    result = run(Decoding(variates), corpus, manifest)
    free, forced = (result["modes"][mode]["curved/a"] for mode in ("free-running", "teacher-forced"))
    assert free["nmae"] == pytest.approx(0.2, rel=1e-4) and forced["nmae"] == 0
    assert set(free["horizons"]) == {"1", "3", "9"} and forced["horizons"] == {}
    metrics = transition.summary(result)
    assert metrics["in/nmae"] == metrics["a/nmae"] == free["nmae"]
    assert metrics["teacher-forced/in/nmae"] == 0


def test_several_environments_are_told_apart(corpus):
    keys = ("curved/a", "else/other")
    alone = [trained(corpus, key) for key in keys]
    manifest = {
        **alone[0][0],
        "sets": {key: about["sets"][key] for key, (about, _, _) in zip(keys, alone, strict=True)},
    }
    variates = {**alone[0][1], **alone[1][1]}
    result = run(Exact(variates, bias=0.1), corpus, manifest)
    metrics = transition.summary(result)
    assert {key: about["distribution"] for key, about in result["tests"].items()} == {
        "curved/a": "in",
        "curved/b": "out",
        "else/other": "in",
    }
    assert metrics["in/skill"] == np.mean([metrics["curved/a/skill"], metrics["else/other/skill"]])


def test_of_many_environments_the_mean_is_told_and_where_the_last_value_is_better(corpus):
    manifest, variates, _ = trained(corpus)
    result = json.loads(json.dumps(run(Exact(variates, bias=0.1), corpus, manifest)))
    tests, model, floors = result["tests"], result["modes"][""], result["floors"]
    for i in range(20):  # as if there had been so many
        for found in (tests, model, *floors.values()):
            found[f"env{i:02d}/a"] = dict(found["curved/a"])
    model["env03/a"] |= {"nmae": None}
    model["env07/a"] |= {"nmae": 2 * floors["last value"]["env07/a"]["nmae"]}
    result["trained_on"] = list(tests)
    said = "\n".join(str(part) for part in transition.describe(result)[1:])
    known = np.mean([cell["nmae"] for cell in model.values() if cell["nmae"] is not None])
    assert f"mean nmae {known:.3g}, of the last value" in said
    assert "worse on 2 of 22 test sets (env03/a, env07/a)" in said
    assert "trained on 22 sets, curved/a to env19/a" in transition.describe(result)[0].title


def test_a_diverged_model_gives_valid_json(corpus):
    manifest, variates, _ = trained(corpus)
    result = run(Exact(variates, bias=float("nan")), corpus, manifest)
    json.dumps(result, allow_nan=False)
    assert result["modes"][""]["curved/a"]["nmae"] is None
    assert "a/nmae" not in transition.summary(result) and len(transition.describe(result)) == 2


def test_summary_and_description(corpus):
    manifest, variates, _ = trained(corpus)
    result = json.loads(json.dumps(run(Exact(variates, bias=0.1), corpus, manifest), allow_nan=False))
    metrics = transition.summary(result)
    for name in ("in/nmae", "in/vs_last", "out/nmae", "b/skill", "a/nmae_h9", "b/coverage90"):
        assert np.isfinite(metrics[name])
    console = Console(width=100, record=True, file=open("/dev/null", "w"))
    for part in transition.describe(result):
        console.print(part)
    text = console.export_text()
    assert "curved/b" in text and "trained on curved/a" in text and "…" not in text


@pytest.mark.parametrize("backbone", ["trajworld", "tdm", "mlp_ensemble"])
def test_every_kind_of_model_is_evaluated_by_its_verbs(corpus, backbone):
    manifest, variates, _ = trained(corpus)
    recipe = check(Source(toy_recipe(backbone=backbone, data={"window": 10}), {}))
    result = run(build(recipe, variates), corpus, manifest, windows=40, rollouts=10)
    for cells in result["modes"].values():
        assert all(np.isfinite(cell["nll"]) and 0 <= cell["coverage50"] <= 1 for cell in cells.values())


def test_evaluation_leaves_random_numbers_alone(corpus):
    manifest, variates, _ = trained(corpus)
    torch.manual_seed(0)
    np.random.seed(0)
    run(Exact(variates), corpus, manifest)
    drawn = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    assert drawn == (torch.rand(1).item(), np.random.rand())


def test_protocols_are_listed_without_importing_them():
    code = (
        "import sys; from wmzoo import evaluation as e; "
        "print(e.short_names(), e.protocols()); assert 'torch' not in sys.modules and 'sklearn' not in sys.modules"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "transition" in out and "transition/v1" in out and "Transition prediction" in out


def test_protocols_are_found_by_name():
    assert evaluation.find("transition/v1") is transition
    assert evaluation.config_of("transition") is Config
    with pytest.raises(WmzooError, match='Did you mean "transition/v1"'):
        evaluation.find("transition/v2")
    with pytest.raises(WmzooError, match="unknown protocol"):
        evaluation.config_of("transitions")
