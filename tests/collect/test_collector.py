"""Corpora: alignment by replay, reproducibility to the byte, resumption after a kill, and mistakes."""

import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import yaml
from scipy import stats

from wmzoo import recipe
from wmzoo.collect import collector
from wmzoo.collect.ladder import load_ladder
from wmzoo.collect.levels import LEVELS, behaviours_of, turn
from wmzoo.collect.simulators import layout, make_gymnasium
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
    assert not list(corpus.path.parent.glob("*.parts"))


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


CODE = """
import sys
from wmzoo.collect import collector
collector.PART_TRANSITIONS = 1500
collector.collect(collector.read(sys.argv[1]), quiet=True)
"""


KILLED = {"steps": 6000, "levels": ["medium-replay", "random"], "environments": ["hopper"]}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder of a collection that was killed after two parts."""
    folder = tmp_path_factory.mktemp("killed")
    process = subprocess.Popen([sys.executable, "-c", CODE, str(written(folder, **KILLED))])
    deadline = time.monotonic() + 60
    while len(list(folder.glob("small.h5.parts/hopper-*.npz"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "small.h5").exists()
    return folder


def resumed(killed, folder):
    """The corpus of a copy of the killed collection, after another call."""
    shutil.copytree(killed / "small.h5.parts", folder / "small.h5.parts")
    subprocess.run([sys.executable, "-c", CODE, str(written(folder, **KILLED))], check=True)
    return folder / "small.h5"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of the same collection, never killed."""
    return collected(tmp_path_factory.mktemp("whole"), **KILLED).read_bytes()


def test_killed_and_resumed_gives_the_same_bytes(tmp_path, killed, whole):
    assert resumed(killed, tmp_path).read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.h5", "small.yaml"]


def test_finished_parts_are_used_again(tmp_path, killed):
    """A mark in a part that was kept is found in the corpus."""
    first = min(killed.glob("small.h5.parts/hopper-*.npz"))
    with np.load(first) as file:
        arrays = dict(file)
    arrays["data"][5, 0] = 1234.5
    marked = tmp_path / "marked"
    shutil.copytree(killed, marked)
    np.savez(marked / "small.h5.parts" / first.name, **arrays)
    (tmp_path / "here").mkdir()
    corpus = open_corpus(resumed(marked, tmp_path / "here"))
    assert corpus.sets["hopper/medium-replay"].data[5, 0] == 1234.5


def test_broken_parts_are_made_again(tmp_path, killed, whole):
    shutil.copytree(killed, tmp_path / "broken")
    for path in (tmp_path / "broken" / "small.h5.parts").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    (tmp_path / "resumed").mkdir()
    assert resumed(tmp_path / "broken", tmp_path / "resumed").read_bytes() == whole


def test_the_same_recipe_again_does_nothing_and_another_is_refused(tmp_path, capfd):
    path = collected(tmp_path)
    before, changed = path.read_bytes(), path.stat().st_mtime_ns
    assert collector.collect(collector.read(written(tmp_path, name="renamed"))) == path
    assert "already collected" in capfd.readouterr().err
    with pytest.raises(WmzooError, match=r"different: seed, levels.*corpus=PATH"):
        collected(tmp_path, seed=9, levels=["expert"])
    assert path.read_bytes() == before and path.stat().st_mtime_ns == changed
    path.write_bytes(before[:5000])
    with pytest.raises(WmzooError, match="not a readable corpus"):
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
        assert collector.read(name).levels == LEVELS
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
    assert not list(tmp_path.rglob("*.h5*/*")) and not (tmp_path / "small.h5").exists()


def test_policies_that_are_not_there(tmp_path):
    with pytest.raises(WmzooError, match="wmzoo data policies hopper"):
        collected(tmp_path, policies=str(tmp_path / "none"))


def test_behaviours_take_turns_in_order():
    ladder = load_ladder("hopper")
    replay = behaviours_of("medium-replay", ladder)
    assert [b.name for b in replay] == list(ladder.replay) and all(b.noise > 0 for b in replay)
    turns = [turn(replay, done, 100) for done in range(101)]
    assert turns == sorted(turns) and set(turns) == set(range(len(replay)))
    counts = np.bincount(turns[:100])
    assert counts.max() - counts.min() <= 1
    assert all(behaviours_of(level, ladder) for level in LEVELS)
