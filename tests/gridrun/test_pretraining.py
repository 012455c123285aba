"""Cells that start from another recipe's run: it is made once, first, and by each backbone of its own."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from grids import attempts, write_grid
from systems import SMALL, system_set, toy_recipe

from wmzoo import checkpoint, cli, grid, pretraining
from wmzoo.data.store import write_corpus
from wmzoo.errors import WmzooError
from wmzoo.recipe import check
from wmzoo.runs import run_folder

EARLIER = {"name": "earlier", "experiment": "before"}


def write_both(workdir, section, **changes):
    """The grid and, in ``recipes/``, the recipe of other environments that its cells start from."""
    path = write_grid(workdir, section, **changes)
    sets = [system_set(environment="other", seed=3), system_set(environment="third", seed=4)]
    write_corpus(workdir / "many.h5", sets, {"made": "for a test"})
    data = {"corpus": "many.h5", "environments": ["*"]}
    values = toy_recipe(data=data, train={"steps": 8, "validate_every": 4}) | EARLIER
    (workdir / "recipes").mkdir(exist_ok=True)
    (workdir / "recipes" / "earlier.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_pretraining_is_made_once_and_first_and_its_weights_are_what_training_starts_from(workdir, capfd):
    backbones = [{"name": name, **SMALL[name]} for name in ("tdm", "mlp_ensemble")]
    write_both(workdir, {"init_from": ["earlier"], "model.backbone": backbones, "seed": [0, 1]})
    assert cli.main(["check", "toy.yaml"]) == 0, "before it is there"
    assert cli.main(["train", "toy.yaml", "name=earlier-tdm", "seed=0"]) == 2
    assert "`wmzoo grid` with this recipe trains it first" in capfd.readouterr().err
    assert cli.main(["grid", "toy.yaml"]) == 0
    printed = capfd.readouterr().out
    assert "6 cells" in printed and "earlier-tdm, seed 1: done" in printed and "earlier-mlp_ensemble" in printed
    assert len(list(workdir.glob("runs/before/*/best.safetensors"))) == 2
    before = list(workdir.glob("runs/before/*"))
    assert not any((folder / "transition-v1.json").exists() for folder in before), "it is not evaluated"
    logs = [folder / "log.txt" for folder in before]
    assert [log.read_text().count("--- ") for log in logs] == [1, 1] and set(attempts(workdir).values()) == {1}
    for source in grid.cells("toy.yaml"):
        earlier, recipe = run_folder(pretraining.named(source.values)), check(source)
        assert recipe.init_from == str(earlier)
        assert json.loads((earlier / "run.json").read_text())["status"] == "finished"
        assert checkpoint.load(earlier).recipe.model == recipe.model, "it has the cell's own model"
    assert cli.main(["grid", "toy.yaml"]) == 0
    assert "6 cells, 6 of them done." in capfd.readouterr().out


def test_what_starts_from_a_run_that_failed_fails_too_and_says_why(workdir, capfd):
    write_both(workdir, {"init_from": [None, "earlier train.learning_rate=1e25 train.clip=null"]})
    assert cli.main(["grid", "toy.yaml", "--workers", "1"]) == 1
    printed, said = capfd.readouterr()
    assert (
        "which it starts from, failed" in printed
        and "2 of 3 cells failed" in said
        and "scratch, seed 0: done" in printed
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("earlier data.fration=0.1", "data.fration: unknown setting"),
        ("earlier init_from=earlier", "starts from a recipe itself"),
        ("erlier", "no run and no checkpoint"),
        ("earlier 'data", "can't be read"),
    ],
)
def test_mistakes_are_told(workdir, text, sentence):
    write_both(workdir, {"seed": [0]})
    source = grid.cells("toy.yaml")[0]
    source.values["init_from"] = text
    if text == "erlier":
        del source.values["model"]
    with pytest.raises(WmzooError, match=sentence):
        check(source)


@pytest.mark.parametrize("backbone", ["trajworld", "tdm", "mlp_ensemble"])
@pytest.mark.parametrize("compat", ["corrected", "official"])
def test_every_backbone_goes_on_from_its_pretraining_with_one_scaling_unless_official(workdir, backbone, compat):
    """The ensemble's units of pre-training are those of fine-tuning; official ones are physical, as released."""
    from wmzoo import training

    path = write_both(workdir, {"seed": [0]})
    earlier = yaml.safe_load((workdir / "recipes" / "earlier.yaml").read_text())
    gaussian = backbone == "mlp_ensemble"
    if backbone == "tdm":
        earlier["compat"] = compat  # the released one has no embedding of variates
    earlier["model"] = toy_recipe(
        backbone=backbone,
        tokenizer="continuous" if gaussian else "gauss_hist",
        head="gaussian" if gaussian else "categorical",
    )["model"]
    if gaussian:
        earlier["model"]["head"]["units"] = "range"
        earlier["model"]["backbone"]["layers"] = 4  # the released weight decays are of so many
    (workdir / "recipes" / "earlier.yaml").write_text(yaml.safe_dump(earlier))
    training.train(check(grid.cells("earlier")[0]), quiet=True)
    values = yaml.safe_load(path.read_text())
    for key in ("model", "grid"):
        del values[key]
    values |= {"init_from": "earlier", "compat": compat}
    values["train"] |= {"learning_rate": 1e-9}
    path.write_text(yaml.safe_dump(values))
    source = grid.cells("toy.yaml")[0]
    recipe = check(source)
    pretraining.require(source)
    if gaussian:
        assert recipe.model.head.config.units == ("range" if compat == "corrected" else "physical")
    tuned, start = checkpoint.load(training.train(recipe, quiet=True)), checkpoint.load(recipe.init_from)
    for name, weight in tuned.named_parameters():
        torch.testing.assert_close(weight, start.get_parameter(name), rtol=0, atol=1e-4)
    assert list(tuned.variates) == ["toy"] and sorted(start.variates) == ["other", "third"]
