"""The five verbs beyond what every part is held to: histories, rollouts, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from systems import linear_episode, system_set, toy_recipe

import wmzoo
from wmzoo.data.splits import merge_variates
from wmzoo.errors import WmzooError
from wmzoo.recipe import Source, check
from wmzoo.trajectories import Variates, columns_of, window_of


@pytest.fixture
def toy():
    item = system_set(linear_episode)
    everyone = np.arange(len(item.lengths))
    variates = merge_variates([(item, everyone)])
    model = wmzoo.build(check(Source(toy_recipe(), {})), variates).eval()
    return model, variates, window_of(np.stack([item.data[:5], item.data[50:55]]), variates)


def test_build_is_reproducible_by_seed_and_leaves_the_global_state_alone(toy):
    _, variates, _ = toy
    before = torch.random.get_rng_state()
    weights = [
        next(wmzoo.build(check(Source(toy_recipe(seed=seed), {})), variates).backbone.parameters())
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(before, torch.random.get_rng_state())


def test_build_takes_the_name_of_a_recipe(toy):
    assert wmzoo.build("trajworld-cpu", toy[1]).name == "trajworld-cpu"


def test_a_rollout_goes_on_beyond_the_trained_window(toy):
    model, variates, window = toy
    rollout = model.rollout(window, torch.zeros(2, 30, variates.actions), 30)
    assert rollout.values.shape == (2, 30, variates.predicted) and torch.isfinite(rollout.values).all()
    state = model.initial(window)
    for h in range(30):
        state, prediction = model.step(state, torch.zeros(2, variates.actions))
        assert state.window.values.shape[1] <= model.context
        torch.testing.assert_close(prediction.mean, rollout.values[:, h])


def test_only_the_last_rows_of_a_long_history_count(toy):
    model, variates, window = toy
    long = torch.cat([torch.randn(2, 7, window.values.shape[2]), window.values], 1)
    torch.testing.assert_close(model.predict(window_of(long, variates)).mean, model.predict(window).mean)


def test_actions_matter_and_the_open_one_is_replaced(toy):
    model, variates, window = toy
    torch.manual_seed(0)
    other = torch.ones(2, variates.actions)
    a, b = (model.step(model.initial(window), x)[1].mean for x in (other, -other))
    assert not torch.allclose(a, b)
    changed = window.values.clone()
    changed[:, -1, variates.predicted :] = 9.0
    again = model.step(model.initial(window_of(changed, variates)), other)[1].mean
    torch.testing.assert_close(a, again)


def test_sampling_follows_the_prediction(toy):
    model, variates, window = toy
    many = window_of(window.values[:1].repeat(4000, 1, 1), variates)
    torch.manual_seed(0)
    state, prediction = model.step(model.initial(many), torch.zeros(4000, variates.actions), sample=True)
    drawn = state.window.values[:, -1, : variates.predicted]
    torch.testing.assert_close(drawn.mean(0), prediction.mean[0], atol=0.1, rtol=0.05)
    assert drawn.std(0).min() > 0


def test_what_does_not_fit_is_refused(toy):
    model, variates, window = toy
    with pytest.raises(WmzooError, match=r"actions: \[2, 5\] for a step that needs \[2, 2\]"):
        model.step(model.initial(window), torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"Expected \[B, T, 6\] values"):
        window_of(np.zeros((1, 3, 4)), variates)
    with pytest.raises(ValueError, match="states, then one reward, then actions"):
        zeros = np.zeros(3, "f4")
        names, roles = ("r", "x", "a"), np.array([1, 0, 2])
        Variates(names=names, roles=roles, low=zeros, high=zeros, mean=zeros, std=zeros, dt=0.1)


def test_share_of_clipped_values(toy):
    model, variates, window = toy
    assert model.clipped(window) == 0
    assert model.clipped(window_of(window.values + 1e3, variates)) == 1


def test_variates_round_trip(toy):
    variates = toy[1]
    again = Variates.from_json(variates.to_json())
    assert again.names == variates.names and again.dt == variates.dt
    for name in ("low", "high", "mean", "std"):
        np.testing.assert_array_equal(getattr(again, name), getattr(variates, name))
    columns = columns_of([variates, again])
    torch.testing.assert_close(columns.low[0], columns.low[1])


def test_flops_are_those_of_the_products(toy):
    """A dense layer of n numbers costs 6 n operations a token, forwards and backwards; attention comes on top."""
    from wmzoo.cost import step_cost

    recipe = check(Source(toy_recipe(train={"batch_size": 16}), {}))
    cost = step_cost(recipe, {"toy": toy[1]})
    model = wmzoo.build(recipe, toy[1])
    dense = sum(p.numel() for n, p in model.named_parameters() if n.endswith("weight") and p.ndim == 2)
    tables = sum(
        p.numel() for n, p in model.named_parameters() if any(t in n for t in ("kind", "position", "variate."))
    )
    read = cost.tokens * (recipe.data.window - 1) / recipe.data.window  # nothing is predicted from the last row
    floor = 6 * (dense - tables) * read
    first = 2 * read * 16 * 32  # the input projection needs no gradient of its input
    assert floor - first <= cost.flops <= 1.2 * floor
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    assert cost.tokens == 16 * 6 * 6 and cost.memory > 16 * cost.parameters
