"""Checkpoints: found, read without executing anything, refused in a sentence when they are damaged."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file
from systems import no_room, system_corpus, toy_recipe

import wmzoo
from wmzoo import checkpoint, training
from wmzoo.errors import WmzooError
from wmzoo.recipe import Source, check


@pytest.fixture
def run(workdir):
    system_corpus(workdir / "toy.h5")
    return training.train(check(Source(toy_recipe(train={"steps": 10, "validate_every": 5}), {})), quiet=True)


def test_a_run_is_found_by_folder_short_name_and_file(run):
    for name in (run, str(run).removeprefix("runs/"), run / checkpoint.LAST):
        assert wmzoo.load(name).name == "trajworld"
    assert not wmzoo.load(run).training
    with pytest.raises(WmzooError, match=f'Did you mean "{run}"'):
        wmzoo.load(str(run).replace("-s0-", "-s1-"))
    for i in range(40):
        (run.parent / f"more-{i}").mkdir()
        (run.parent / f"more-{i}" / checkpoint.BEST).touch()
    with pytest.raises(WmzooError, match=r"more-\d+ and 17 more\.$"):
        wmzoo.load("nowhere")


def refusal(path):
    with pytest.raises(WmzooError) as caught:
        wmzoo.load(path)
    (problem,) = caught.value.problems
    return problem


class Bomb:
    def __reduce__(self):
        return (open, ("ran", "w"))


def test_damaged_foreign_and_malicious_files_are_refused(run, workdir):
    whole = (run / checkpoint.BEST).read_bytes()
    (workdir / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "not a readable checkpoint" in refusal(workdir / "cut.safetensors")
    save_file({"x": torch.zeros(1)}, workdir / "foreign.safetensors")
    assert "not a checkpoint of this version" in refusal(workdir / "foreign.safetensors")
    (workdir / "bomb.safetensors").write_bytes(pickle.dumps(Bomb()))
    assert "not a readable checkpoint" in refusal(workdir / "bomb.safetensors")
    assert not (workdir / "ran").exists()


def test_weights_that_do_not_fit_the_recipe_are_refused(run, workdir):
    tensors, header = checkpoint.read(run / checkpoint.BEST)
    header["recipe"]["model"]["backbone"]["width"] = 64
    save_file(tensors, workdir / "other.safetensors", metadata={"wmzoo": json.dumps(header)})
    assert "weights do not fit its recipe" in refusal(workdir / "other.safetensors")
    header["recipe"]["model"]["backbone"]["name"] = "gone"
    save_file(tensors, workdir / "gone.safetensors", metadata={"wmzoo": json.dumps(header)})
    assert 'unknown backbone "gone"' in refusal(workdir / "gone.safetensors")


def test_a_full_disk_leaves_the_old_checkpoint(run):
    model = wmzoo.load(run)
    before, names = (run / checkpoint.BEST).read_bytes(), sorted(p.name for p in run.iterdir())
    with no_room(), pytest.raises(WmzooError, match="can't be written"):
        checkpoint.save(run / checkpoint.BEST, model, {}, {})
    assert (run / checkpoint.BEST).read_bytes() == before
    assert sorted(p.name for p in run.iterdir()) == names
