"""Foreign formats: the right alignment, nothing silently wrong, nothing executed, resumed after a stop."""

from __future__ import annotations

import dataclasses
import os
import pickle
import random
import shutil
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
import torch
from formats import COMPONENTS, EXPECTED, WITHOUT_FINAL_STATE, WRITERS
from systems import planted_episode

from wmzoo import cli, load, recipe, training
from wmzoo.data import importing, sources
from wmzoo.data.store import open_corpus
from wmzoo.errors import WmzooError
from wmzoo.trajectories import episode_rows


def planted(lengths=(12, 12, 12), states=3):
    """Episodes in which the action alone decides what follows; the first one terminates."""
    rng = np.random.default_rng(5)
    made = [planted_episode(rng, length, states=states) for length in lengths]
    return [dataclasses.replace(e, terminated=i == 0, truncated=i > 0) for i, e in enumerate(made)]


def written(form, folder, episodes):
    folder.mkdir(parents=True, exist_ok=True)
    return WRITERS[form](folder, episodes)


def test_every_reader_has_a_writer_to_be_tested_with():
    assert set(sources.formats()) == set(WRITERS) and len(WRITERS) >= 10


@pytest.mark.parametrize("form", WRITERS)
def test_the_planted_system_comes_through_aligned(workdir, form):
    episodes = planted()
    path = written(form, workdir / "in", episodes)
    corpus = open_corpus(importing.import_files(form, [path], workdir / "corpora" / form, quiet=True))
    item = corpus.sets[EXPECTED[form]]
    assert corpus.path.name == f"{form}.h5" and list(corpus.sets) == [EXPECTED[form]] and corpus.about["skipped"] == []
    assert item.component == COMPONENTS.get(form, form)
    assert not corpus.path.with_name(f"{form}.h5.parts").exists()
    for i, episode in enumerate(episodes):
        rows, wanted = item.rows(i), episode_rows(episode)
        if form in WITHOUT_FINAL_STATE:
            wanted = wanted[:-1].copy()
            wanted[-1, 4:] = 0  # the last action led to a state that nobody stored
        np.testing.assert_array_equal(rows, wanted)
        # the system itself: the sign of the action decides the next row
        sign = np.sign(rows[:-1, 4])
        np.testing.assert_allclose(rows[1:, 0], 0.5 * sign)
        np.testing.assert_allclose(rows[1:, 3], 0.3 * sign, rtol=1e-6)
    ends = item.episodes["terminated"].tolist()
    if form == "macaw":
        assert ends == [True, True, True]
    elif form in (*WITHOUT_FINAL_STATE, "tdmpc2"):
        assert ends == [False, False, False]  # the format does not tell
    else:
        assert ends == [True, False, False]
    np.testing.assert_array_equal(item.episodes["truncated"], ~item.episodes["terminated"])


def test_an_imported_corpus_trains(workdir):
    path = written("d4rl", workdir / "in", planted((30, 30, 30, 30)))
    importing.import_files("d4rl", [path], workdir / "own", quiet=True)
    settings = ["data.corpus=own.h5", "data.environments=[toy/*]", "data.window=6", "train.steps=3", "train.warmup=0"]
    settings += [
        "model.backbone.width=16",
        "model.backbone.blocks=1",
        "train.validation_windows=8",
        "data.split.test=0.25",
    ]
    folder = training.train(recipe.load("trajworld-cpu", settings), quiet=True)
    assert load(folder).variates["toy"].states == 3


def test_a_seam_without_a_flag_ends_an_episode(workdir):
    path = written("d4rl", workdir / "in", planted())
    with h5py.File(path, "r+") as file:
        file["timeouts"][...] = False
    corpus = open_corpus(importing.import_files("d4rl", [path], workdir / "own", quiet=True))
    # The stored next state tells where the next episode begins, unless it happens to be its first state.
    assert len(corpus.sets["toy/medium-replay"].lengths) in (2, 3)


def test_arrow_and_nested_observations_of_minari(workdir):
    import pyarrow as pa

    (e,) = planted((9,))
    place = workdir / "toy" / "arrow-v0" / "data" / "0"
    place.mkdir(parents=True)
    pad = [None]
    inner = pa.list_(pa.float64(), 1)
    observation = pa.StructArray.from_arrays(
        [pa.array(e.observations[:, [1]].tolist(), inner), pa.array(e.observations[:, [0]].tolist(), inner)], ["b", "a"]
    )
    table = pa.table(
        {
            "observations": observation,
            "actions": pa.array([*e.actions.tolist(), None], pa.list_(pa.float32(), 1)),
            "rewards": pa.array([*e.rewards.tolist(), *pad], pa.float64()),
            "terminations": pa.array([False] * 8 + [True] + pad, pa.bool_()),
            "truncations": pa.array([False] * 9 + pad, pa.bool_()),
        }
    )
    with pa.OSFile(str(place / "part-0.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    corpus = open_corpus(importing.import_files("minari", [workdir / "toy"], workdir / "own", quiet=True))
    (item,) = corpus.sets.values()
    assert item.names == ("a:s0", "b:s0", "reward", "s0") or item.names[:3] == ("a:0", "b:0", "reward")
    np.testing.assert_array_equal(item.rows(0)[:, :2], e.observations[:, [0, 1]].astype("f4"))
    assert item.episodes["terminated"].tolist() == [True]


def test_what_can_not_be_used_is_left_out_and_told(workdir, capsys):
    folder = workdir / "in" / "toy"
    written("npz", workdir / "in", planted((9, 9, 9, 9, 9)))
    for i, change in (
        (1, {"rewards": np.full(9, np.nan)}),
        (2, {"rewards": np.zeros(4)}),
        (3, {"observations": np.zeros((10, 7))}),
    ):
        with np.load(folder / f"{i}.npz") as file:
            arrays = {**dict(file), **change}
        np.savez(folder / f"{i}.npz", **arrays)
    (folder / "9.npz").write_bytes(b"PK\x03\x04 not an archive")
    path = importing.import_files("npz", [folder], workdir / "own")
    corpus = open_corpus(path)
    assert len(corpus.sets["toy/own"].lengths) == 2
    told = capsys.readouterr().out
    for reason in (
        "4 left out, all listed in",
        "NaN or infinite values",
        "other columns than the first",
        "9.npz: can't be read",
    ):
        assert reason in told
    assert [reason for _, reason in corpus.about["skipped"]][0] == "NaN or infinite values"


def test_environments_that_pre_training_is_tested_on_are_left_out_of_unitraj(workdir):
    folder = written("unitraj", workdir / "in", planted()).parent
    for place in ("jat/mujoco-hopper", "jat/mujoco-reacher", "db1/walker_7_main", "modular-rl/hopper_3-v2"):
        shutil.copytree(folder / "modular-rl" / "toy_3-v2", folder / place)
    path = importing.import_files("unitraj", [folder], workdir / "all", quiet=True)
    found = set(open_corpus(path).sets)
    assert found == {"toy_3-v2/modular-rl", "hopper_3-v2/modular-rl", "mujoco-reacher/jat"}
    told = path.with_name(path.name + ".skipped.txt").read_text()
    assert "mujoco-hopper" in told and "the released loader leaves it out" in told


def test_names_and_levels_can_be_told(workdir):
    path = written("npz", workdir / "in", planted())
    corpus = open_corpus(
        importing.import_files("npz", [path], workdir / "own", ["environment=mine", "level=a/b", "component=lab"], True)
    )
    item = corpus.sets["mine/a-b"]
    assert list(corpus.sets) == ["mine/a-b"] and item.dt == 0.05 and item.component == "lab"


def test_a_stopped_import_goes_on_and_gives_the_same_bytes(workdir, monkeypatch):
    path = written("exorl", workdir / "in", planted((12,) * 9))
    whole = importing.import_files("exorl", [path], workdir / "whole", quiet=True)
    reader, calls = sources.find("exorl"), []
    plain = reader.read

    def stops(file):
        calls.append(file)
        if len(calls) == 5:
            raise KeyboardInterrupt
        yield from plain(file)

    monkeypatch.setattr(reader, "read", stops)
    monkeypatch.setattr(importing, "JOURNAL_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        importing.import_files("exorl", [path], workdir / "again", quiet=True)
    assert not (workdir / "again.h5").exists()
    rows = workdir / "again.h5.parts" / "0.rows"
    rows.write_bytes(rows.read_bytes() + b"half a row that was being written")
    importing.import_files("exorl", [path], workdir / "again", quiet=True)
    assert len(calls) == 10  # the four files that were through are not read again
    a, b = (open_corpus(p).sets["toy/proto"] for p in (whole, workdir / "again.h5"))
    assert a.sha256 == b.sha256 and np.array_equal(a.data, b.data)


def test_an_import_that_lost_rows_begins_anew(workdir, monkeypatch):
    path = written("exorl", workdir / "in", planted((12,) * 6))
    whole = importing.import_files("exorl", [path], workdir / "whole", quiet=True)
    monkeypatch.setattr(importing, "JOURNAL_SECONDS", -1.0)
    with monkeypatch.context() as patched:
        patched.setattr(importing, "write_corpus", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            importing.import_files("exorl", [path], workdir / "again", quiet=True)
    rows = workdir / "again.h5.parts" / "0.rows"
    rows.write_bytes(rows.read_bytes()[:-1])  # the journal was on the disk, the last row not all of it
    again = importing.import_files("exorl", [path], workdir / "again", quiet=True)
    assert open_corpus(again).sets["toy/proto"].sha256 == open_corpus(whole).sets["toy/proto"].sha256


def test_a_killed_import_goes_on(workdir):
    path = written("npz", workdir / "in", planted((200,) * 60))
    command = [sys.executable, "-m", "wmzoo", "data", "import", "npz", str(path), "--to", "own", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.6)
    process.kill()
    process.wait()
    importing.import_files("npz", [path], workdir / "own", quiet=True)
    whole = importing.import_files("npz", [path], workdir / "whole", quiet=True)
    digests = {open_corpus(p).sets["toy/own"].sha256 for p in (whole, workdir / "own.h5")}
    assert len(digests) == 1


def test_again_does_nothing_and_other_files_are_refused(workdir, capsys):
    path = written("npz", workdir / "in", planted())
    first = importing.import_files("npz", [path], workdir / "own", quiet=True)
    stamp = first.stat().st_mtime_ns
    importing.import_files("npz", [path], workdir / "own")
    assert "nothing to do" in capsys.readouterr().out and first.stat().st_mtime_ns == stamp
    with pytest.raises(WmzooError, match="holds another corpus"):
        importing.import_files("npz", [path / "0.npz"], workdir / "own", quiet=True)


def test_the_command_line(workdir, capsys):
    written("npz", workdir / "in", planted())
    for words, said in (
        (["d4lr", "in"], 'Did you mean "d4rl"'),
        (["npz", "nowhere"], "nowhere: no such file or folder"),
        (["tdmpc2", "in"], "no files of the format tdmpc2 there"),
        (["d4rl", "in/toy/0.npz"], "none of 1 files holds an episode to use"),
        (["npz", "level=x"], "no files; name at least one"),
        (["npz", "in", "levle=x"], 'Did you mean "level"'),
    ):
        assert cli.main(["data", "import", *words, "--to", "own", "--quiet"]) == 2
        assert said in capsys.readouterr().err
    assert sorted(p.name for p in workdir.iterdir()) == ["in"]
    assert cli.main(["data", "import", "npz", "in", "level=x", "--to", "own", "--quiet"]) == 0
    assert "Next: wmzoo data info own.h5" in capsys.readouterr().out


class Runs:
    """Pickles into a call."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_nothing_in_a_file_is_run(workdir):
    planted_file = workdir / "ran"
    torch.save({"obs": Runs(planted_file)}, workdir / "a.pt")
    np.savez(workdir / "b.npz", observations=np.array([Runs(planted_file)], object), actions=1, rewards=1)
    with zipfile.ZipFile(workdir / "c.pt", "w") as archive:
        archive.writestr("c/data.pkl", pickle.dumps(Runs(planted_file)))
    for form, name in (("tdmpc2", "a.pt"), ("npz", "b.npz"), ("tdmpc2", "c.pt")):
        with pytest.raises(WmzooError, match="can't be read"):
            importing.import_files(form, [workdir / name], workdir / "own", quiet=True)
    assert not planted_file.exists()


CHECKED = ("exorl", "unitraj", "npz", "rl_unplugged", "tdmpc2")
"""Formats with a checksum over their numbers: what is read from a damaged file is right."""


@pytest.mark.parametrize("form", WRITERS)
def test_mutated_files_are_refused_or_read_in_part(workdir, form):
    episodes = planted()
    source = sources.find(form).files(written(form, workdir / "in", episodes))[0]
    whole = source.read_bytes()
    kept = {episode_rows(e).tobytes() for e in episodes}
    outcomes = set()
    for seed in range(100):
        rng, mutated = random.Random(seed), bytearray(whole)
        if seed % 3 == 0:
            mutated = mutated[: rng.randrange(len(mutated))]
        for _ in range(0 if seed % 3 == 0 else rng.choice([1, 4, 32])):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        source.write_bytes(mutated)
        try:
            corpus = open_corpus(importing.import_files(form, [source], workdir / f"{seed}.h5", quiet=True))
        except WmzooError as error:
            assert "can't be read" in str(error) or "left" in str(error) or "none of" in str(error)
            outcomes.add("refused")
            continue
        outcomes.add("read")
        for item in corpus.sets.values():
            assert np.isfinite(item.data).all()
            if form in CHECKED:
                assert all(item.rows(i).tobytes() in kept for i in range(len(item.lengths)))
        corpus.path.unlink()
    assert "refused" in outcomes
    assert not list(workdir.glob("*.parts"))
    shutil.rmtree(workdir / "in")
