"""Mixtures of components: who is drawn how often, batches of one environment, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from systems import system_set, toy_recipe

from wmzoo import grid, pretraining
from wmzoo.data.store import write_corpus
from wmzoo.data.windows import Batches, batches
from wmzoo.errors import WmzooError
from wmzoo.recipe import Source, check
from wmzoo.runs import prepare
from wmzoo.training import train

MIXTURE = {"jat": 3.0, "dmc": 1.0}


def corpus(workdir):
    """Two environments of one component, one of them at two levels, and two more of another, of other widths."""
    sets = [
        system_set(environment="ant", level="a", component="jat"),
        system_set(environment="ant", level="b", component="jat", seed=1),
        system_set(environment="bee", component="jat", states=2, actions=1, seed=2),
        system_set(environment="cat", component="dmc", states=5, actions=3, seed=3, episodes=60),
        system_set(environment="dog", component="dmc", states=4, seed=4),
    ]
    write_corpus(workdir / "toy.h5", sets, {"made": "for a test"})


def prepared(workdir, **data):
    corpus(workdir)
    recipe = check(Source(toy_recipe(data={"environments": ["*"], **data}, train={"batch_size": 64}), {}))
    return recipe, prepare(recipe)


def drawn(recipe, data, count=150):
    """The environments and the keys of the sets of all windows of some batches, ``[count, B]`` each."""
    sources = np.stack([data.sampler(recipe).draw(i)[0] for i in range(count)])
    return np.array([i.environment for i in data.items])[sources], np.array([i.key for i in data.items])[sources]


@pytest.mark.parametrize(("batch", "tolerance"), [("mixed", 0.02), ("single_environment", 0.1)])
def test_components_by_weight_then_environments_alike_then_their_sets(workdir, batch, tolerance):
    recipe, data = prepared(workdir, mixture=MIXTURE, weights={"ant/b": 3.0}, batch=batch)
    environments, keys = drawn(recipe, data, 150 if batch == "mixed" else 600)
    for name, share in {"ant": 0.375, "bee": 0.375, "cat": 0.125, "dog": 0.125}.items():
        assert (environments == name).mean() == pytest.approx(share, abs=tolerance / 2), name
    assert (keys == "ant/b").sum() / (environments == "ant").sum() == pytest.approx(0.75, abs=0.02)
    assert all((len(set(row)) == 1) == (batch == "single_environment") for row in environments)


def test_a_recipe_without_a_mixture_draws_as_it_always_did(workdir):
    """Results were recorded with these draws."""
    recipe, data = prepared(workdir, weights={"bee/*": 2.0})
    sampler = data.sampler(recipe)
    assert sampler.weights == [1.0, 1.0, 2.0, 1.0, 1.0]
    rng = np.random.Generator(np.random.Philox(key=recipe.seed, counter=[0, 0, 0, 7]))
    source = rng.choice(5, 64, p=np.array([1, 1, 2, 1, 1]) / 6)
    pick, step = rng.random(64), rng.random(64)
    np.testing.assert_array_equal(sampler.draw(7)[0], source)
    first = int(source[0])
    train, item = data.splits[first].train, data.items[first]
    episode = train[int(pick[0] * len(train))]
    assert sampler.draw(7)[1][0] == item.offsets[episode] + 1 + int(step[0] * (item.lengths[episode] - 1))


@pytest.mark.parametrize("batch", ["mixed", "single_environment"])
def test_batches_are_the_same_from_any_start(workdir, batch):
    recipe, data = prepared(workdir, mixture=MIXTURE, batch=batch)
    made = Batches(data.sampler(recipe), data.variates)
    alone = [window.values for window, _ in batches(made, 0, 6)]
    assert all(torch.equal(a, made[number][0].values) for number, a in enumerate(alone))
    assert torch.equal(next(batches(made, 4, 6))[0].values, alone[4])
    widths = {values.shape[2] for values in alone}
    assert widths == {9} if batch == "mixed" else len(widths) > 1, "one environment needs no padding"


def test_processes_share_a_batch_of_one_environment(workdir):
    recipe, data = prepared(workdir, mixture=MIXTURE, batch="single_environment")
    sampler = data.sampler(recipe)
    whole, rows = Batches(sampler, data.variates)[3]
    parts = [Batches(sampler, data.variates, rank, 2)[3] for rank in (0, 1)]
    assert torch.equal(torch.stack([p.values for p, _ in parts], 1).flatten(0, 1), whole.values)
    assert [n for _, n in parts] == [rows, rows]


def test_what_is_left_out_need_not_be_named_and_may_be(workdir):
    for data in ({"exclude": ["jat"]}, {"components": ["dmc"]}):
        recipe, made = prepared(workdir, mixture=MIXTURE, **data)
        assert [item.component for item in made.items] == ["dmc", "dmc"]
        assert made.sampler(recipe).weights == [0.5, 0.5]
    recipe, made = prepared(workdir, mixture={"dmc": 1.0}, exclude=["jat"])
    assert len(made.items) == 2


PRESETS = {
    "pretrain": ("jat", "gym", "dmc", "modular"),
    "pretrain/unitraj-mini": ("jat", "gym", "dmc", "modular"),
    "pretrain-unitraj": ("exorl", "rl_unplugged", "modular-rl", "db1", "jat", "tdmpc2"),
}


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_of_pretraining_train(workdir, name):
    sets = [
        system_set(environment=component, component=component, seed=i, states=2 + i)
        for i, component in enumerate(PRESETS[name])
    ]
    write_corpus(workdir / "many.h5", sets, {"made": "for a test"})
    small = ["data.corpus=many.h5", "model.backbone.blocks=1", "model.backbone.width=16", "model.backbone.heads=2"]
    few = ["train.steps=2", "train.batch_size=4", "train.validate_every=2", "train.validation_windows=16"]
    recipe = check(*grid.cells(name, [*small, *few]))
    assert recipe.data.batch == ("mixed" if name == "pretrain/unitraj-mini" else "single_environment")
    assert (train(recipe, quiet=True) / "best.safetensors").is_file()


def test_the_subsets_of_pretraining_are_of_the_parts_that_they_name(workdir):
    names = PRESETS["pretrain/unitraj-mini"]
    sets = [system_set(environment=name, component=name, seed=i, states=2 + i) for i, name in enumerate(names)]
    (workdir / "corpora").mkdir()
    write_corpus(workdir / "corpora" / "unitraj-mini.h5", sets, {"made": "for a test"})
    found = {str(c.values["name"]): pretraining.named(c.values) for c in grid.cells("unitraj_subsets-mini")}
    assert len(found) == 10 and found.pop("scratch") is None
    trained = {name: {item.component for item in prepare(recipe).items} for name, recipe in found.items()}
    assert trained["unitraj-mini-components=jat"] == {"jat"}
    assert trained["unitraj-mini-exclude=jat"] == set(names) - {"jat"}
    assert trained["unitraj-mini-exclude=dmc,modular"] == {"jat", "gym"}
    assert trained["unitraj-mini-fraction=0.01"] == trained["unitraj-mini"] == set(names)
    assert found["unitraj-mini-fraction=0.01"].data.fraction == 0.01
    assert {recipe.name for recipe in found.values()} == set(found), "pre-training runs are told apart by their names"
    full = next(c for c in grid.cells("transfer-mini") if c.values["name"] == "trajworld-pretrained")
    assert pretraining.named(full.values).hash == found["unitraj-mini"].hash, "made once for both grids"


def test_the_weights_of_unitraj_are_those_of_the_paper(workdir):
    """Shares of its table 3 after division by their sum, 2.91."""
    (source,) = grid.cells("pretrain-unitraj")
    mixture = check(source).data.mixture
    shares = {name: round(100 * weight / sum(mixture.values()), 1) for name, weight in mixture.items()}
    wanted = {"exorl": 25.8, "rl_unplugged": 1.7, "modular-rl": 10.3, "db1": 0.3, "jat": 30.9, "tdmpc2": 30.9}
    assert shares == wanted


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"mixture": {"jat": 1.0}}, 'data.mixture: does not say how often to draw "dmc"; give a weight above 0'),
        (
            {"mixture": {**MIXTURE, "dcm": 1.0}},
            'data.mixture: toy.h5 has no component "dcm". Did you mean "dmc"? Valid: dmc, jat.',
        ),
        ({"mixture": {**MIXTURE, "dmc": 0}}, "data.mixture.dmc: must be a number above 0, not 0; leave a component"),
        ({"mixture": {**MIXTURE, "dmc": float("inf")}}, "data.mixture.dmc: must be a number above 0, not inf"),
        ({"mixture": {**MIXTURE, "dmc": -1}}, "data.mixture.dmc: must be at least 0, not -1"),
        ({"mixture": {**MIXTURE, "dmc": "much"}}, "data.mixture.dmc: must be a number, not 'much'"),
        ({"mixture": ["jat"]}, "data.mixture: must be a mapping"),
        ({"batch": "single"}, 'data.batch: "single" is not known. Did you mean "single_environment"?'),
        ({"components": ["jta"]}, 'data.components: nothing in toy.h5 matches "jta". Did you mean "jat"?'),
    ],
)
def test_what_is_refused(workdir, data, sentence):
    with pytest.raises(WmzooError) as caught:
        prepared(workdir, **data)
    (problem,) = caught.value.problems
    assert sentence in problem


def test_weights_that_leave_nothing_to_draw_are_refused(workdir):
    for data, what in (
        ({"weights": {"*": 0.0}}, "the chosen sets"),
        ({"weights": {"cat/*": 0.0, "dog/*": 0.0}, "mixture": MIXTURE}, "component dmc"),
    ):
        recipe, made = prepared(workdir, **data)
        with pytest.raises(WmzooError, match=f"data.weights: 0 for every set of {what}"):
            made.sampler(recipe)
    recipe, made = prepared(workdir, weights={"cat/*": 0.0}, mixture=MIXTURE)
    assert made.sampler(recipe).weights[3:] == [0.0, 1.0], "the other environment stands for the component"
