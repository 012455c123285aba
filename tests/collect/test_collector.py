"""Corpora: alignment by replay, reproducibility to the byte, resumption after a kill, and mistakes."""

import json
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import psutil
import pytest
import yaml
from scipy import stats

from wmzoo import recipe
from wmzoo.collect import collector, quick
from wmzoo.collect.collector import Shard
from wmzoo.collect.ladder import load_ladder
from wmzoo.collect.levels import LADDER_LEVELS, LEVELS, MIXTURE, Behaviour, behaviours_of, turn
from wmzoo.collect.making import layout, make_gymnasium
from wmzoo.data import checking
from wmzoo.data.store import open_corpus
from wmzoo.errors import WmzooError

SMALL = {
    "name": "small",
    "corpus": "small.h5",
    "seed": 3,
    "steps": 700,
    "environments": ["hopper"],
    "levels": ["random", "medium-expert"],
}


def written(tmp_path, **changes):
    """A data recipe file in ``tmp_path`` and its corpus beside it."""
    values = {**SMALL, "corpus": str(tmp_path / "small.h5"), **changes}
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def collected(tmp_path, **changes):
    return collector.collect(collector.read(written(tmp_path, **changes)), quiet=True)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return open_corpus(collected(tmp_path_factory.mktemp("corpus")))


@pytest.mark.parametrize("level", SMALL["levels"])
def test_rewards_stand_on_arrival(corpus, level):
    """Replaying the stored actions from the stored seed gives row t+1's state and reward from row t's action."""
    gym, item = make_gymnasium("hopper"), corpus.sets[f"hopper/{level}"]
    m = item.states
    for index, record in enumerate(item.episodes):
        rows = item.rows(index)
        observation, _ = gym.reset(seed=int(record["seed"]))
        np.testing.assert_array_equal(rows[0, : m + 1], np.append(observation, 0).astype(np.float32))
        terminated = total = 0
        for t in range(len(rows) - 1):
            assert not terminated
            observation, reward, terminated, _, _ = gym.step(rows[t, m + 1 :].astype(np.float64))
            np.testing.assert_array_equal(rows[t + 1, : m + 1], np.append(observation, reward).astype(np.float32))
            total += reward
        assert terminated == record["terminated"] != record["truncated"]
        assert (rows[-1, m + 1 :] == 0).all()
        assert total == pytest.approx(record["return"], rel=1e-5)


def test_sets_say_what_they_are(corpus):
    item = corpus.sets["hopper/medium-expert"]
    assert item.names == layout("hopper").names and item.dt == pytest.approx(0.008)
    assert (item.lengths - 1).sum() == SMALL["steps"]
    about, ladder = item.about, load_ladder("hopper")
    assert [b["name"] for b in about["behaviours"]] == [ladder.medium, ladder.expert]
    assert about["behaviours"][1]["return_mean"] == ladder.measured(ladder.expert)["return_mean"]
    assert about["versions"]["mujoco"] == "3.17.0" and about["seed"] == 3 and about["steps"] == 700
    assert {"return_mean", "score", "episodes"} <= set(about)
    assert corpus.about["recipe"]["levels"] == SMALL["levels"]
    assert (item.component, item.bodies) == ("d4rl", layout("hopper").bodies)
    assert not list(corpus.path.parent.glob("*.parts"))
    seconds = json.loads(corpus.path.with_name("small.h5.cost.json").read_text())["seconds"]
    assert set(seconds) == set(corpus.sets) and min(seconds.values()) > 0


def test_random_actions_are_uniform(corpus):
    item = corpus.sets["hopper/random"]
    last = np.zeros(len(item.data), bool)
    last[item.offsets[1:] - 1] = True
    actions = np.asarray(item.data[~last, item.states + 1 :])
    assert np.abs(actions).max() <= 1
    for column in actions.T:
        assert stats.kstest(column, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(actions.T) - np.eye(3)).max() < 0.15


def test_a_set_depends_on_the_seed_and_its_own_key_alone(tmp_path, corpus):
    alone = open_corpus(collected(tmp_path, levels=["medium-expert"]))
    assert alone.sets["hopper/medium-expert"].sha256 == corpus.sets["hopper/medium-expert"].sha256
    (tmp_path / "small.h5").unlink()
    other = open_corpus(collected(tmp_path, levels=["medium-expert"], seed=4))
    assert other.sets["hopper/medium-expert"].sha256 != corpus.sets["hopper/medium-expert"].sha256


def test_same_seed_same_bytes(tmp_path, corpus):
    assert collected(tmp_path).read_bytes() == corpus.path.read_bytes()


def test_actions_are_scaled_to_the_limits_and_episodes_cut(tmp_path):
    item = open_corpus(
        collected(tmp_path, environments=["gym-inverted_pendulum"], levels=["noise"], steps=4000, episode=7)
    ).sets["gym-inverted_pendulum/noise"]
    actions = item.data[:, item.states + 1 :]
    assert 2.5 < np.abs(actions).max() <= 3.0
    assert item.lengths.max() == 8 and (item.lengths - 1).sum() == 4000


CODE = """
import sys
from wmzoo.collect import collector
collector.PART_TRANSITIONS = 1500
if __name__ == "__main__":
    collector.collect(collector.read(sys.argv[1]), quiet=True, workers=int(sys.argv[2]))
"""

MANY = {
    "steps": 4000,
    "training": 2000,
    "episode": 60,
    "environments": ["gym-pendulum", "dmc-reacher-easy", "modular-walker-2-main"],
    "levels": ["mixed", "noise"],
}


def start(folder, workers, **changes):
    """A collection in a process of its own; parts are short there."""
    script = folder / "run.py"
    script.write_text(CODE)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.Popen(
        [sys.executable, str(script), str(written(folder, **changes)), str(workers)],
        env=environment,
        stderr=subprocess.PIPE,
    )


def finish(folder, workers, **changes):
    assert start(folder, workers, **changes).wait() == 0
    return (folder / "small.h5").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder and the bytes of a collection by one process, never killed."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, finish(folder, 1, **MANY)


def test_two_workers_give_the_bytes_of_one(tmp_path, whole):
    assert finish(tmp_path, 2, **MANY) == whole[1]
    assert not (tmp_path / "small.h5.parts").exists()


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_a_random_moment_and_resumed_gives_the_same_bytes(tmp_path, whole, seed):
    """The second call goes on after the episodes of the first, and no worker outlives the first."""
    process, folder = start(tmp_path, 2, **MANY), tmp_path / "small.h5.parts"
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.rows")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(np.random.default_rng(seed).uniform(0, 1.5))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "small.h5").exists()
    assert finish(tmp_path, 1, **MANY) == whole[1]


def test_episodes_that_are_there_are_used_again(tmp_path, whole):
    """A mark in an episode that was kept is found in the corpus, and one that was cut short is played again."""
    process, folder = start(tmp_path, 1, **MANY), tmp_path / "small.h5.parts"
    deadline = time.monotonic() + 60
    while not list(folder.glob("gym-pendulum-noise-*.episodes")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (rows,) = folder.glob("gym-pendulum-noise-*-0000.rows")
    data = bytearray(rows.read_bytes())
    data[:4] = np.float32(1234.5).tobytes()
    rows.write_bytes(data)
    broken = next(folder.glob("dmc-*-0000.rows"))
    broken.write_bytes(broken.read_bytes()[:-100])
    finish(tmp_path, 1, **MANY)
    here, there = open_corpus(tmp_path / "small.h5"), open_corpus(whole[0] / "small.h5")
    assert here.sets["gym-pendulum/noise"].data[0, 0] == 1234.5
    assert here.sets["dmc-reacher-easy/mixed"].sha256 == there.sets["dmc-reacher-easy/mixed"].sha256


def test_shards_hold_every_set_once(tmp_path, whole):
    there, found = open_corpus(whole[0] / "small.h5"), {}
    for number in (1, 2, 3):
        wanted = collector.read(
            written(tmp_path, **{**MANY, "environments": ["modular-walker-2-main", "gym-pendulum"]})
        )
        path = collector.collect(wanted, quiet=True, shard=Shard(number, 3))
        assert path.name == f"small.shard-{number}-of-3.h5"
        sets = open_corpus(path).sets
        assert not set(found) & set(sets)
        found |= sets
    assert set(found) == {key for key in there.sets if key.startswith(("modular", "gym-pendulum"))}
    with pytest.raises(WmzooError, match="has 4 sets, too few for shard 5"):
        collector.collect(wanted, quiet=True, shard=Shard(5, 5))


@pytest.mark.parametrize("text", ["3", "0/4", "5/4", "a/b", "1/-2", ""])
def test_shards_are_numbered(text):
    with pytest.raises(WmzooError, match="write 3/16"):
        Shard.parse(text)


def test_two_collections_of_one_corpus_are_refused(tmp_path):
    process, folder = start(tmp_path, 1, **MANY), tmp_path / "small.h5.parts"
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(WmzooError, match="another process is collecting this corpus"):
        collected(tmp_path, **MANY)
    process.send_signal(signal.SIGINT)
    process.wait()


def test_a_killed_worker_is_told(tmp_path):
    process, folder = start(tmp_path, 2, **{**MANY, "training": 200_000}), tmp_path / "small.h5.parts"
    deadline, workers = time.monotonic() + 60, []
    while len(workers) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
        workers = [w for w in psutil.Process(process.pid).children() if "spawn_main" in " ".join(w.cmdline())]
    time.sleep(1)
    workers[0].kill()
    assert process.wait() == 1
    assert "a worker process was killed" in process.stderr.read().decode()
    assert folder.is_dir()
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)


def test_mixed_is_all_kinds_of_behaviour(whole):
    for environment in MANY["environments"]:
        item = open_corpus(whole[0] / "small.h5").sets[f"{environment}/mixed"]
        kinds = np.array([behaviour["kind"] for behaviour in item.about["behaviours"]])
        steps = {kind: 0 for kind in MIXTURE}
        for record, length in zip(item.episodes, item.lengths, strict=True):
            steps[kinds[record["behaviour"]]] += int(length) - 1
        assert sum(steps.values()) == MANY["steps"]
        for kind, share in MIXTURE.items():
            # A behaviour's last episode may go over into the next one's share.
            assert abs(steps[kind] - share * MANY["steps"]) <= 5 * MANY["episode"], kind
        assert not checking.shared_episodes(open_corpus(whole[0] / "small.h5"))


@pytest.mark.parametrize("environment", ["gym-pendulum", "dmc-reacher-easy", "modular-walker-2-main"])
def test_what_was_played_is_played_again_from_its_seed(whole, environment):
    """In every family: the stored actions, from the stored seed, give the stored states and rewards."""
    gym, item = make_gymnasium(environment), open_corpus(whole[0] / "small.h5").sets[f"{environment}/mixed"]
    bought = len(item.about["behaviours"]) - 1
    m, played = item.states, np.flatnonzero(item.episodes["behaviour"] < bought)
    assert len(played) > 20 and (item.episodes["behaviour"] == bought).any()
    for index in played[::7]:
        rows = item.rows(int(index))
        observation, _ = gym.reset(seed=int(item.episodes["seed"][index]))
        np.testing.assert_array_equal(rows[0, : m + 1], np.append(observation, 0).astype(np.float32))
        for t in range(len(rows) - 1):
            observation, reward, *_ = gym.step(rows[t, m + 1 :].astype(np.float64))
            np.testing.assert_array_equal(rows[t + 1, : m + 1], np.append(observation, reward).astype(np.float32))


def test_policies_do_not_depend_on_the_other_levels(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(collector, "PART_TRANSITIONS", 1500)
    changes = {**MANY, "environments": ["modular-walker-2-main"]}
    with pytest.raises(WmzooError, match="small.yaml:.*training: buffer takes 4000 transitions.*raise it to that"):
        collected(tmp_path, **{**changes, "levels": ["buffer", "mixed"]})
    collected(tmp_path, **{**changes, "levels": ["graded", "mixed"]})
    here, there = open_corpus(tmp_path / "small.h5"), open_corpus(whole[0] / "small.h5")
    key = "modular-walker-2-main/mixed"
    assert here.sets[key].sha256 == there.sets[key].sha256


def test_a_short_training_helps():
    found, episodes = quick.train_quick("modular-cheetah-3-balanced", 0, 30_000, 1000)
    assert list(found.returns) == sorted(found.returns) and found.returns[-1] > found.returns[0] + 10
    assert len(found.graded) == quick.GRADES and len(found.curious) == quick.CURIOUS
    assert sum(len(episode.actions) for episode in episodes) >= 30_000


def test_coloured_noise_has_its_colour_and_limits():
    columns = layout("gym-pendulum")
    behaviour = Behaviour(name="smooth", kind="noise", colour=(0.5, (0.3, 0.3)))
    act = behaviour.begin(columns, np.random.default_rng(0))
    actions = np.array([act(np.zeros(3))[0] for _ in range(20_000)]) / columns.high[0]
    assert actions.std() == pytest.approx(0.3, rel=0.1) and np.abs(actions).max() <= 1
    for lag in (1, 5, 10):
        correlation = np.corrcoef(actions[:-lag], actions[lag:])[0, 1]
        assert correlation == pytest.approx(np.exp(-lag * columns.dt / 0.5), abs=0.05)


def test_the_same_recipe_again_does_nothing_and_another_is_refused(tmp_path, capfd):
    path = collected(tmp_path)
    before, changed = path.read_bytes(), path.stat().st_mtime_ns
    assert collector.collect(collector.read(written(tmp_path, name="renamed"))) == path
    assert "already collected" in capfd.readouterr().err
    with pytest.raises(WmzooError, match=r"different: seed, levels.*corpus=PATH"):
        collected(tmp_path, seed=9, levels=["expert"])
    assert path.read_bytes() == before and path.stat().st_mtime_ns == changed
    path.write_bytes(before[:5000])
    with pytest.raises(WmzooError, match="cut short"):
        collected(tmp_path)


def test_a_foreign_file_is_never_overwritten(tmp_path):
    with h5py.File(tmp_path / "small.h5", "w") as file:
        file["precious"] = 1
    with pytest.raises(WmzooError, match="not a wmzoo corpus"):
        collected(tmp_path)
    with h5py.File(tmp_path / "small.h5") as file:
        assert file["precious"][()] == 1


def test_all_mistakes_are_listed_together(tmp_path):
    path = written(
        tmp_path,
        environments=["hoper", "walker2d"],
        levels=["medum", "expert"],
        steps=0,
        seed="one",
        levles=[],
        corpus=3.5,
    )
    with pytest.raises(WmzooError) as caught:
        collector.read(path)
    problems = "\n".join(caught.value.problems)
    for expected in (
        'Did you mean "hopper"',
        'Did you mean "medium"',
        "steps: must be at least 1",
        "seed: must be a whole number",
        'levles: unknown setting. Did you mean "levels"',
    ):
        assert expected in problems
    assert len(caught.value.problems) == 5
    assert all("small.yaml" in problem for problem in caught.value.problems)


@pytest.mark.parametrize("levels", [[], ["medium", "medium"]])
def test_levels_are_named_once(tmp_path, levels):
    with pytest.raises(WmzooError, match="levels: name at least one, and each once"):
        collector.read(written(tmp_path, levels=levels))


def test_missing_settings(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("name: empty\n")
    with pytest.raises(WmzooError) as caught:
        collector.read(path)
    assert len(caught.value.problems) == 4


def test_shipped_data_recipes_are_valid():
    found = recipe.data_names()
    assert {"quickstart", "gym-mujoco"} <= set(found)
    for name in found:
        assert collector.read(name).keys
    assert len(collector.read("unitraj-mini").chosen) >= 80
    assert collector.read("quickstart", ["steps=10", "corpus=elsewhere.h5"]).steps == 10


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WmzooError, match="can't be written"):
        collected(tmp_path, corpus=str(tmp_path / "file" / "corpus.h5"))


LIMITED = """
import resource, sys
from wmzoo.collect import collector
from wmzoo.errors import WmzooError
wanted = collector.read(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    collector.collect(wanted, quiet=True)
except WmzooError as error:
    print(error)
"""


def test_a_full_disk_is_told_and_leaves_no_corpus(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(written(tmp_path))], capture_output=True, text=True, check=True
    )
    assert "free some space" in done.stdout and done.stderr == ""
    assert not list(tmp_path.rglob("*.h5"))
    assert collected(tmp_path).exists(), "it goes on when there is space"


def test_policies_that_are_not_there(tmp_path):
    with pytest.raises(WmzooError, match="small.yaml:.*levels: medium-expert needs policies of hopper"):
        collected(tmp_path, policies=str(tmp_path / "none"))
    with pytest.raises(WmzooError, match="levels: expert needs policies of gym-ant.*or choose levels such as graded"):
        collected(tmp_path, environments=["gym-ant"], levels=["random", "expert"])


def test_behaviours_take_turns_in_order():
    ladder = load_ladder("hopper")
    replay = behaviours_of("medium-replay", ladder)
    assert [b.name for b in replay] == list(ladder.replay) and all(b.noise > 0 for b in replay)
    turns = [turn(replay, done, 100) for done in range(101)]
    assert turns == sorted(turns) and set(turns) == set(range(len(replay)))
    counts = np.bincount(turns[:100])
    assert counts.max() - counts.min() <= 1
    assert all(behaviours_of(level, ladder) for level in LADDER_LEVELS)
    thirds = behaviours_of("noise")
    assert [turn(thirds, done, 3000) for done in (0, 999, 1000, 1999, 2000, 2999)] == [0, 0, 1, 1, 2, 2]
    assert set(LADDER_LEVELS) < set(LEVELS)
