"""The runner of grids: what is done is skipped, what is missing or measured otherwise is made, mistakes stop it."""

from __future__ import annotations

import json

import pytest
import yaml
from systems import system_corpus, toy_recipe

from wmzoo import cli, gridrun
from wmzoo.errors import WmzooError


def grid_of(workdir, windows=32, **changes):
    system_corpus(workdir / "toy.h5")
    values = toy_recipe(train={"steps": 8, "validate_every": 4}, **changes)
    values["evaluate"] = {"transition": {"windows": windows, "rollouts": 4, "horizons": [1, 2]}}
    values["grid"] = {"model.backbone.width": [16, 32]}
    (workdir / "toy.yaml").write_text(yaml.safe_dump(values))


def commands(capsys):
    return [line.split(" ")[2] for line in capsys.readouterr().out.splitlines() if line.startswith("$ wmzoo ")]


def test_a_grid_is_trained_evaluated_and_compared_and_nothing_twice(workdir, capsys):
    grid_of(workdir)
    assert cli.main(["grid", "toy.yaml"]) == 0
    assert commands(capsys) == ["train", "evaluate", "train", "evaluate", "compare"]
    assert sorted(p.name for p in (workdir / "comparisons" / "toy" / "transition-v1").iterdir())
    gridrun.run("toy.yaml")
    assert commands(capsys) == ["compare"]
    grid_of(workdir, windows=64)
    gridrun.run("toy.yaml")
    assert commands(capsys) == ["evaluate", "evaluate", "compare"], "other settings of evaluation train nothing anew"
    results = [json.loads(path.read_text()) for path in workdir.glob("runs/toy/*/transition-v1.json")]
    assert [result["settings"]["windows"] for result in results] == [64, 64]


def test_all_cells_are_checked_before_the_first_is_trained(workdir, capsys):
    grid_of(workdir)
    text = (workdir / "toy.yaml").read_text().replace("- 32", "- thirty")
    (workdir / "toy.yaml").write_text(text)
    with pytest.raises(WmzooError, match="model.backbone.width: must be a whole number"):
        gridrun.run("toy.yaml")
    assert not commands(capsys) and not (workdir / "runs").exists()
