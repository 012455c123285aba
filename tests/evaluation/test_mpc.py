"""Model-predictive control: near a known optimum, visibly bad with a wrong model, plain about bad input."""

from __future__ import annotations

import json

import linear
import numpy as np
import pytest

from wmzoo.errors import WmzooError
from wmzoo.evaluation import mpc, remembered
from wmzoo.recipe import settings_of

SETTINGS = [
    "ending=never",
    "episodes=4",
    "candidates=64",
    "horizon=25",
    "gamma=1.0",
    "planner=cem",
    "proposal=gain 0.3",
]

THOROUGH = ["planner={name: cem, rounds: 10, std: 0.3}", "candidates=128"]


@pytest.fixture
def system(workdir, monkeypatch):
    linear.register(monkeypatch)
    monkeypatch.setattr(mpc, "find_policies", lambda environment, where: linear.policies())
    return linear.corpus_of(workdir, episodes=20)


def controlled(system, *settings, broken=False):
    corpus, about, variates = system
    config = settings_of(mpc.Config, [*SETTINGS, *settings])
    model = linear.Model(variates, broken)
    return mpc.evaluate(model, corpus, about, config, progress=False), model


def optimum(seed: int = 0, episodes: int = 4) -> float:
    """The best mean return from the first states of the episodes that are played."""
    from wmzoo.collect.simulators import make_simulator

    first = make_simulator(linear.NAME, episodes, np.random.default_rng([seed, 0])).observe()
    P, _ = linear.cost_to_go(None, linear.STEPS, 1.0)
    return -float(np.einsum("ni,ij,nj->n", first, P, first).mean())


def test_the_optimum_is_nearly_reached_and_a_broken_model_is_seen(system):
    result, model = controlled(system, *THOROUGH)
    rows = result["boards"][linear.NAME]["rows"]
    best, found = optimum(), rows["model"]["metrics"]["return"]["value"]
    assert best >= found >= best / 0.95
    assert rows["proposal policy"]["metrics"]["return"]["value"] < found
    assert rows["random actions"]["metrics"]["return"]["value"] < 5 * best
    assert rows["model"]["metrics"]["steps"]["value"] == linear.STEPS
    assert max(model.asked) == model.context and min(model.asked) == 1, "imagination starts from the real history"
    broken, _ = controlled(system, *THOROUGH, broken=True)
    assert broken["boards"][linear.NAME]["rows"]["model"]["metrics"]["return"]["value"] < 3 * best


def test_without_history_only_the_present_state_is_imagined_from(system):
    _, model = controlled(system, "history=false", "steps=8")
    assert set(model.asked) == {1}


@pytest.mark.parametrize("planner", ["proposal", "random_shooting", "cem", "mppi"])
def test_every_planner_is_better_than_chance(system, planner):
    result, _ = controlled(system, f"planner={planner}", "candidates=128", "horizon=5", "steps=30")
    rows = result["boards"][linear.NAME]["rows"]
    assert rows["model"]["metrics"]["return"]["value"] > rows["random actions"]["metrics"]["return"]["value"]


def test_the_same_seed_gives_the_same_returns_and_another_does_not(system):
    first, _ = controlled(system, "steps=10")
    again, _ = controlled(system, "steps=10")
    other, _ = controlled(system, "steps=10", "seed=1")
    returns = [r["boards"][linear.NAME]["rows"]["model"]["returns"] for r in (first, again, other)]
    assert returns[0] == returns[1] != returns[2]
    assert len(returns[0]) == 4 and json.loads(json.dumps(first))["protocol"] == "mpc/v1"


def test_what_no_model_changes_is_played_once(system, monkeypatch):
    controlled(system, "steps=10")
    monkeypatch.setattr(remembered, "write_json", None)
    controlled(system, "steps=10")


def test_the_ceiling_is_the_planner_on_the_true_simulator(workdir):
    """The same seed and candidates: a perfect copy of the simulator plans at least as well as the policy alone."""
    from types import SimpleNamespace

    config = settings_of(
        mpc.Config, ["episodes=2", "candidates=6", "horizon=20", "steps=150", "proposal=hopper-00", "planner=proposal"]
    )
    corpus = SimpleNamespace(path=workdir / "none.h5")
    task = mpc._Task("hopper", corpus, config, quiet=True)
    ceiling = task._row("ceiling", mpc._planned(task, mpc._Copies), "ceiling")
    alone = task._row("baseline", mpc._following(task.policy), "alone")
    assert np.mean(ceiling["returns"]) > np.mean(alone["returns"])


@pytest.mark.parametrize(
    ("words", "name", "changed"),
    [
        (["planner=cem", "planner.rounds=8"], "cem", {"rounds": 8}),
        (["planner.noise=0.3"], "proposal", {"noise": 0.3}),
        (["planner={name: cem, rounds: 3}", "planner.std=0.1"], "cem", {"rounds": 3, "std": 0.1}),
        (["planner.noise=0.3", "planner=mppi"], "mppi", {}),
    ],
)
def test_a_planner_and_its_settings_are_told_in_any_way(words, name, changed):
    found = settings_of(mpc.Config, words).planner
    assert found.name == name and {key: getattr(found.config, key) for key in changed} == changed


def test_settings_of_a_recipe_stay_where_the_command_line_is_silent():
    recipe = {"planner": {"name": "cem", "elites": 0.2}, "episodes": 3}
    kept = settings_of(mpc.Config, ["planner.rounds=8"], recipe)
    assert (kept.planner.config.elites, kept.planner.config.rounds, kept.episodes) == (0.2, 8, 3)
    assert settings_of(mpc.Config, ["planner=mppi"], recipe).planner.name == "mppi"


def test_papers_settings_are_the_presets():
    choices = {name: mpc._planner(mpc.Config().planner, name).noise for name in ("hopper", "walker2d", "halfcheetah")}
    assert choices == {"hopper": 0.05, "walker2d": 0.2, "halfcheetah": 0.025}
    assert (mpc.HORIZONS["hopper"], mpc.HORIZON, mpc.Config().candidates) == (50, 25, 128)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["env=hoper"], 'the run knows nothing of "hoper"'),
        (["proposal=gain 7"], 'no policy "gain 7" of linear. Did you mean "gain'),
        (["planner=cme"], 'unknown planner "cme". Did you mean "cem"'),
        (["candidates=1"], "candidates: must be at least 2"),
    ],
)
def test_mistakes_get_a_sentence(system, settings, said):
    with pytest.raises(WmzooError) as caught:
        controlled(system, *settings)
    assert said in str(caught.value)
