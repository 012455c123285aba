"""The corpus: written whole or not at all, opened without reading, refused in a sentence when it is broken."""

from __future__ import annotations

import dataclasses
import functools
import os
import random
import resource
import time

import h5py
import numpy as np
import pytest
from systems import edited, linear_episode, no_room, system_corpus, system_set

from wmzoo.data import checking, info, statistics
from wmzoo.data.sealing import seal
from wmzoo.data.store import EPISODE, make_set, open_corpus, write_corpus
from wmzoo.errors import WmzooError
from wmzoo.trajectories import Episode, episode_rows


def refusal(path):
    with pytest.raises(WmzooError) as caught:
        open_corpus(path)
    (problem,) = caught.value.problems
    return problem


def test_round_trip(workdir):
    first, second = system_set(level="a"), system_set(level="b", seed=1)
    write_corpus(workdir / "c.h5", [first, second], {"made": "here"})
    corpus = open_corpus(workdir / "c.h5")
    assert list(corpus.sets) == ["toy/a", "toy/b"] and corpus.about == {"made": "here"}
    found = corpus.sets["toy/b"]
    np.testing.assert_array_equal(found.data, second.data)
    np.testing.assert_array_equal(found.rows(3), second.rows(3))
    assert (found.names, found.states, found.actions, found.sha256) == (second.names, 3, 2, second.sha256)
    assert not list(checking.problems(found))
    assert [p.name for p in workdir.iterdir()] == ["c.h5"]


def test_statistics_are_those_of_the_rows_and_changes_stay_inside_episodes(workdir, monkeypatch):
    monkeypatch.setattr(statistics, "CHUNK", 7)  # episodes and chunks end at different rows
    item = system_set(level="a")
    write_corpus(workdir / "c.h5", [item], {})
    found, rows = open_corpus(workdir / "c.h5").sets["toy/a"].statistics, np.asarray(item.data, np.float64)
    changes = np.concatenate(
        [np.abs(np.diff(item.rows(e).astype(np.float64), axis=0)) for e in range(len(item.lengths))]
    )
    for name, expected in (
        ("low", rows.min(0)),
        ("high", rows.max(0)),
        ("mean", rows.mean(0)),
        ("std", rows.std(0)),
        ("q50", np.median(rows, 0)),
        ("q99", np.quantile(rows, 0.99, axis=0)),
        ("change", changes.mean(0)),
        ("at_low", (rows == rows.min(0)).mean(0)),
    ):
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)


def test_rows_pair_the_reward_with_the_state_it_led_to():
    episode = linear_episode(np.random.default_rng(0), 5)
    rows = episode_rows(episode)
    assert rows.shape == (6, 6) and rows[0, 3] == 0 and (rows[-1, 4:] == 0).all()
    np.testing.assert_allclose(rows[1:, 3], rows[1:, 0], rtol=1e-6)  # this reward is the first state after the step
    np.testing.assert_allclose(rows[:-1, 4:], episode.actions, rtol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "sentence"),
    [((3, 3, 2), "needs 4 observations"), ((4, 3, 2), "3 rewards"), ((1, 0, 0), "at least one")],
)
def test_mismatched_episodes_are_refused(lengths, sentence):
    observations, actions, rewards = lengths
    with pytest.raises(ValueError, match=sentence):
        Episode(observations=np.zeros((observations, 2)), actions=np.zeros((actions, 1)), rewards=np.zeros(rewards))


def test_missing_foreign_truncated_and_old_files_are_refused(workdir):
    assert "no such corpus" in refusal(workdir / "none.h5")
    (workdir / "text.h5").write_text("hello")
    assert "not a wmzoo corpus, or cut short" in refusal(workdir / "text.h5")
    with h5py.File(workdir / "other.h5", "w") as file:
        file["x"] = 1
    assert "not a wmzoo corpus" in refusal(workdir / "other.h5")
    seal(workdir / "other.h5", [])
    assert "an HDF5 file, but not a wmzoo corpus" in refusal(workdir / "other.h5")
    path = system_corpus(workdir / "c.h5")
    (workdir / "cut.h5").write_bytes(path.read_bytes()[:-2000])
    assert "cut short" in refusal(workdir / "cut.h5")
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 99
    assert "has changed since it was written" in refusal(path) or "cut short" in refusal(path)
    path = system_corpus(workdir / "old.h5")
    with edited(path) as file:
        file.attrs["version"] = 99
    assert "corpus version 99" in refusal(path)


def rewritten(path, name, value):
    with edited(path) as file:
        group = file["sets/toy/a"]
        del group[name]
        group[name] = value


def test_mismatched_lengths_and_short_episodes_are_refused(workdir):
    path = system_corpus(workdir / "c.h5")
    with h5py.File(path) as file:
        offsets = file["sets/toy/a/offsets"][()]
    rewritten(path, "offsets", offsets[:-1])
    assert "mismatched lengths" in refusal(path)
    offsets[1] = 1
    rewritten(path, "offsets", offsets)
    assert "episode 0 is shorter than two steps" in refusal(path)


def test_an_unwritable_place_and_a_full_disk_leave_nothing(workdir):
    (workdir / "file").write_text("")
    with pytest.raises(WmzooError, match="can.t be written"):
        write_corpus(workdir / "file" / "c.h5", [system_set()], {})
    with no_room(), pytest.raises(WmzooError, match="No space left on device"):
        write_corpus(workdir / "c.h5", [system_set()], {})
    write_corpus(workdir / "later.h5", [system_set()], {})
    assert list(open_corpus(workdir / "later.h5").sets) == ["toy/a"], "HDF5 works on"
    (workdir / "later.h5").unlink()
    assert [p.name for p in workdir.iterdir()] == ["file"]


def test_info_pools_what_is_stored_of_each_set_and_reads_no_rows(workdir, capsys):
    sets = [system_set(level=level, seed=i) for i, level in enumerate("ab")]
    write_corpus(workdir / "c.h5", sets, {})
    info.print_info(str(workdir / "c.h5"))
    printed = capsys.readouterr().out
    both = np.concatenate([item.data for item in sets])
    for i, name in enumerate(sets[0].names):
        wanted = [f"{x:.4g}" for x in (both[:, i].min(), both[:, i].max(), both[:, i].mean(), both[:, i].std())]
        line = next(line for line in printed.splitlines() if line.startswith(name))
        np.testing.assert_allclose([float(x) for x in line.split()[1:5]], [float(x) for x in wanted], rtol=2e-3)
    info.print_info(str(workdir / "c.h5"), variates=True)
    assert "toy/a" in capsys.readouterr().out


def test_info_of_many_environments_is_a_line_each(workdir, capsys):
    sets = [dataclasses.replace(system_set(), environment=f"toy{i}") for i in range(9)]
    write_corpus(workdir / "c.h5", sets, {})
    info.print_info(str(workdir / "c.h5"))
    printed = capsys.readouterr().out
    assert "environments: 9" in printed and "wmzoo data info" in printed and "mean change" not in printed


def test_a_million_steps_open_quickly_in_little_memory(workdir):
    rows = np.random.default_rng(0).normal(size=(1001, 24)).astype("f4")
    names = [*(f"x{i}" for i in range(17)), "reward", *(f"a{i}" for i in range(6))]
    big = make_set("toy", "a", names, 17, 0.05, [rows] * 1000, np.zeros(1000, EPISODE), {})
    write_corpus(workdir / "big.h5", [big], {})
    del big
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    corpus = open_corpus(workdir / "big.h5")
    assert time.perf_counter() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
    assert corpus.sets["toy/a"].data.shape == (1_001_000, 24)


MUTATED = int(os.environ.get("WMZOO_MUTATED", "200"))


def write_corpus_of_two(path):
    write_corpus(path, [system_set(level="a", episodes=3), system_set(level="b", seed=1, episodes=3)], {"made": "here"})
    return path


@functools.cache
def structure(whole):
    """Places of the file's bytes outside of its rows."""
    rows = [s.data.tobytes() for s in (system_set(level="a", episodes=3), system_set(level="b", seed=1, episodes=3))]
    inside = set()
    for data in rows:
        at = whole.index(data)
        inside.update(range(at, at + len(data)))
    return [place for place in range(len(whole)) if place not in inside]


@pytest.mark.parametrize("start", range(0, MUTATED, 50))
def test_a_mutated_corpus_is_refused_or_all_right(workdir, start):
    sound = open_corpus(write_corpus_of_two(workdir / "sound.h5"))
    whole = (workdir / "sound.h5").read_bytes()
    for seed in range(start, start + 50):
        rng, mutated = random.Random(seed), bytearray(whole)
        if seed % 5 == 0:
            mutated = mutated[: rng.randrange(len(mutated))]
        for _ in range(rng.choice([1, 3, 30]) if seed % 5 else 0):
            # Its structure is a small part of the file; half of the mutations go there.
            place = rng.randrange(len(mutated)) if rng.random() < 0.5 else rng.choice(structure(whole))
            mutated[place] ^= 1 << rng.randrange(8)
        path = workdir / f"{seed}.h5"
        path.write_bytes(mutated)
        try:
            corpus = open_corpus(path)
            assert corpus.about == sound.about and list(corpus.sets) == list(sound.sets), seed
            for key, item in corpus.sets.items():
                if list(checking.problems(item)):
                    continue
                there = sound.sets[key]
                for name in ("names", "states", "dt", "component", "bodies", "about", "sha256"):
                    assert getattr(item, name) == getattr(there, name), (seed, name)
                for name in ("data", "offsets", "episodes", "statistics"):
                    np.testing.assert_array_equal(getattr(item, name), getattr(there, name), err_msg=f"{seed} {name}")
        except WmzooError as error:
            assert str(path.name) in str(error)
        path.unlink()
