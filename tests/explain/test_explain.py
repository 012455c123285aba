"""Explanations: attention weights that are the layers' own, planted maps, curves of known order, and a run's files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from systems import system_corpus, toy_recipe

from wmzoo import explain, training
from wmzoo.attention import attend
from wmzoo.cli import main
from wmzoo.errors import WmzooError
from wmzoo.explain import head, maps
from wmzoo.layers import Attention
from wmzoo.recipe import Source, check

NAMES = ("qpos:knee", "qpos:hip", "qvel:knee", "qvel:hip", "reward", "action:knee")
BODIES = ("torso/leg", "torso", "torso/leg", "torso", "", "torso/leg")


@pytest.mark.parametrize("causal", [True, False])
def test_the_weights_are_those_that_the_layer_mixes_values_by(causal):
    torch.manual_seed(0)
    layer, x = Attention(12, 3, 0.0).eval(), torch.randn(4, 5, 12)
    keys = torch.ones(4, 5, dtype=torch.bool)
    keys[1, :2] = False
    with maps.capture(torch.nn.Sequential(layer)) as found:
        layer(x, causal=causal, keys=keys, kernel="einsum")
    weights, said = found["0"]
    assert said == causal and torch.allclose(weights.sum(-1)[0], torch.ones(5)) and (weights[1, 2:, :2] == 0).all()
    # Of values that are one-hot by place, attention gives the weights themselves.
    q, k, _ = layer._heads(x, layer.query, layer.key, layer.value)
    places = torch.eye(5)[None, :, None].expand(4, 5, 3, 5)
    own = attend(q, k, places, causal=causal, keys=keys, kernel="einsum").mean(2)
    assert torch.allclose(weights[:, 2:], own[:, 2:], atol=1e-6)
    found.clear()
    layer(x, causal=causal, keys=keys, kernel="einsum")
    assert not found, "nobody watches any more"


def test_a_flattened_window_is_folded_by_variate_and_time_is_left_out():
    rows, count = 3, 2
    planted = torch.zeros(1, rows * count, rows * count)
    planted[0, :, 1] = 0.5  # everybody looks at variate 1 of row 0 ...
    planted[0, :, 2] = 0.5  # ... and at variate 0 of row 1
    assert np.allclose(maps.by_variate(planted, rows, count, causal=True), 0.5)
    assert maps.by_variate(torch.eye(rows)[None], rows, count, causal=True) is None, "over time"
    assert np.allclose(maps.by_variate(torch.eye(count)[None], rows, count, causal=False), np.eye(count))


def test_planted_attention_between_positions_and_velocities_is_told():
    assert maps.joints(NAMES) == {(0, 2), (1, 3)}
    assert maps.joints(("cos:pole", "sin:pole", "qvel:pole")) == {(0, 2), (1, 2)}
    planted = np.full((6, 6), 0.02)
    for i, j in ((0, 2), (1, 3)):
        planted[i, j] = planted[j, i] = 0.9
    found = maps.shares(planted, NAMES, BODIES)
    assert found["position_velocity"] == pytest.approx(0.9) and found["other"] == pytest.approx(0.02)
    assert found["same_body"] == pytest.approx(0.9) and found["joined"] == pytest.approx(0.02)
    assert found["pairs"] == 2 and found["apart"] is None
    assert maps.shares(planted, ("a", "b", "c", "d", "reward", "action:x"), ("",) * 6)["position_velocity"] is None


def test_a_curve_is_followed_without_being_told_its_order():
    angle = np.linspace(0, 1.6 * np.pi, 40)
    points = np.stack([np.cos(angle), np.sin(angle)], 1)
    order = np.random.default_rng(0).permutation(40)
    position = head.along(cdist(points[order], points[order]))
    assert abs(np.corrcoef(position, order)[0, 1]) > 0.999
    assert head._correlation(np.arange(40), head.along(cdist(points, points))) == pytest.approx(1)


def test_weights_that_turn_with_the_bin_are_in_order_and_random_ones_are_not():
    angle = np.linspace(0, np.pi, 32)[:, None]
    lifted = np.concatenate([np.cos(angle), np.sin(angle), 0.1 * np.sin(3 * angle)], 1)
    random = np.random.default_rng(0).standard_normal((32, 24))
    assert head.neighbours(lifted) == 1 and head.neighbours(random) < 0.3
    bins = np.arange(32)
    ordered, shuffled = (
        head._correlation(bins, head.along(cdist(points, points)))
        for points in (head.embed(w, 0) for w in (lifted, random))
    )
    assert ordered > 0.95 and shuffled < 0.6


def trained(workdir, backbone, tokenizer="gauss_hist", head_="categorical"):
    """A run of two steps on a toy corpus of three states and two actions."""
    corpus = system_corpus(workdir / "toy.h5")
    written = toy_recipe(corpus, tokenizer, backbone, head_, train={"steps": 2, "validate_every": 1})
    return training.train(check(Source(written, {})), quiet=True)


@pytest.mark.parametrize("backbone", ["trajworld", "tdm"])
def test_a_run_is_explained_into_its_folder_and_mlflow(workdir, backbone, capsys):
    folder = trained(workdir, backbone)
    assert main(["explain", str(folder), "windows=16", "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "attention:" in printed and "head: rank correlation" in printed and "variates:" in printed
    found = json.loads((folder / "explain" / "explain.json").read_text())
    layers = found["attention"]["layers"]
    assert layers and found["attention"]["names"] == ["x0", "x1", "x2", "reward", "action:0", "action:1"]
    for layer in layers:
        assert np.shape(layer["map"]) == (6, 6) and np.allclose(np.sum(layer["map"], 1), 1, atol=1e-5)
    assert np.shape(found["head"]["points"]) == (16, 2) and len(found["variates"]["name"]) == 4
    run_id = json.loads((folder / "run.json").read_text())["mlflow_run_id"]
    kept = {path.name for path in workdir.glob(f"mlruns/toy/{run_id}/artifacts/explain/*")}
    assert kept == {"attention.png", "head.png", "variates.png", "explain.json"}
    assert all((folder / "explain" / name).stat().st_size > 5_000 for name in kept if name.endswith(".png"))


def test_what_does_not_apply_is_said_and_the_rest_is_shown(workdir, capsys):
    folder = trained(workdir, "mlp_ensemble", "continuous", "gaussian")
    assert main(["explain", str(folder), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "mlp_ensemble has no attention over variates" in printed
    assert "mlp_ensemble with a gaussian head has no weights for each bin" in printed
    assert sorted(path.name for path in (folder / "explain").iterdir()) == ["explain.json", "variates.png"]


def test_wrong_settings_are_told_in_a_sentence(workdir):
    folder = trained(workdir, "trajworld")
    with pytest.raises(WmzooError, match='the run was not trained on "toys"'):
        explain.explain(str(folder), ["environment=toys"], quiet=True)
    with pytest.raises(WmzooError, match="no run and no checkpoint"):
        explain.explain("nowhere", quiet=True)
    assert not (folder / "explain").exists()
