"""Off-policy evaluation: right where the answer is known, visibly wrong with a wrong model, plain about bad input."""

from __future__ import annotations

import dataclasses
import json
import pickle

import linear
import numpy as np
import pytest
from rich.console import Console
from scipy.stats import pearsonr, spearmanr

from wmzoo.collect.ladder import SHIPPED, load_ladder
from wmzoo.errors import WmzooError
from wmzoo.evaluation import baselines, ope, ranking, remembered, targets, truth
from wmzoo.evaluation.ranking import Values, resampled, score

GAMMA, HORIZON = 0.995, 60
SETTINGS = {"gamma": GAMMA, "horizon": HORIZON, "episodes": 60, "fitted_q": 0, "ending": "never"}


@pytest.fixture
def system(workdir, monkeypatch):
    """The corpus, the manifest and the statistics of the linear system, known to the zoo, and its policies."""
    linear.register(monkeypatch)
    for module in (ope, targets):
        monkeypatch.setattr(module, "find_policies", lambda environment, where: linear.policies())
    return linear.corpus_of(workdir)


def evaluated(system, broken=False, **settings):
    corpus, about, variates = system
    config = ope.Config(**{**SETTINGS, **settings})
    return ope.evaluate(linear.Model(variates, broken), corpus, about, config, progress=False)


def test_values_are_inside_of_their_intervals_and_a_broken_model_is_seen(system):
    board = evaluated(system)["boards"][linear.NAME]
    gains = [scale * linear.best_gain() for scale in (0.0, 0.1, 0.3, 0.6, 1.0)]
    analytic = np.array([linear.value(gain, HORIZON, GAMMA) for gain in gains])
    model = board["rows"]["model"]
    starts = [item.first for item in [baselines.Behaviour.of(*_data(system))]][0]
    returns = np.array([[-s @ linear.cost_to_go(g, HORIZON, GAMMA)[0] @ s for s in starts] for g in gains])
    interval = np.quantile(resampled(returns, 1000).draws, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(model["values"], returns.mean(1), rtol=1e-4)
    assert ((interval[0] < analytic) & (analytic < interval[1])).all()
    true = np.array([policy["value"] for policy in board["policies"]])
    errors = np.array([policy["error"] for policy in board["policies"]])
    assert (np.abs(true - analytic) < 3 * errors).all()
    metrics = {name: found["value"] for name, found in model["metrics"].items()}
    assert metrics["spearman"] == 1 and metrics["regret1"] == 0 and metrics["nabs_error"] < 0.1
    broken = evaluated(system, broken=True)["boards"][linear.NAME]["rows"]["model"]["metrics"]
    assert broken["nabs_error"]["low"] > 2 * model["metrics"]["nabs_error"]["high"]
    assert broken["spearman"]["value"] < 0 and broken["regret1"]["value"] > 0.5


def _data(system):
    corpus, about, _ = system
    item = corpus.sets[f"{linear.NAME}/random"]
    return [(item, np.asarray(about["sets"][item.key]["train"]))], -np.ones(1), np.ones(1)


def test_rows_are_labelled_and_what_no_model_changes_is_measured_once(system, monkeypatch):
    first = evaluated(system, fitted_q=20)
    rows = first["boards"][linear.NAME]["rows"]
    assert {name: row["kind"] for name, row in rows.items()} == {
        "model": "model", "fitted Q": "baseline", "importance sampling": "baseline", "behaviour return": "floor",
    }  # fmt: skip
    monkeypatch.setattr(baselines, "fitted_q", None)
    monkeypatch.setattr(baselines, "importance_sampling", None)
    monkeypatch.setattr(truth, "play", None)
    again = evaluated(system, fitted_q=20)
    assert again["boards"][linear.NAME]["rows"]["fitted Q"] == rows["fitted Q"]
    assert json.loads(json.dumps(first))["settings"]["gamma"] == GAMMA
    console = Console(width=140, record=True)
    for line in ope.describe(first):
        console.print(line)
    printed = console.export_text()
    assert "gain 0.3" in printed and "true value" in printed and "floor: behaviour return" in printed
    shown = ope.summary(first)
    assert shown[f"{linear.NAME}/spearman"] == 1 and all(isinstance(x, float) for x in shown.values())


def test_starts_are_spread_over_the_training_episodes(system):
    board = evaluated(system, starts=5)["boards"][linear.NAME]
    assert "5 first states" in board["about"]


def test_fitted_q_learns_the_values_of_a_linear_system(monkeypatch):
    monkeypatch.setattr(linear, "R", np.array([[0.05]]))
    rng = np.random.default_rng(0)
    states, actions = rng.uniform(-1, 1, (4000, 2)), rng.uniform(-1, 1, (4000, 1))
    data = baselines.Behaviour(
        states=states.astype(np.float32),
        actions=actions.astype(np.float32),
        rewards=-((states @ linear.Q * states).sum(1) + (actions @ linear.R * actions).sum(1)),
        after=(states @ linear.A.T + actions @ linear.B.T).astype(np.float32),
        terminated=np.zeros(4000, bool),
        lengths=np.ones(4000, int),
    )
    gains = [np.array([[x, x]]) for x in (0.1, 0.2, 0.45)]
    found = baselines.fitted_q(data, [linear.policy_of(g) for g in gains], 0.9, 1500, 20, quiet=True)
    true = [-np.einsum("ni,ij,nj->n", states, linear.cost_to_go(g, 400, 0.9)[0], states).mean() for g in gains]
    np.testing.assert_allclose(found.mean, true, rtol=0.1)
    assert found.draws.shape == (20, 3) and (found.draws.std(0) > 0).all()


def test_importance_sampling_of_the_behaviour_itself_is_its_own_return(system):
    data = baselines.Behaviour.of(*_data(system))
    uniform = linear.policy_of(np.zeros((1, 2)))
    wide = dataclasses.replace(
        uniform, log_std=(np.zeros((1, 2), np.float32), np.full(1, -0.5, np.float32)), distribution="clipped_gaussian"
    )
    found = baselines.importance_sampling(data, [wide, uniform], 0.9, 50, quiet=True)
    own = baselines.behaviour_return(data, 1, 0.9, 50)
    assert abs(found.mean[0] - own.mean[0]) < 0.3 * abs(own.mean[0])
    assert found.mean[1] > found.mean[0], "doing nothing is cheaper than wide noise"
    np.testing.assert_allclose(own.mean[0], np.mean([_return(rows, 0.9) for rows in _episodes(system)]), rtol=1e-5)


def _episodes(system):
    ((item, chosen),), *_ = _data(system)
    return [item.rows(int(i)) for i in chosen]


def _return(rows, gamma):
    return sum(gamma**t * r for t, r in enumerate(rows[1:, 2].astype(float)))


def test_metrics_are_those_of_their_names():
    rng = np.random.default_rng(0)
    true, guess = rng.normal(size=7), rng.normal(size=7)
    found = score(_sure(guess), _sure(true))
    spread = np.ptp(true)
    wanted = {
        "abs_error": np.abs(true - guess).mean(),
        "nabs_error": np.abs(true - guess).mean() / spread,
        "spearman": spearmanr(true, guess).statistic,
        "pearson": pearsonr(true, guess).statistic,
        "regret1": (true.max() - true[guess.argmax()]) / spread,
        "regret5": (true.max() - true[np.argsort(guess)[-5:]].max()) / spread,
    }
    assert set(found) == set(ranking.METRICS) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name]["value"], value, atol=1e-12, err_msg=name)
        np.testing.assert_allclose([found[name]["low"], found[name]["high"]], value, atol=1e-12)


def _sure(values):
    return Values(mean=values, draws=np.repeat(values[None], 10, 0))


def test_what_is_not_defined_is_none():
    flat = score(_sure(np.ones(4)), _sure(np.arange(4.0)))
    assert flat["spearman"]["value"] is None and flat["regret1"]["value"] is None and flat["regret5"]["value"] is None
    assert flat["abs_error"]["value"] == 1.0


def test_the_errors_of_true_values_widen_the_intervals():
    rng = np.random.default_rng(0)
    guess, true = np.arange(6.0), np.arange(6.0)
    noisy = Values(mean=true, draws=true + rng.normal(size=(200, 6)))
    sure, unsure = score(Values(mean=guess, draws=np.repeat(guess[None], 200, 0)), _sure200(true)), None
    unsure = score(Values(mean=guess, draws=np.repeat(guess[None], 200, 0)), noisy)
    assert sure["spearman"]["low"] == 1 and unsure["spearman"]["low"] < 0.95
    assert sure["abs_error"]["high"] == 0 and unsure["abs_error"]["high"] > 0.3


def _sure200(values):
    return Values(mean=values, draws=np.repeat(values[None], 200, 0))


def test_the_simulator_gives_what_the_ladder_measured():
    ladder = load_ladder("hopper", SHIPPED)
    name = next(iter(ladder.policies))
    found = truth.play("hopper", ladder.policies[name], 0.995, 200, 40, seed=3)
    assert found.value < found.undiscounted
    told = next(step for step in ladder.steps if step.name == name) if hasattr(ladder, "steps") else None
    if told is not None:
        assert abs(found.undiscounted - told.return_mean) < 4 * found.undiscounted_error + 5


def test_measurements_are_kept_by_what_determines_them(workdir):
    calls = []

    def measure():
        calls.append(1)
        return {"x": len(calls)}

    for wanted, count in (({"a": 1}, 1), ({"a": 1}, 1), ({"a": 2}, 2)):
        assert remembered.remember(workdir / "kept", "thing", wanted, measure)["x"] == count
    next((workdir / "kept").iterdir()).write_text("{")
    remembered.remember(workdir / "kept", "thing", {"a": 1}, measure)
    remembered.remember(workdir / "kept", "thing", {"a": 2}, measure)
    assert len(calls) == 3
    (workdir / "file").write_text("")
    with pytest.raises(WmzooError, match="can't be written"):
        remembered.remember(workdir / "file" / "kept", "thing", {}, measure)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("nowhere", "nowhere has no ladder of hopper"),
        ("dope:nowhere", "nowhere has no DOPE policies of hopper"),
        ("dope:evil", "evil/hopper_online_0.pkl"),
        ("dope:other", "hopper_online_1 takes 5 observed values and gives 2 actions, hopper has 11 and 3"),
    ],
)
def test_policies_that_are_none_get_a_sentence(workdir, where, said):
    class Runs:
        def __reduce__(self):
            return open, (str(workdir / "ran"), "w")

    for folder in ("evil", "other"):
        (workdir / folder).mkdir()
    (workdir / "evil" / "hopper_online_0.pkl").write_bytes(pickle.dumps({"fc0/weight": Runs()}))
    weights = {
        "fc0/weight": np.zeros((4, 5), np.float32), "fc0/bias": np.zeros(4, np.float32),
        "fc1/weight": np.zeros((4, 4), np.float32), "fc1/bias": np.zeros(4, np.float32),
        "last_fc/weight": np.zeros((2, 4), np.float32), "last_fc/bias": np.zeros(2, np.float32),
        "last_fc_log_std/weight": np.zeros((2, 4), np.float32), "last_fc_log_std/bias": np.zeros(2, np.float32),
        "nonlinearity": "relu", "output_distribution": "tanh_gaussian",
    }  # fmt: skip
    (workdir / "other" / "hopper_online_1.pkl").write_bytes(pickle.dumps(weights))
    with pytest.raises(WmzooError, match=said):
        targets.find_policies("hopper", where)
    assert not (workdir / "ran").exists()


def test_dope_returns_are_those_published():
    assert targets.published_return("hopper", "hopper_online_5") == 1872.6
    assert targets.published_return("walker2d", "walker_online_10") == 4120.9
    assert targets.published_return("hopper", "hopper-05") is None
