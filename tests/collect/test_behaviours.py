"""Trainers, and the ladders that the package ships."""

import json

import numpy as np
import pytest

from wmzoo.collect.behaviours import make_ladder, measure, settings_for, train_behaviour
from wmzoo.collect.environments import D4RL
from wmzoo.collect.ladder import SHIPPED, choose_rungs, load_ladder, roles
from wmzoo.errors import WmzooError

BUDGETS = {"ars": 1000, "ppo": 4096, "sac": 4200}


@pytest.mark.parametrize("method", BUDGETS)
def test_same_seed_and_steps_give_the_same_policies(method):
    def weights(seed):
        run = train_behaviour("hopper", method, seed=seed, steps=BUDGETS[method], snapshots=4, progress=False)
        snapshots = list(run)
        assert 2 <= len(snapshots) <= 4
        assert snapshots[0].steps == 0 and snapshots[-1].steps >= 0.8 * BUDGETS[method]
        return np.concatenate([w.ravel() for w, _ in snapshots[-1].policy.layers()])

    first = weights(1)
    np.testing.assert_array_equal(first, weights(1))
    assert np.abs(first - weights(2)).max() > 1e-3


@pytest.mark.parametrize(("method", "steps"), [("ars", 20_000), ("ppo", 24_576)])
def test_training_helps(method, steps):
    run = list(train_behaviour("hopper", method, seed=0, steps=steps, snapshots=6, progress=False))
    returns = [measure(snapshot.policy, "hopper", 6, 0).returns.mean() for snapshot in run]
    assert max(returns) > returns[0] + 100


def test_measure_is_reproducible():
    ladder = load_ladder("hopper")
    policy = ladder.policies[ladder.medium]
    one, two = measure(policy, "hopper", 3, 7), measure(policy, "hopper", 3, 7)
    np.testing.assert_array_equal(one.returns, two.returns)
    assert (one.lengths <= 1000).all() and (one.lengths >= 1).all()


def test_wrong_methods_and_budgets():
    with pytest.raises(WmzooError, match='Did you mean "ppo"'):
        settings_for("hopper", "pro")
    with pytest.raises(WmzooError, match="at least 1"):
        list(train_behaviour("hopper", "ars", seed=0, steps=0))


def test_shipped_policies_are_small():
    sizes = [path.stat().st_size for path in SHIPPED.iterdir()]
    assert len(sizes) >= 3 * 8
    assert sum(sizes) < 2e6


@pytest.mark.parametrize("environment", D4RL)
def test_shipped_ladders_give_every_level(environment):
    ladder = load_ladder(environment)
    means = {item["name"]: item["return_mean"] for item in ladder.about["policies"]}
    assert set(ladder.policies) == set(means)
    assert list(means.values()) == sorted(means.values())
    assert means[ladder.expert] == max(means.values())
    assert 0.3 < means[ladder.medium] / means[ladder.expert] < 0.55
    assert 4 <= len(ladder.replay) <= 7 and ladder.medium in ladder.replay
    steps = [ladder.measured(name)["steps"] for name in ladder.replay]
    assert steps == sorted(steps)
    assert {"method", "seed", "steps", "settings", "versions", "command"} <= set(ladder.about)
    assert environment in ladder.about["command"]


@pytest.mark.parametrize("environment", D4RL)
def test_shipped_policies_return_what_they_state(environment):
    """Within four standard errors of the difference of the two means, and a little for returns that hardly vary."""
    ladder, episodes = load_ladder(environment), 4
    for name, policy in ladder.policies.items():
        stated = ladder.measured(name)
        error = stated["return_std"] * (1 / episodes + 1 / stated["episodes"]) ** 0.5
        mean = measure(policy, environment, episodes, seed=99).returns.mean()
        assert abs(mean - stated["return_mean"]) < 4 * error + 0.02 * abs(stated["return_mean"]) + 5, name


def test_make_ladder_writes_what_it_measured(tmp_path):
    ladder = make_ladder("hopper", tmp_path / "new", method="ars", steps=6000, rungs=3, progress=False)
    assert 2 <= len(ladder.policies) <= 3
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        *(f"{name}.npz" for name in ladder.policies),
        "hopper.json",
    ]
    about = json.loads((tmp_path / "new" / "hopper.json").read_text())
    assert about["method"] == "ars" and about["settings"]["directions"] == 8
    assert "--method ars --seed 0 --steps 6000" in about["command"]
    assert about == ladder.about
    assert ladder.digest() == load_ladder("hopper", tmp_path / "new").digest() != load_ladder("hopper").digest()


def test_ladders_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(WmzooError, match="wmzoo data policies hopper"):
        load_ladder("hopper", tmp_path)
    for text in ('{"policies": 3}', '{"policies": [], "medium": "hopper-04", "expert": "hopper-10", "replay": []}'):
        (tmp_path / "hopper.json").write_text(text)
        with pytest.raises(WmzooError, match="wmzoo data policies hopper"):
            load_ladder("hopper", tmp_path)
    with pytest.raises(WmzooError, match="another --to"):
        make_ladder("hopper", tmp_path / "hopper.json" / "below", method="ars", steps=100, progress=False)


def test_rungs_are_equal_steps_of_return_up_to_the_best():
    returns = [0, 10, 5, 50, 95, 100, 80, 30]
    assert choose_rungs(returns, 3) == [0, 3, 5]
    assert choose_rungs(returns, 20) == [0, 1, 2, 3, 4, 5]
    assert choose_rungs([7.0], 5) == [0]


def test_roles():
    rows = [("a", 0, 0), ("b", 9, 20), ("c", 5, 38), ("d", 7, 100)]
    policies = [{"name": name, "steps": steps, "return_mean": mean} for name, steps, mean in rows]
    assert roles(policies) == {"medium": "c", "expert": "d", "replay": ["a", "c", "b"]}
