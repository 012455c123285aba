"""Zero-shot protocols: a planted model that reads the parameter from its history, and carts whose futures are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from wmzoo import tracking
from wmzoo.collect.environments import ENVIRONMENTS, Environment
from wmzoo.data.splits import manifest, merge_variates, split
from wmzoo.data.store import EPISODE, make_set, open_corpus, write_corpus
from wmzoo.errors import WmzooError
from wmzoo.evaluation import (
    protocols,
    short_name,
    zero_shot,
    zero_shot_cartpoles,
    zero_shot_pendulum,
    zero_shot_walker2d,
)
from wmzoo.evaluation.records import RunRecord
from wmzoo.evaluation.zero_shot import HELD_OUT, SQUARED, TRAINED, Config, Family
from wmzoo.imagination import Rollout
from wmzoo.predictions import GaussianPrediction
from wmzoo.trajectories import Episode, episode_rows

SPLIT = {"seed": 0, "validation": 0.2, "test": 0.3}
FAMILY = Family(protocol="zero_shot/toy/v1", component="toy", parameter="p", value=lambda name: float(name[-3:]))
KNOWN, UNKNOWN = ("toy-0.6", "toy-0.7", "toy-0.8"), ("toy-0.3", "toy-0.4")


def toy_rows(p: float, seed: int, length: int = 30) -> np.ndarray:
    """``s' = p s + a``; the reward is the state left."""
    rng = np.random.default_rng(seed)
    states, actions = [rng.uniform(1, 2)], rng.uniform(0.5, 1, (length, 1))
    for action in actions[:, 0]:
        states.append(p * states[-1] + action)
    rewards = np.array(states[:-1])
    return episode_rows(Episode(observations=np.array(states)[:, None], actions=actions, rewards=rewards))


@pytest.fixture
def toy(workdir, monkeypatch):
    """The corpus, the manifest of a run on the known ones, and their statistics."""
    for name in (*KNOWN, *UNKNOWN):
        entry = Environment(name=name, component="toy", held_out=name in UNKNOWN)
        monkeypatch.setitem(ENVIRONMENTS, name, entry)
    records = np.array([(0, False, True, 0, i) for i in range(10)], EPISODE)
    sets = []
    for k, name in enumerate((*KNOWN, *UNKNOWN)):
        rows = [toy_rows(float(name[-3:]), 100 * k + i) for i in range(10)]
        sets.append(make_set(name, "mixed", ("s", "reward", "a"), 1, 0.1, rows, records, {}, component="toy"))
    write_corpus(workdir / "toy.h5", sets, {})
    corpus = open_corpus(workdir / "toy.h5")
    return corpus, *trained_on(corpus, KNOWN)


def trained_on(corpus, names):
    items = [corpus.sets[f"{name}/mixed"] for name in names]
    parts = {item.key: split(item, **SPLIT) for item in items}
    variates = {item.environment: merge_variates([(item, parts[item.key].train)]) for item in items}
    return manifest(corpus, parts, SPLIT), variates


class Reader(torch.nn.Module):
    """Infers ``p`` from the last two rows; from one row it takes the mean of those trained on."""

    name, official, compat = "reader", False, "corrected"

    def __init__(self, variates):
        super().__init__()
        self.variates, self.weight, self.asked = variates, torch.nn.Parameter(torch.zeros(1)), []

    def predict(self, window, truth=None):
        self.asked.append(window.values.shape[1])
        s, a = window.values[:, -1, 0], window.values[:, -1, 2]
        p = torch.full_like(s, 0.7)
        if window.values.shape[1] > 1:
            p = (s - window.values[:, -2, 2]) / window.values[:, -2, 0]
        mean = torch.stack([p * s + a, s], 1)
        return GaussianPrediction(mean[None], torch.full_like(mean, 1e-3)[None])


def evaluated(toy, model=None, **settings):
    corpus, about, variates = toy
    config = Config(**{"histories": (1, 2, 5), "windows": 60, **settings})
    return zero_shot.evaluate(FAMILY, model or Reader(variates), corpus, about, config, progress=False)


def test_a_model_that_reads_the_parameter_gains_all_from_history(toy):
    result = evaluated(toy)
    model = result["boards"][HELD_OUT]["rows"]["model"]
    assert model["metrics"]["h2"]["value"] < 1e-5 < 0.05 < model["metrics"]["h1"]["value"]
    assert model["metrics"]["gain"]["value"] == pytest.approx(1, abs=1e-3)
    low, value, high = (model["metrics"]["h1"][name] for name in ("low", "value", "high"))
    assert low < value < high
    # The error given one row is |p - 0.7| s, half of it through the reward, which is right.
    far, near = (model["each"][name]["errors"][0] for name in UNKNOWN)
    assert far > near, "further parameters are harder"
    assert {one["value"] for one in model["each"].values()} == {0.3, 0.4}


def test_the_rows_are_those_of_unseen_episodes_and_units_of_the_training_ones(toy):
    corpus, about, variates = toy
    result = evaluated(toy, windows=10_000)
    assert set(result["boards"][HELD_OUT]["rows"]["model"]["each"]) == set(UNKNOWN)
    assert set(result["boards"][TRAINED]["rows"]["model"]["each"]) == set(KNOWN)
    assert f"; 3 environments, {3 * 3 * 26} rows" in result["boards"][TRAINED]["about"]  # 3 test episodes of 31
    pooled = zero_shot.pool(list(variates.values()))
    items = [(corpus.sets[key], np.array(part["train"])) for key, part in about["sets"].items()]
    true = merge_variates([(items[0][0], items[0][1])])
    assert np.allclose(zero_shot.pool([true, true]).std, true.std, rtol=1e-4)
    rows = np.concatenate([item.data[item.offsets[e] : item.offsets[e + 1]] for item, train in items for e in train])
    assert np.allclose(pooled.std, rows.std(0), rtol=1e-3) and np.array_equal(pooled.low, rows.min(0))


def test_floors_stand_beside_and_only_those_of_history_depend_on_it(toy):
    rows = evaluated(toy)["boards"][HELD_OUT]["rows"]
    last, mean = rows["last value"]["metrics"], rows["history mean"]["metrics"]
    assert last["h1"]["value"] == last["h5"]["value"] and mean["h1"]["value"] == last["h1"]["value"]
    assert mean["h5"]["value"] != mean["h1"]["value"] and rows["ridge"]["kind"] == "floor"


def test_absolute_and_squared_errors_are_those_of_the_rows(toy):
    corpus, _, variates = toy
    found = evaluated(toy, windows=10_000)["boards"]
    pooled, mae, mse = zero_shot.pool(list(variates.values())), [], []
    for name in UNKNOWN:
        item = corpus.sets[f"{name}/mixed"]
        rows = np.concatenate([np.arange(item.offsets[e] + 5, item.offsets[e + 1]) for e in range(10)])
        error = (item.data[rows, :2] - item.data[rows - 1, :2]) / pooled.std[:2]
        mae.append(np.abs(error).mean())
        mse.append(1000 * np.square(error).mean())
    last = {board: found[board]["rows"]["last value"] for board in (HELD_OUT, SQUARED)}
    assert last[HELD_OUT]["metrics"]["h1"]["value"] == pytest.approx(np.mean(mae), rel=1e-5)
    assert last[SQUARED]["metrics"]["h1"]["value"] == pytest.approx(np.mean(mse), rel=1e-5)
    assert [last[SQUARED]["each"][name]["errors"][0] for name in UNKNOWN] == pytest.approx(mse, rel=1e-5)
    assert "squared" in found[SQUARED]["about"] and "absolute" in found[HELD_OUT]["about"]
    model = found[SQUARED]["rows"]["model"]["metrics"]
    assert model["h2"]["value"] < 1e-6 < model["h1"]["value"] and model["gain"]["value"] == pytest.approx(1)


def test_a_single_episode_has_no_interval():
    errors, alone = np.array([[1.0], [3.0]]), np.array([0, 0])
    found = zero_shot.estimated(2.0, zero_shot.resample([(errors, alone)], 100)[:, 0])
    assert found == {"value": 2.0, "low": None, "high": None, "draws": None}
    two = zero_shot.estimated(2.0, zero_shot.resample([(errors, np.array([0, 1]))], 100)[:, 0])
    assert two["low"] == 1 and two["high"] == 3


def test_what_an_imported_model_was_trained_on_is_unknown(toy):
    corpus, about, variates = toy
    with pytest.raises(WmzooError, match="was imported, so what it was trained on is unknown"):
        evaluated((corpus, {**about, "imported": "released"}, variates))


def test_intervals_come_from_resampled_episodes():
    errors, episode = np.array([[1.0], [1.0], [3.0]]), np.array([0, 0, 1])
    drawn = zero_shot.resample([(errors, episode)], 2000)[:, 0]
    assert set(np.round(drawn, 6)) == {1.0, round(5 / 3, 6), 3.0}, "whole episodes are drawn"
    assert (drawn == 1.0).mean() == pytest.approx(0.25, abs=0.05)


def test_a_run_that_saw_what_is_held_out_is_refused(toy):
    corpus, _, _ = toy
    about, variates = trained_on(corpus, (*KNOWN, "toy-0.3"))
    with pytest.raises(WmzooError, match=r"trained on toy-0.3, which is held out"):
        evaluated((corpus, about, variates))


def test_a_run_of_other_environments_and_a_corpus_without_the_held_out_are_refused(toy, workdir):
    corpus, about, variates = toy
    with pytest.raises(WmzooError, match="trained on no pendulum-gravity environment"):
        zero_shot_pendulum.evaluate(Reader(variates), corpus, about, Config(), progress=False)
    write_corpus(workdir / "part.h5", [corpus.sets[f"{name}/mixed"] for name in KNOWN], {})
    with pytest.raises(WmzooError, match="holds none of toy-0.3, toy-0.4"):
        evaluated((open_corpus(workdir / "part.h5"), about, variates))
    write_corpus(workdir / "other.h5", [corpus.sets[f"{name}/mixed"] for name in UNKNOWN], {})
    with pytest.raises(WmzooError, match="lacks toy-0.6/mixed, which the run was trained on; use the run's own corpus"):
        evaluated((open_corpus(workdir / "other.h5"), about, variates))
    with pytest.raises(WmzooError, match="no test episode has 41 rows"):
        evaluated(toy, histories=(1, 40))
    with pytest.raises(WmzooError, match="at least two lengths"):
        evaluated(toy, histories=(5,))


def test_seeds_are_compared_in_tables_and_a_picture(toy, workdir):
    result = evaluated(toy)
    cost = dict.fromkeys(("parameters", "train_tokens", "train_flops", "train_seconds", "peak_memory_mb", "steps"), 1.0)
    records = [
        RunRecord(run_id=str(s), name="reader", seed=s, experiment="e", tags={}, cost=cost, result=result)
        for s in (0, 1)
    ]
    made = zero_shot.compare(records)
    assert [grid.title.split(":")[0] for grid in made.full][:3] == [HELD_OUT, SQUARED, TRAINED]
    made.pictures["comparison.png"].draw(workdir / "c.png")
    assert (workdir / "c.png").stat().st_size > 10_000


def test_the_protocols_are_listed_and_their_families_have_members():
    assert {"zero_shot/pendulum-gravity/v1", "zero_shot/walker2d-params/v1", "zero_shot/cartpoles/v1"} <= set(
        protocols()
    )
    for module, count in ((zero_shot_pendulum, 5), (zero_shot_walker2d, 5)):
        name = module.PROTOCOL.split("/")[1]
        held = Family(protocol=module.PROTOCOL, component=name, parameter="", value=float).held_out
        assert len(held) == count, name


def test_one_run_keeps_the_results_of_several_zero_shot_protocols_apart():
    tags = {tracking._tag(name) for name in protocols()}
    assert len(tags) == len(protocols()) and "protocol.transition" in tags
    assert short_name("zero_shot/cartpoles/v1") == "zero_shot_cartpoles"


CARTS = zero_shot_cartpoles.Config(context=5, horizon=6, episodes=4, ranges=4)


class Knowing(torch.nn.Module):
    """Finds the context that it is shown among those played, and answers with what came then."""

    name, official, compat = "knowing", False, "corrected"

    def __init__(self, wrong=False):
        super().__init__()
        self.variates, self.wrong, self.weight = {}, wrong, torch.nn.Parameter(torch.zeros(1))

    def use(self, variates):
        self.variates = variates

    def rollout(self, window, actions, horizon):
        (name,) = [name for name, v in self.variates.items() if len(v.names) == window.values.shape[2]]
        played = torch.from_numpy(zero_shot_cartpoles.play(name, CARTS).rows)
        states = self.variates[name].predicted
        found = []
        for row, action in zip(window.values, actions, strict=True):
            i = int((played[0, :, : CARTS.context + 1, :states] - row[:, :states]).abs().sum((1, 2)).argmin())
            assert torch.equal(played[0, i, : CARTS.context, :], row[:-1])
            half = int((action[0] < 0) != self.wrong)
            found.append(played[half, i, CARTS.context + 1 :, :states])
        lengths = torch.full((len(found),), horizon)
        ended = torch.zeros(len(found), dtype=torch.bool)
        return Rollout(values=torch.stack(found), actions=actions, lengths=lengths, terminated=ended, outside=0.0)


def pushed(model):
    about = {"sets": {}, "sha256": "0"}
    return zero_shot_cartpoles.evaluate(model, None, about, CARTS, progress=False)


def test_a_model_that_knows_the_carts_is_right_and_one_that_swaps_the_pushes_is_wrong():
    right, wrong = pushed(Knowing()), pushed(Knowing(wrong=True))
    for name in zero_shot_cartpoles.ENVIRONMENTS:
        model = right["boards"][name]["rows"]["model"]["metrics"]
        assert model["position"]["value"] == 0 and model["distance"]["value"] == 0 and model["separated"]["value"] == 1
        swapped = wrong["boards"][name]["rows"]["model"]["metrics"]
        assert swapped["separated"]["value"] == 0 and swapped["distance"]["value"] == pytest.approx(2)
        last = right["boards"][name]["rows"]["last value"]["metrics"]
        assert last["separated"]["value"] == 0 and last["distance"]["value"] == pytest.approx(1)
        assert last["position"]["value"] > 0.01, "the cart moves"
        line = right["boards"][name]["rows"]["line"]["metrics"]
        assert line["separated"]["value"] == 1, "pushes right end to the right"


def test_both_futures_share_their_context_and_ranges_come_from_other_episodes():
    played = zero_shot_cartpoles.play(zero_shot_cartpoles.ENVIRONMENTS[0], CARTS)
    now = CARTS.context
    right, left = played.rows
    states = played.variates.predicted
    assert np.array_equal(right[:, : now + 1, :states], left[:, : now + 1, :states])
    assert (right[:, now:-1, -1] == 0.5).all() and (left[:, now:-1, -1] == -0.5).all()
    assert (right[:, -1, 0] > left[:, -1, 0]).all()
    assert played.dt == pytest.approx(0.04) and len(np.unique(right[:, 0, 0])) == CARTS.episodes


def test_the_futures_that_are_scored_lie_inside_of_the_ranges():
    """What lies outside a model that predicts bins can't say."""
    config = zero_shot_cartpoles.Config()
    played = zero_shot_cartpoles.play(zero_shot_cartpoles.ENVIRONMENTS[0], config)
    count, low, high = played.variates.predicted, played.variates.low, played.variates.high
    ends = played.rows[:, :, -1, :count]
    outside = (ends < low[:count]) | (ends > high[:count])
    assert outside.mean() < 0.02 and outside[..., played.variates.names.index("qvel:slider")].mean() < 0.02
    fewer = zero_shot_cartpoles.play(zero_shot_cartpoles.ENVIRONMENTS[0], CARTS)
    other = dataclasses.replace(CARTS, ranges=CARTS.ranges + 2)
    assert np.array_equal(fewer.rows, zero_shot_cartpoles.play(zero_shot_cartpoles.ENVIRONMENTS[0], other).rows)


def test_a_run_trained_on_a_cart_is_refused():
    with pytest.raises(WmzooError, match=r"trained on dmc-cartpole-two_poles, which is held out"):
        about = {"sets": {"dmc-cartpole-two_poles/mixed": {}}, "sha256": "0"}
        zero_shot_cartpoles.evaluate(Knowing(), None, about, CARTS, progress=False)
