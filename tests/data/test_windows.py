"""Windows, splits and statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from systems import linear_episode, system_corpus, system_set, toy_recipe

from wmzoo.data import splits
from wmzoo.data.splits import fingerprints, manifest, merge_variates, split
from wmzoo.data.store import open_corpus, write_corpus
from wmzoo.data.windows import Batches, Sampler, batches, every_window, gather
from wmzoo.errors import WmzooError
from wmzoo.model import build
from wmzoo.recipe import Source, check
from wmzoo.runs import prepare


def everything(item):
    everyone = np.arange(len(item.lengths))
    return merge_variates([(item, everyone)])


def sampler(items, **changes):
    episodes = [np.arange(len(i.lengths)) for i in items]
    options = {"items": items, "episodes": episodes, "weights": [1.0] * len(items), "length": 6, "batch_size": 64}
    return Sampler(**{**options, "seed": 3, **changes})


def test_windows_are_slices_of_their_episode_padded_at_the_left():
    item = system_set(episodes=3, length=10)
    ends = np.array([2, 11 + 8, 22 + 5])
    window = gather([item], np.zeros(3, int), ends, 6, {"toy": everything(item)})
    assert window.valid.sum(1).tolist() == [3, 6, 6] and not window.dense
    np.testing.assert_array_equal(window.values[0, 3:], item.data[:3])
    assert (window.values[0, :3] == 0).all()
    np.testing.assert_array_equal(window.values[1], item.data[14:20])
    np.testing.assert_array_equal(window.row, ends)


def test_draws_follow_weight_then_episode_then_step():
    short, long = system_set(level="a", length=4, episodes=10), system_set(level="b", length=60, episodes=5)
    drawn = [sampler([short, long], weights=[3.0, 1.0], batch_size=2000).draw(i) for i in range(5)]
    source, ends = (np.concatenate(x) for x in zip(*drawn, strict=True))
    assert (source == 0).mean() == pytest.approx(0.75, abs=0.02)
    for s, item in enumerate((short, long)):
        mine = ends[source == s]
        episode = np.searchsorted(item.offsets, mine, side="right") - 1
        step = mine - item.offsets[episode]
        assert step.min() == 1 and step.max() == item.lengths[0] - 1  # two rows at least, and the last one too
        counts = np.bincount(episode, minlength=len(item.lengths))
        assert counts.min() > 0.8 * counts.mean()
        assert np.bincount(step)[1:].min() > 0.5 * np.bincount(step)[1:].mean()


def test_the_same_batches_from_the_seed_from_any_start():
    item = system_set()
    made = Batches(sampler([item]), {"toy": everything(item)})
    alone = [(w.values, rows) for w, rows in batches(made, 0, 6)]
    shared = [made[number] for number in range(6)]
    late = [(w.values, rows) for w, rows in batches(made, 4, 6)]
    for (a, m), (b, n) in zip(alone, shared, strict=True):
        assert torch.equal(a, b.values) and m == n
    assert torch.equal(late[0][0], alone[4][0])
    other = Batches(sampler([item], seed=4), {"toy": everything(item)})
    assert not torch.equal(next(batches(other, 0, 1))[0].values, alone[0][0])


def test_two_processes_share_a_batch_and_count_it_whole():
    item = system_set()
    variates = {"toy": everything(item)}
    whole, rows = Batches(sampler([item]), variates)[0]
    parts = [Batches(sampler([item]), variates, rank, 2)[0] for rank in (0, 1)]
    together = torch.stack([p.values for p, _ in parts], 1).flatten(0, 1)
    assert torch.equal(together, whole.values)
    assert [n for _, n in parts] == [rows, rows] == [int(whole.valid[:, :-1].sum())] * 2


def test_split_is_by_episode_reproducible_and_disjoint():
    item = system_set(episodes=30)
    parts = split(item, seed=1, validation=0.1, test=0.2)
    assert [len(p) for p in (parts.train, parts.validation, parts.test)] == [21, 3, 6]
    assert sorted(np.concatenate([parts.train, parts.validation, parts.test])) == list(range(30))
    again, other = (split(item, seed=s, validation=0.1, test=0.2) for s in (1, 2))
    np.testing.assert_array_equal(parts.test, again.test)
    assert not np.array_equal(parts.test, other.test)
    with pytest.raises(WmzooError, match="too few to split"):
        split(system_set(episodes=2), seed=0, validation=0.1, test=0.1)


def test_statistics_come_from_training_episodes_alone():
    item = system_set(episodes=10)
    parts = split(item, seed=0, validation=0.1, test=0.1)
    before = merge_variates([(item, parts.train)])
    held = np.concatenate([parts.validation, parts.test])
    for episode in held:
        item.rows(int(episode))[:] = 1e6
    after = merge_variates([(item, parts.train)])
    for name in ("low", "high", "mean", "std"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    rows = np.concatenate([item.rows(int(e)) for e in parts.train])
    np.testing.assert_allclose(before.mean, rows.mean(0), atol=1e-5)
    np.testing.assert_allclose(before.std, rows.std(0), atol=1e-5)
    np.testing.assert_array_equal(before.low, rows.min(0))


def test_trimmed_ranges_leave_spikes_outside_and_see_no_held_out_episode():
    item = system_set(episodes=30, length=60)
    parts = split(item, seed=0, validation=0.1, test=0.1)
    clean = merge_variates([(item, parts.train)], trim=0.01)
    rows = np.concatenate([item.rows(int(e)) for e in parts.train])
    np.testing.assert_allclose(clean.low, np.quantile(rows, 0.01, axis=0), rtol=1e-6)
    np.testing.assert_allclose(clean.high, np.quantile(rows, 0.99, axis=0), rtol=1e-6)
    for episode in np.concatenate([parts.validation, parts.test]):
        item.rows(int(episode))[:] = 1e6
    held = merge_variates([(item, parts.train)], trim=0.01)
    for name in ("low", "high", "mean", "std"):
        np.testing.assert_array_equal(getattr(held, name), getattr(clean, name))
    item.rows(int(parts.train[3]))[5] = 1e4
    spiked, stretched = (merge_variates([(item, parts.train)], trim=share) for share in (0.01, 0.0))
    assert (spiked.high < 1.5 * np.abs(rows).max(0)).all() and (stretched.high == 1e4).all()


def test_trimmed_ranges_of_several_sets_are_those_of_all_rows(monkeypatch):
    monkeypatch.setattr(splits, "CHUNK", 100)
    items = [system_set(level=level, seed=i, length=30 + 20 * i) for i, level in enumerate("abc")]
    found = merge_variates([(item, np.arange(20)) for item in items], trim=0.05, widen=0.25)
    rows = np.concatenate([item.data for item in items])
    np.testing.assert_allclose(found.low, np.quantile(rows, 0.05, axis=0) - 0.25, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(splits, "SAMPLED", 700)
    thinned = merge_variates([(item, np.arange(20)) for item in items], trim=0.05, widen=0.25)
    np.testing.assert_allclose(thinned.low, np.quantile(rows[::5], 0.05, axis=0) - 0.25, rtol=1e-5, atol=1e-6)


def test_a_variate_that_hardly_ever_changes_keeps_its_whole_range():
    item = system_set()
    item.data[:, 3] = 0.0
    item.data[[30, 300, 700], 3] = 1.0  # a sparse reward
    found = merge_variates([(item, np.arange(20))], trim=0.01)
    assert (found.low[3], found.high[3]) == (0.0, 1.0)


def test_the_share_that_is_clipped_is_that_outside_of_the_trimmed_range(workdir):
    system_corpus(workdir / "toy.h5", episodes=60)
    for trim in (0.0, 0.02):
        recipe = recipe_for(workdir / "toy.h5", trim=trim)
        data = prepare(recipe)
        (item,), (part,), ranges = data.items, data.splits, data.variates["toy"]
        rows = np.concatenate([item.rows(int(e)) for e in part.train])
        outside = ((rows < ranges.low) | (rows > ranges.high)).mean()
        assert outside == 0 if trim == 0 else 0.015 < outside <= 0.04  # saturated actions are at the end, not beyond
        model, batch = build(recipe, data.variates), Batches(data.sampler(recipe), data.variates)
        shares = [float(model.clipped(batch[i][0])) for i in range(60)]
        assert np.mean(shares) == pytest.approx(outside, abs=0.008)
        tokens = model.tokenizer(batch[0][0].values, batch[0][0].columns)
        torch.testing.assert_close(tokens.sum(-1), torch.ones(tokens.shape[:-1]))


def test_the_manifest_changes_with_the_data_and_the_split(workdir):
    path = system_corpus(workdir / "c.h5")
    hashes = set()
    for seed, corpus in ((0, path), (1, path), (0, system_corpus(workdir / "d.h5", seed=5))):
        opened = open_corpus(corpus)
        parts = {k: split(i, seed=seed, validation=0.1, test=0.1) for k, i in opened.sets.items()}
        hashes.add(manifest(opened, parts, {"seed": seed})["sha256"])
    assert len(hashes) == 3
    a, b = system_set(), system_set(level="elsewhere")
    assert fingerprints(a, [3]) == fingerprints(b, [3]) != fingerprints(a, [4])


def test_validation_windows_are_the_same_each_time_and_bounded():
    item = system_set()
    first = every_window([item], [np.array([0, 2])], 1000, 0)
    assert len(first[1]) == 2 * 40
    few = [every_window([item], [np.array([0, 2])], 20, 0)[1] for _ in range(2)]
    np.testing.assert_array_equal(*few)
    assert len(few[0]) == 20 and set(few[0]) <= set(first[1])


def recipe_for(path, **data):
    return check(Source(toy_recipe(path, data=data), {}))


def test_preparing_refuses_bad_data_with_its_place(workdir):
    path = system_corpus(workdir / "c.h5")
    with pytest.raises(WmzooError, match='nothing in .* matches "toy/z"'):
        prepare(recipe_for(path, environments=["toy/z"]))
    broken = system_set()
    broken.data[:, 1] = np.inf
    write_corpus(workdir / "broken.h5", [broken], {})
    with pytest.raises(WmzooError, match="set toy/a: NaN or infinite values in x1"):
        prepare(recipe_for(workdir / "broken.h5"))
    with pytest.raises(WmzooError, match="no such corpus"):
        prepare(recipe_for(workdir / "none.h5"))


def test_weights_and_patterns(workdir):
    sets = [system_set(linear_episode, level=level) for level in ("a", "b", "c")]
    write_corpus(workdir / "c.h5", sets, {})
    recipe = recipe_for(workdir / "c.h5", environments=["toy/[ab]"], weights={"toy/b": 3.0})
    data = prepare(recipe)
    assert [i.key for i in data.items] == ["toy/a", "toy/b"] and data.sampler(recipe).weights == [1.0, 3.0]
