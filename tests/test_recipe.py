"""Recipes: merging, checking, and every mistake told at once."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest
import yaml
from systems import toy_recipe

from wmzoo import grid, recipe, registry, resolved
from wmzoo.errors import WmzooError
from wmzoo.recipe import Source, check


def written(path, text):
    path.write_text(textwrap.dedent(text))
    return path


def toy_file(workdir, **changes):
    path = workdir / "toy.yaml"
    path.write_text(yaml.safe_dump(toy_recipe(**changes), sort_keys=False))
    return path


def problems_of(function, *arguments):
    with pytest.raises(WmzooError) as caught:
        function(*arguments)
    return caught.value.problems


def test_five_planted_mistakes_are_all_told_with_place_and_remedy(workdir):
    path = written(
        workdir / "bad.yaml",
        """\
        name: bad
        data: {corpus: toy.h5, environments: [toy/a], windw: 20}
        model:
          tokenizer: {name: gaus_hist}
          backbone: {name: trajworld, blocks: many}
          head: {name: categorical, bins: 1}
        train:
          steps: 10
          precision: fp8
        """,
    )
    found = problems_of(recipe.load, path)
    assert len(found) == 5
    for text in (
        'bad.yaml:2: data.windw: unknown setting. Did you mean "window"?',
        'bad.yaml:4: model.tokenizer.name: unknown tokenizer "gaus_hist". Did you mean "gauss_hist"?',
        "bad.yaml:5: model.backbone.blocks: must be a whole number, not 'many'.",
        "bad.yaml:6: model.head.bins: must be at least 2, not 1.",
        'bad.yaml:9: train.precision: "fp8" is not known.',
    ):
        assert any(text in problem for problem in found), text


def test_every_shipped_recipe_is_sound():
    """All that lie in the folder and below it, as many as there are files."""
    root, known = recipe.folder(), {**recipe.names(), **recipe.data_names("data/")}
    on_disk = [Path(where) / file for where, _, found in os.walk(root) for file in found if file.endswith(".yaml")]
    assert len(on_disk) == len(set(known.values()) & set(on_disk)) >= 25
    assert {path.parent.relative_to(root).as_posix() for path in on_disk} >= {".", "data", "scaling"}
    assert recipe.locate("backbones", known) == known["grids/backbones"]
    assert {"pretrain/unitraj-mini", "pretrain-unitraj", "grids/transfer-mini"} <= set(known)
    for name, path in known.items():
        text = path.read_text()
        assert text.startswith("# ") and "# Run" in text, name
        assert "# Time:" in text or name.startswith("data/"), name
        if name != "finetune":  # needs the checkpoint that it starts from; trained in released/
            assert resolved.cells(name) if name.startswith("data/") else few_of(name)


@pytest.mark.parametrize(
    "name", ["pendulum-gravity", "walker2d-params", "grids/transfer", "grids/few_shot", "grids/unitraj_subsets"]
)
def test_every_experiment_has_a_size_of_the_paper_and_a_small_one(name):
    large, small = (check(grid.cells(one)[0]) for one in (name, f"{name}-mini"))
    assert set(large.evaluate) >= set(small.evaluate) and large.data.exclude == small.data.exclude
    assert large.train.steps >= 250_000 > 5_000 > small.train.steps
    assert large.model.backbone.config.width == 256 and small.model.backbone.config.width == 64


def few_of(name):
    """A dozen cells of a grid, spread over it."""
    found = grid.cells(name)
    return [check(source) for source in found[:: len(found) // 12 + 1]]


def test_a_recipe_is_found_by_name_and_by_its_path_in_the_checkout_wherever_one_works(workdir):
    by_name = recipe.read("scaling/trajworld")
    assert recipe.read("recipes/scaling/trajworld.yaml") == by_name
    assert by_name.values["model"]["backbone"]["name"] == "trajworld", (
        "its parent is the recipe of that name, not itself"
    )


def test_overrides_win_and_are_named_in_messages(workdir):
    path = toy_file(workdir)
    assert recipe.load(path, ["train.steps=7", "data.environments=[toy/a,toy/b]"]).train.steps == 7
    (problem,) = problems_of(recipe.load, path, ["train.steps=-1"])
    assert problem.startswith("command line (train.steps): train.steps: must be at least 0")
    (problem,) = problems_of(recipe.load, path, ["train.steps"])
    assert "is not key.path=value" in problem


def test_naming_another_part_drops_the_settings_of_the_first(workdir):
    path = toy_file(workdir)
    assert recipe.load(path, ["model.backbone=tdm"]).model.backbone.config.width == 384
    named = recipe.load(path, ["model.backbone.name=tdm", "model.backbone.width=64"])
    assert named.model.backbone.name == "tdm" and named.model.backbone.config.width == 64
    kept = recipe.load(path, ["model.backbone.width=64"])
    assert kept.model.backbone.config.width == 64 and kept.model.backbone.config.blocks == 1


def test_extends_merges_and_cycles_are_refused(workdir):
    toy_file(workdir)
    child = written(workdir / "child.yaml", "extends: toy\nname: child\ntrain: {steps: 3}\n")
    loaded = recipe.load(child)
    assert (loaded.name, loaded.train.steps, loaded.train.batch_size) == ("child", 3, 16)
    written(workdir / "toy.yaml", "extends: child\n")
    assert "extends itself" in problems_of(recipe.load, child)[0]
    lost = written(workdir / "lost.yaml", "name: lost\nextends: trajworl\n")
    assert 'lost.yaml:2: extends: no recipe "trajworl"' in problems_of(recipe.load, lost)[0]
    both = written(workdir / "both.yaml", "extends: [trajworld, tdm]\n")
    assert problems_of(recipe.load, both) == (
        f"{both}:1: extends: must be one recipe's name or path, not ['trajworld', 'tdm'].",
    )


def test_nothing_in_a_recipe_is_executed(workdir):
    path = toy_file(workdir, name="${oc.env:HOME}")
    assert "interpolation is not read" in problems_of(recipe.load, path)[0]
    bomb = written(workdir / "bomb.yaml", "name: !!python/object/apply:os.system ['touch ran']\n")
    problems_of(recipe.load, bomb)
    assert not (workdir / "ran").exists()


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "\x00"])
def test_unreadable_yaml_is_one_sentence(workdir, text):
    path = workdir / "bad.yaml"
    path.write_text(text)
    (problem,) = problems_of(recipe.load, path)
    assert str(path.name) in problem


def test_unknown_recipe_suggests(workdir):
    assert 'Did you mean "trajworld"' in problems_of(recipe.load, "trajwrld")[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": {"window": 40}}, "longer than the position table of 20 rows"),
        ({"model": {"backbone": {"name": "trajworld", "width": 30, "heads": 4}}}, "not a multiple"),
        ({"model": {"backbone": {"name": "trajworld", "members": 2, "elites": 3}}}, "can't be chosen from 2"),
        ({"model": {"backbone": {"name": "tdm", "size": "XL"}}}, 'unknown size "XL"'),
        ({"data": {"split": {"validation": 0.5, "test": 0.5}}}, "leave no episodes for training"),
        ({"train": {"batch_size": 10, "accumulate": 3}}, "equal parts"),
        ({"evaluate": {"transitions": {}}}, "unknown protocol"),
    ],
)
def test_impossible_combinations_are_refused(changes, sentence):
    (problem,) = problems_of(check, Source(toy_recipe(**changes), {}))
    assert sentence in problem


def test_resolved_recipe_round_trips():
    first = check(Source(toy_recipe(), {}))
    again = check(Source(yaml.safe_load(first.to_yaml()), {}))
    assert again == first and again.hash == first.hash


def test_hash_ignores_places_and_evaluation_and_sees_settings():
    changes = ({}, {"data": {"corpus": "elsewhere.h5"}}, {"evaluate": {"transition": {"windows": 7}}})
    base, moved, scored = (check(Source(toy_recipe(**c), {})) for c in changes)
    other = check(Source(toy_recipe(seed=1), {}))
    assert base.hash == moved.hash == scored.hash != other.hash


def test_grid_is_the_product_of_its_lists(workdir):
    path = toy_file(workdir, grid={"model.backbone": ["tdm", {"name": "trajworld", "width": 8}], "seed": [0, 1]})
    cells = [check(source) for source in grid.cells(path)]
    assert [(c.model.backbone.name, c.seed) for c in cells] == [
        ("tdm", 0),
        ("tdm", 1),
        ("trajworld", 0),
        ("trajworld", 1),
    ]
    assert [c.name for c in cells] == ["tdm", "tdm", "trajworld", "trajworld"]
    path = toy_file(workdir, grid={"train.steps": [1, 2], "model.head.bins": [8]})
    assert [source.values["name"] for source in grid.cells(path)] == ["steps=1-bins=8", "steps=2-bins=8"]
    assert len(grid.cells("quickstart")) == 6 and len(grid.cells("quickstart", ["seed=1"])) == 3
    (one,) = grid.cells("quickstart", ["name=tdm", "seed=1", "train.steps=9"])
    assert check(one).model.backbone.name == "tdm" and check(one).train.steps == 9
    (one,) = grid.cells("quickstart", ["model.backbone=tdm", "grid.seed=[7]"])
    assert (one.values["seed"], one.values["name"]) == (7, "tdm")
    assert "the grid holds 0, 1" in problems_of(grid.cells, "quickstart", ["seed=7"])[0]
    path = toy_file(workdir, grid={"data": [{"fraction": 0.1}, {"exclude": ["jat", "toy/b"], "window": 4}]})
    assert [source.values["name"] for source in grid.cells(path)] == ["fraction=0.1", "exclude=jat+toy-b-window=4"]
    (one,) = grid.cells(path, ["name=fraction=0.1"])
    assert (check(one).data.fraction, check(one).data.window) == (0.1, 6), "a group of settings leaves the others"
    path = toy_file(workdir, grid={"seed": 3})
    assert "must map dotted paths to lists" in problems_of(grid.cells, path)[0]


def test_every_setting_of_every_part_is_explained():
    import dataclasses

    seen = 0
    for card in registry.cards():
        for field in dataclasses.fields(registry.find(card.kind, card.name).config):
            assert field.metadata["help"], f"{card.name}.{field.name}"
            seen += 1
    assert seen > 20
