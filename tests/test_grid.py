"""The language of grids: products, lists that move together, exclusions, choices, and names that tell cells apart."""

from __future__ import annotations

import pytest
import yaml
from systems import toy_recipe

from wmzoo import grid
from wmzoo.cellnames import named
from wmzoo.errors import WmzooError
from wmzoo.recipe import check


@pytest.fixture
def cells(workdir):
    """Expands a grid over the toy recipe."""

    def expand(section, *overrides):
        (workdir / "toy.yaml").write_text(yaml.safe_dump({**toy_recipe(), "grid": section}, sort_keys=False))
        return grid.cells("toy.yaml", overrides)

    return expand


def told(cells, *arguments):
    with pytest.raises(WmzooError) as caught:
        cells(*arguments)
    return str(caught.value)


def test_zipped_lists_move_together_and_multiply_the_rest(cells):
    bins = {"model.tokenizer.bins": [8, 16], "model": {"head": {"bins": [8, 16]}}}
    made = [check(cell) for cell in cells({"seed": [0, 1], "zip": [bins]})]
    assert [(r.seed, r.model.tokenizer.config.bins, r.model.head.config.bins) for r in made] == [
        (0, 8, 8),
        (0, 16, 16),
        (1, 8, 8),
        (1, 16, 16),
    ]
    assert [r.name for r in made] == ["bins=8", "bins=16"] * 2, "what two paths have in common is said once"
    assert len(cells({"zip": {"seed": [0, 1], "train.steps": [5, 6]}})) == 2, "a single group needs no list"


def test_exclusions_leave_out_what_matches_all_of_their_paths(cells):
    section = {"model.backbone": ["tdm", "trajworld"], "seed": [0, 1, 2]}
    left = cells({**section, "exclude": [{"model.backbone": "tdm", "seed": [1, 2]}]})
    assert [(c.values["name"], c.values["seed"]) for c in left] == [
        ("tdm", 0),
        ("trajworld", 0),
        ("trajworld", 1),
        ("trajworld", 2),
    ]
    nested = {"model": {"backbone": {"name": "tdm"}}}
    assert {c.values["name"] for c in cells({**section, "exclude": nested})} == {"trajworld"}


def test_mistakes_are_told_with_their_place(cells):
    section = {"model.backbone": ["tdm", "trajworld"], "seed": [0, 1]}
    for wrong, sentence in [
        ({"seed": 3}, "toy.yaml:28: grid: must map dotted paths to lists"),
        ({**section, "zip": [{"train.steps": [1, 2], "train.clip": [1]}]}, "train.steps has 2, train.clip has 1"),
        ({**section, "zip": [{"seed": [1, 2]}]}, "grid.zip[0]: seed is varied twice"),
        ({**section, "zip": [{"train.steps": 4}]}, "grid.zip[0]: must map dotted paths to lists"),
        ({**section, "exclude": ["tdm"]}, "grid.exclude[0]: must be a mapping of dotted paths, not 'tdm'"),
        ({**section, "exclude": [{"model.backbone": "tmd"}]}, 'no cell has model.backbone: tmd. Did you mean "tdm"?'),
        ({**section, "exclude": [{"model.bakbone": "tdm"}]}, "no cell sets model.bakbone"),
        ({**section, "exclude": [{"seed": [0, 1]}]}, "grid.exclude: leaves no cell"),
    ]:
        said = told(cells, wrong)
        assert sentence in said and "toy.yaml:" in said
    assert len(cells({**section, "exclude": [{"seed": 1}]}, "grid.seed=[0]")) == 2, "a narrowed grid may have less"


def test_cells_are_chosen_by_any_path_that_varies(cells):
    section = {"zip": [{"train.steps": [5, 6], "train.clip": [1.0, 2.0]}], "seed": [0, 1]}
    (one,) = cells(section, "train.steps=6", "seed=1")
    assert (one.values["train"]["clip"], one.values["name"]) == (2.0, "steps=6-clip=2.0")
    assert "the grid holds 5, 6" in told(cells, section, "train.steps=7")


def test_names_are_short_distinct_and_stay_when_a_grid_grows():
    def names(**paths):
        columns = {path.replace("_", ".", 1): values for path, values in paths.items()}
        rows = zip(*columns.values(), strict=True)
        return [cell["name"] for cell in named([dict(zip(columns, row, strict=True)) for row in rows])]

    variants = [{"name": "tdm", "blocks": 2, "width": 8}, {"name": "tdm", "blocks": 4, "width": 8}, "mixer"]
    assert names(model_backbone=variants) == ["tdm-blocks=2", "tdm-blocks=4", "mixer"]
    assert names(model_tokenizer=["one_hot"], data_environments=[["hopper/medium"]]) == ["one_hot-hopper-medium"]
    assert names(model_tokenizer=["one_hot", "x"], train_steps=[1, 2])[:1] == names(
        model_tokenizer=["one_hot"], train_steps=[1]
    )
    three = {"model_tokenizer": ["a", "a"], "model_backbone": ["a", "b"], "model_head": ["b", "b"]}
    assert names(**three) == ["a-a-b", "a-b-b"], "said twice where saying it once would confuse"
    assert named([{"seed": 0}, {"seed": 1}]) == [{"seed": 0}, {"seed": 1}]
