"""Terminations that a model learns: the added column, its windows, its scores, and what a small model makes of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from systems import run_until, system_corpus, system_set, toy_recipe, walled_episode

from wmzoo import checkpoint, recipe, report, training
from wmzoo.data.splits import merge_variates
from wmzoo.data.store import open_corpus, write_corpus
from wmzoo.data.terminated import unit_range, with_terminated
from wmzoo.data.windows import Batches, gather
from wmzoo.errors import WmzooError
from wmzoo.evaluation import transition
from wmzoo.evaluation.metrics import Units, flag_scores, score_point, summarise
from wmzoo.files import read_json
from wmzoo.recipe import Source, check
from wmzoo.runs import prepare
from wmzoo.terminations import ending, learned, observing, rule
from wmzoo.trajectories import window_of


def walled(**changes):
    return system_set(walled_episode, episodes=40, length=30, **changes)


def made(**changes):
    changes = {"data": {"terminated": True}, **changes}
    return check(Source(toy_recipe(**changes), {}))


def measured(item):
    return unit_range(merge_variates([(item, np.arange(len(item.lengths)))]))


def test_the_column_is_one_where_an_episode_terminated_and_the_rest_is_as_it_was():
    item = walled()
    flagged = with_terminated(item)
    assert flagged.names == ("x0", "terminated", "reward", "action:0") and flagged.states == 2
    truth = np.zeros(len(item.data))
    for episode, record in enumerate(item.episodes):
        truth[item.offsets[episode + 1] - 1] = record["terminated"]
    assert 10 < truth.sum() < 40
    for rows in (slice(None), slice(30, 90, 3), slice(-5, None), np.arange(60).reshape(6, 10)[:, ::-1], 7):
        np.testing.assert_array_equal(flagged.data[rows][..., 1], truth[rows])
        np.testing.assert_array_equal(np.delete(flagged.data[rows], 1, -1), item.data[rows])
    assert flagged.data.shape == np.asarray(flagged.data).shape == (len(item.data), 4)
    with pytest.raises(WmzooError, match="toy/a.*column.*leave data.terminated out"):
        with_terminated(flagged)


@pytest.mark.parametrize("ends", [True, False])
def test_its_range_is_zero_to_one_whatever_happened(ends):
    item = walled()
    item.episodes["terminated"] &= ends
    variates = measured(with_terminated(item))
    assert variates.terminated and (variates.low[1], variates.high[1]) == (0, 1)
    assert (variates.std[1] > 0) == ends
    assert not measured(item).terminated
    assert not dataclasses.replace(measured(item), names=("a", "terminated", "b")).terminated  # a reward of that name
    assert type(variates).from_json(variates.to_json()).terminated


def test_last_rows_are_trained_as_often_as_others_and_at_every_place():
    write = system_set(walled_episode, episodes=200, length=60)
    kept = np.flatnonzero((write.lengths > 12) & write.episodes["terminated"])
    assert len(kept) > 20
    item, length = with_terminated(write), 6
    sampler = dataclasses.replace(_sampler(item, kept, length), beyond=True)
    counts, places = np.zeros(len(item.data)), np.zeros(length)
    for batch in range(60):
        window, rows = Batches(sampler, {"toy": measured(item)})[batch]
        assert rows == int(window.valid[:, 1:].logical_and(window.valid[:, :-1]).sum())
        age = window.valid.cumsum(1) - 1
        trained = window.valid[:, :-1].numpy()  # rows 1 on, where the row before is real
        index = (window.row[:, None] - torch.arange(length - 2, -1, -1)).numpy()
        np.add.at(counts, index[trained], 1)
        flags = window.values[:, :, 1] == 1
        places += np.bincount(age[flags].numpy(), minlength=length)
    ends = item.offsets[kept + 1] - 1
    middles = [counts[item.offsets[e] + 6 : item.offsets[e + 1] - 2].mean() for e in kept]  # episodes are drawn alike
    assert counts[ends].mean() == pytest.approx(np.mean(middles), rel=0.1)
    assert places[0] == 0 and places[1:].min() > 0.7 * places[1:].max()  # counted from a window's first real row


def _sampler(item, kept, length):
    from wmzoo.data.windows import Sampler

    return Sampler(items=[item], episodes=[kept], weights=[1.0], length=length, batch_size=512, seed=0)


def test_nothing_changes_where_it_is_off(workdir):
    write_corpus(workdir / "toy.h5", [walled()], {})
    off, on = (made(data={"terminated": flag}) for flag in (False, True))
    plain, flagged = prepare(off), prepare(on)
    assert plain.manifest == flagged.manifest and off.hash != on.hash
    assert plain.variates["toy"].names == ("x0", "reward", "action:0")
    reference = merge_variates([(i, p.train) for i, p in zip(plain.items, plain.splits, strict=True)])
    np.testing.assert_array_equal(plain.variates["toy"].low, reference.low)
    source, ends, most = plain.sampler(off).draw_cut(3)
    assert (most == 6).all() and not plain.sampler(off).beyond and flagged.sampler(on).beyond
    window = gather(plain.items, source, ends, 6, plain.variates)
    rows = ends[:, None] - np.arange(5, -1, -1)
    full = window.valid.all(1).numpy()
    np.testing.assert_array_equal(window.values[full].numpy(), plain.items[0].data[rows[full]])
    assert check(Source(on.to_dict(), {})) == on and recipe.check(Source(off.to_dict(), {})) == off


def test_a_row_without_the_column_has_not_terminated():
    variates = measured(with_terminated(walled()))
    rows = torch.arange(12.0).reshape(2, 2, 3)
    window = window_of(rows, variates)
    assert window.values[0].tolist() == [[0, 0, 1, 2], [3, 0, 4, 5]]
    with pytest.raises(ValueError, match=r"\[B, T, 4\]"):
        window_of(rows[..., :2], variates)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a small model that learned the walls, and its run in there."""
    folder = tmp_path_factory.mktemp("walls")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        system_corpus(folder / "toy.h5", make=walled_episode, episodes=200, length=40)
        steps = {"steps": 200, "batch_size": 64, "learning_rate": 5e-3, "validate_every": 200}
        return folder, training.train(made(train=steps), quiet=True)


def test_interrupted_and_resumed_training_ends_with_the_same_bits(workdir, monkeypatch):
    write_corpus(workdir / "toy.h5", [walled()], {})
    whole = training.train(made(tracking={"folder": "whole"}), quiet=True)
    trainer = training.Trainer(made())
    run_until(trainer, 13, monkeypatch)
    resumed = training.train(made(), resume=True, quiet=True)
    a, b = (checkpoint.read(folder / checkpoint.LAST)[0] for folder in (resumed, whole))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert checkpoint.load(resumed).variates["toy"].terminated


def test_an_imagined_step_terminates_where_the_true_one_does(run):
    folder, path = run
    model = checkpoint.load(folder / path)
    variates, rng = model.variates["toy"], np.random.default_rng(0)
    place, push = rng.uniform(-1, 1, (1000, 1)), rng.uniform(-1, 1, (1000, 1))
    arrived = np.abs(place + 0.4 * push)[:, 0]
    rows = np.concatenate([place, np.ones_like(place), push], 1)[:, None]
    window, actions = window_of(rows, variates), torch.tensor(push, dtype=torch.float32)[:, None]
    states = model.rollout(window, actions, 1).values[:, -1, :-1]
    said, truth = ending(model, "toy")(states).numpy(), arrived >= 1
    clear = np.abs(arrived - 1) > 0.05  # of the wall
    assert 0.05 < truth.mean() < 0.2 and (said == truth)[clear].mean() > 0.98
    assert said[truth].mean() > 0.8 and truth[said].mean() > 0.8


def test_its_scores_stand_apart_from_those_of_the_states(run):
    folder, path = run
    manifest = read_json(folder / path / "manifest.json")
    config = transition.Config(context=5, horizons=(1, 2))
    corpus = open_corpus(folder / "toy.h5")
    result = transition.evaluate(checkpoint.load(folder / path), corpus, manifest, config, progress=False)
    found = result["modes"][""]["toy/a"]
    assert found["variates"]["name"] == ["x0", "reward"]
    assert found["mae_state"] == found["variates"]["mae"][0]
    about = found["termination"]
    assert about["terminated"] > 3 and about["recall"] > 0.7 and about["precision"] > 0.7
    assert about["brier"] < 0.5 * about["brier_of_share"]
    assert "termination" not in result["floors"]["last value"]["toy/a"]
    assert transition.summary(result)["a/termination_recall"] == about["recall"]
    assert any("terminate; learned: precision" in str(line) for line in transition.describe(result))


def test_units_leave_the_column_out():
    item = walled()
    plain, flagged = Units.of(measured(item)), Units.of(measured(with_terminated(item)))
    rng = np.random.default_rng(0)
    forecast, target = rng.normal(size=(2, 9, 3))
    inner = summarise(score_point(np.delete(forecast, 1, 1), np.delete(target, 1, 1), plain), plain)
    assert summarise(score_point(forecast, target, flagged), flagged) == inner


def test_flags_are_scored():
    found = flag_scores(np.array([0.9, 0.6, 0.2, 0.0]), np.array([True, False, True, False]))
    assert (found["precision"], found["recall"], found["terminated"], found["forecast"]) == (0.5, 0.5, 2, 2)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.64) / 4) and found["brier_of_share"] == 0.25
    none = flag_scores(np.zeros(3), np.zeros(3, bool))
    assert none["precision"] is None and none["recall"] is None


def test_the_choice_of_an_ending():
    item = walled()
    plain, flagged = measured(item), measured(with_terminated(item))
    states = torch.tensor([[1.2, 0.0, 0.4], [0.6, 0.0, 0.4], [1.2, 0.0, 0.6], [1.2, 0.0, float("nan")]])
    wide = dataclasses.replace(flagged, **_wider(flagged))
    assert learned(wide)(states).tolist() == [False, False, True, True]
    assert ending(wide, "hopper")(states).tolist() == [False, False, True, True]
    assert ending(wide, "hopper", "rule")(states[:3]).tolist() == [False, True, False]
    assert ending(plain, "hopper")(states[:3, :2]).tolist() == [False, True, False]
    assert ending(plain, "hopper", "never") is None and ending(plain, "halfcheetah") is rule("halfcheetah")
    with pytest.raises(WmzooError, match="no column.*train it with data.terminated=true"):
        ending(plain, "hopper", "learned")
    with pytest.raises(WmzooError, match='Did you mean "rule"'):
        ending(plain, "hopper", "rules")
    assert observing(lambda s: s, wide)(states).shape == (4, 2) and observing(learned, plain) is learned


def _wider(variates):
    """Fields of the variates with one more state in front."""
    fields = {name: np.concatenate([getattr(variates, name)[:1], getattr(variates, name)]) for name in
              ("roles", "low", "high", "mean", "std")}  # fmt: skip
    return {"names": ("y", *variates.names), **fields}


def test_a_model_says_which_environments_it_knows(run):
    folder, path = run
    with pytest.raises(WmzooError, match='knows no "hopper".*Valid: toy'):
        ending(checkpoint.load(folder / path), "hopper")


def test_check_tells_what_there_is_to_learn(workdir, capsys):
    write_corpus(workdir / "toy.h5", [walled()], {})
    report.print_check(Source(toy_recipe(data={"terminated": True}), {}))
    assert "of 32 training episodes that do" in capsys.readouterr().out
    with pytest.raises(WmzooError, match=r"model.head.name: .*rare terminations; use categorical"):
        made(head="gaussian", tokenizer="continuous")
