"""The one switch between the paper and its released code."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from systems import system_corpus, system_set, toy_recipe

from wmzoo import cli, compat, registry, training
from wmzoo.data.splits import merge_variates
from wmzoo.data.store import open_corpus
from wmzoo.evaluation import transition
from wmzoo.files import read_json
from wmzoo.model import build
from wmzoo.recipe import Source, build_config, check
from wmzoo.recipe import load as load_recipe
from wmzoo.runs import prepare
from wmzoo.trajectories import window_of

PARTS = {
    "trajworld": ("gauss_hist", "categorical"),
    "tdm": ("gauss_hist", "categorical"),
    "mlp_ensemble": ("continuous", "gaussian"),
}


def official(backbone, **changes):
    """A tiny official recipe with the paper's tokenizer and head."""
    tokenizer, head = PARTS[backbone]
    values = toy_recipe(tokenizer=tokenizer, backbone=backbone, head=head, compat="official")
    if backbone == "mlp_ensemble":
        values["model"]["backbone"] = {"name": backbone, "width": 16, "members": 3, "elites": 2, "layers": 4}
        values["data"]["window"] = 2
        del values["train"]["clip"]  # stated, it would stay
    for name, update in changes.items():
        values[name] = {**values[name], **update} if isinstance(values.get(name), dict) else update
    return check(Source(values, {}))


def listed_parts():
    return [card for card in registry.cards() if registry.find(card.kind, card.name).official]


def test_every_official_setting_is_a_setting_of_its_part():
    assert {"tdm", "trajworld", "mlp_ensemble", "gauss_hist", "categorical", "gaussian", "next_step"} <= {
        card.name for card in listed_parts()
    }
    for card in listed_parts():
        part = registry.find(card.kind, card.name)
        made = build_config(part.config, part.official, "", lambda path, message: pytest.fail(f"{path}: {message}"))
        default = part.config()
        changed = [name for name in part.official if getattr(made, name) != getattr(default, name)]
        assert changed or card.name == "continuous"  # whose released pre-training differs instead


@pytest.mark.parametrize("backbone", PARTS)
def test_one_word_sets_all_and_what_is_stated_stays(backbone):
    recipe = official(backbone)
    assert compat.label(recipe) == "official"
    assert recipe.train.cosine == 10_000_000 and recipe.data.widen == 1e-5
    assert (recipe.train.optimizer, recipe.train.schedule) == {
        "mlp_ensemble": ("adam", "constant"), "tdm": ("adamw", "cosine"), "trajworld": ("adamw", "cosine"),
    }[backbone]  # fmt: skip
    part = registry.find("backbones", backbone)
    config = dataclasses.asdict(recipe.model.backbone.config)
    assert all(np.array_equal(config[name], value) for name, value in part.official.items())
    assert check(Source(recipe.to_dict(), {})) == recipe
    stated = official(backbone, data={"widen": 0.0})
    assert compat.label(stated) == "official but data.widen=0.0"
    assert compat.label(load_recipe("trajworld")) == "corrected"


def test_the_cards_list_what_the_switch_changes(capsys):
    for card in listed_parts():
        assert cli.main(["show", f"{card.kind}/{card.name}"]) == 0
        shown = capsys.readouterr().out
        assert "compat: official changes" in shown
        assert all(name in shown for name in registry.find(card.kind, card.name).official)
    assert cli.main(["show", "compat"]) == 0
    shown = capsys.readouterr().out
    for card in listed_parts():
        assert all(f"{card.name}.{name}" in shown for name in registry.find(card.kind, card.name).official)
    assert all(f"{section}.{name}" in shown for section, names in compat.SECTIONS.items() for name in names)
    assert all(name in shown for name in compat.BEHAVIOUR)


@pytest.mark.parametrize("backbone", PARTS)
def test_official_models_learn(workdir, backbone):
    system_corpus(workdir / "toy.h5")
    recipe = official(backbone, train={"steps": 60, "validate_every": 30})
    folder = training.train(recipe, quiet=True)
    lines = (folder / "history.csv").read_text().splitlines()[1:]
    losses = [float(line.split(",")[1]) for line in lines]
    assert np.mean(losses[-8:]) < np.mean(losses[:8]) - 0.1 * abs(np.mean(losses[:8]))


@pytest.mark.parametrize("backbone", ["trajworld", "tdm"])
def test_an_official_batch_in_parts_has_the_same_loss(workdir, backbone):
    system_corpus(workdir / "toy.h5", length=9)
    settings = {"steps": 3, "validate_every": 3}
    curves = []
    for parts in (1, 4):
        recipe = official(backbone, name=f"in-{parts}", train={**settings, "accumulate": parts})
        folder = training.train(recipe, quiet=True)
        curves.append([float(line.split(",")[1]) for line in (folder / "history.csv").read_text().splitlines()[1:]])
    np.testing.assert_allclose(*curves, rtol=1e-5)


def toy_window(model, rows):
    (variates,) = model.variates.values()
    share = np.random.default_rng(1).uniform(-0.3, 1.3, (3, rows, len(variates.names)))
    return window_of((variates.low + share * (variates.high - variates.low)).astype("f4"), variates)


@pytest.mark.parametrize("backbone", PARTS)
def test_an_official_rollout_with_a_cache_is_one_without(workdir, backbone):
    system_corpus(workdir / "toy.h5")
    recipe = official(backbone)
    model = build(recipe, prepare(recipe).variates).eval()
    actions = torch.rand(3, 8, 2, generator=torch.Generator().manual_seed(0))
    cached = model.rollout(toy_window(model, 4), actions, 8).values
    for member in model.backbone.copies:
        member.cached = False
    if model.autoregressive:
        model.refresh = 1  # a row is read again with all before it
    plain = model.rollout(toy_window(model, 4), actions, 8).values
    torch.testing.assert_close(cached, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", PARTS)
def test_an_official_rollout_keeps_rewards_in_range_and_cuts_its_history(workdir, backbone):
    system_corpus(workdir / "toy.h5")
    recipe = official(backbone)
    model = build(recipe, prepare(recipe).variates).eval()
    for parameter in model.parameters():
        parameter.data *= 3  # wild predictions
    (variates,) = model.variates.values()
    reward = variates.predicted - 1
    found = model.rollout(toy_window(model, 5), torch.ones(3, 12, 2), 12)
    slack = 1e-5 * (variates.high - variates.low)[reward]
    assert found.values[..., reward].min() >= variates.low[reward] - slack
    assert found.values[..., reward].max() <= variates.high[reward] + slack
    state, lengths = model.initial(toy_window(model, 1)), []
    for _ in range(7):
        lengths.append(state.window.values.shape[1])
        state, _ = model.step(state, torch.ones(3, 2))
    # a window of 6 has a context of 5: half of it looked back at, then growing to 5
    assert lengths == {"trajworld": [3, 4, 5, 3, 4, 5, 3], "tdm": [3] * 7, "mlp_ensemble": [1] * 7}[backbone]


def evaluated(workdir, backbone):
    """A trained official run's result, its model, corpus and manifest."""
    folder = training.train(official(backbone, train={"steps": 4, "validate_every": 4}), quiet=True)
    from wmzoo import load

    model, corpus = load(folder), open_corpus("toy.h5")
    manifest = read_json(folder / "manifest.json")
    config = transition.Config(context=5, windows=40, horizons=(1, 2), rollouts=10, batch_size=16)
    return transition.evaluate(model, corpus, manifest, config, progress=False), model, corpus


def test_the_official_tdm_is_teacher_forced_alone(workdir):
    system_corpus(workdir / "toy.h5")
    result, _, _ = evaluated(workdir, "tdm")
    assert list(result["modes"]) == ["teacher-forced"] and result["compat"] == "official"


def test_the_official_ensemble_has_its_members_errors_and_the_test_sets_scale(workdir):
    system_corpus(workdir / "toy.h5")
    result, model, corpus = evaluated(workdir, "mlp_ensemble")
    (item,) = corpus.sets.values()
    everything = np.arange(len(item.lengths))
    own = merge_variates([(item, everything)])
    manifest = read_json(next((workdir / "runs").rglob("manifest.json")))
    rows = np.concatenate(
        [np.arange(item.offsets[e] + 1, item.offsets[e + 1]) for e in manifest["sets"]["toy/a"]["test"]]
    )
    rows = np.sort(np.random.default_rng(0).choice(rows, 40, replace=False))
    values = np.stack([item.data[r - 1 : r + 1] for r in rows])
    scaled = dataclasses.replace(model.variates["toy"], mean=own.mean, std=own.std)
    prediction = model.predict(window_of(values, scaled).until(-1))
    target = torch.from_numpy(values[:, 1, : scaled.predicted])
    expected = (prediction.means - target).abs().mean()
    assert result["modes"][""]["toy/a"]["mae"] == pytest.approx(float(expected), rel=1e-4)
    assert float((prediction.mean - target).abs().mean()) < float(expected)


def test_official_ranges_are_widened_by_the_epsilon():
    item = system_set()
    whole = np.arange(5)
    plain, widened = merge_variates([(item, whole)]), merge_variates([(item, whole)], 1e-5)
    np.testing.assert_array_equal(widened.low, plain.low - np.float32(1e-5))
    np.testing.assert_array_equal(widened.high, plain.high + np.float32(1e-5))
