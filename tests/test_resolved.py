"""Recipes with nothing left unsaid, and their differences."""

from __future__ import annotations

import pytest
import yaml
from systems import toy_recipe

from wmzoo import cli, recipe, resolved
from wmzoo.recipe import Source, check


def written(path, **changes):
    path.write_text(yaml.safe_dump(toy_recipe(**changes)))
    return path.name


def shown(capsys, *arguments):
    assert cli.main(["show", *arguments]) == 0
    return list(yaml.safe_load_all(capsys.readouterr().out))


@pytest.mark.parametrize("name", ["trajworld", "tdm-cpu", "mlp_ensemble", "mixer-cpu"])
def test_a_resolved_recipe_says_everything_and_is_a_recipe(name, workdir, capsys):
    (whole,) = shown(capsys, name, "--resolved")
    assert check(Source(whole, {})) == recipe.load(name)
    assert (
        whole["train"]["weight_decay"] == 1e-5 and "extends" not in whole and "size" not in whole["model"]["backbone"]
    )


def test_settings_are_those_of_the_command_line(workdir, capsys):
    (whole,) = shown(capsys, "trajworld-cpu", "--resolved", "train.steps=7")
    assert whole["train"]["steps"] == 7
    assert cli.main(["show", "trajworld-cpu", "train.steps=7"]) == 2
    assert "add --resolved" in capsys.readouterr().err


def test_of_a_grid_every_cell_is_shown_or_the_chosen_one(workdir, capsys):
    cells = shown(capsys, "quickstart", "--resolved")
    assert [(c["model"]["backbone"]["name"], c["seed"]) for c in cells] == [
        (name, seed) for name in ("trajworld", "tdm", "mlp_ensemble") for seed in (0, 1)
    ]
    (one,) = shown(capsys, "quickstart", "--resolved", "name=tdm", "seed=1")
    assert one == cells[3]


def test_of_a_data_recipe_too(workdir, capsys):
    (whole,) = shown(capsys, "data/quickstart", "--resolved")
    assert whole["corpus"] == "corpora/quickstart.h5" and whole["seed"] == 0


def test_a_difference_has_its_path_and_both_values(workdir):
    one = written(workdir / "one.yaml")
    other = written(workdir / "other.yaml", backbone="tdm", train={"steps": 9}, grid={"seed": [0, 1]})
    rows = {path: (a, b) for path, a, b in resolved.differences(resolved.cells(one), resolved.cells(other))}
    assert rows["train.steps"] == ("20", "9") and rows["seed"] == ("0", "0 | 1")
    assert rows["model.backbone.name"] == ("trajworld", "tdm") and rows["model.backbone.pad_to"] == ("-", "1")
    assert "train.batch_size" not in rows and "data.window" not in rows
    assert not resolved.differences(resolved.cells(one), resolved.cells(one))


def test_the_command_prints_differences_and_takes_settings_of_the_second(workdir, capsys):
    one = written(workdir / "one.yaml")
    assert cli.main(["diff", one, one, "train.steps=9", "data.environments=[toy/b]"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train.steps", "20", "9"] in lines and ["data.environments", '["toy/*"]', '["toy/b"]'] in lines
    assert cli.main(["diff", one, one]) == 0
    assert "say the same" in capsys.readouterr().out
    assert cli.main(["diff", one, "nowhere"]) == 2
    assert 'no recipe "nowhere"' in capsys.readouterr().err
