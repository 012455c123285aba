"""Imagined trajectories: memories against none, many from one history, members, limits, endings, wrong inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from systems import SMALL, linear_episode, system_set, toy_recipe

import wmzoo
from wmzoo.data.splits import merge_variates
from wmzoo.errors import WmzooError
from wmzoo.imagination import overlap
from wmzoo.memory import Memory, Past
from wmzoo.recipe import Source, check
from wmzoo.trajectories import columns_of, first_row, window_of

BACKBONES = ("trajworld", "tdm", "mlp_ensemble")
KEEPING = ("trajworld", "tdm")
STEPS = 100


def toy_item():
    return system_set(linear_episode)


def toy_variates():
    item = toy_item()
    return merge_variates([(item, np.arange(len(item.lengths)))])


def toy_model(backbone="trajworld", steps=0, **changes):
    """A tiny model, perhaps trained for a few steps."""
    values = toy_recipe(backbone=backbone, **changes)
    if backbone == "trajworld":
        values["model"]["backbone"]["blocks"] = 2  # the last one is spared where nobody asks for a prediction
    model = wmzoo.build(check(Source(values, {})), toy_variates())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        loss = model.loss(history(6, rng.integers(0, 30, 16))).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def history(rows, starts=(0, 50)):
    item = toy_item()
    return window_of(np.stack([item.data[s : s + rows] for s in starts]), toy_variates())


def actions_of(count, steps, seed=0):
    return torch.rand(count, steps, 2, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def forgetful(model):
    """The same model reading all rows at every step."""
    for member in model.backbone.copies:
        member.cached = False
    return model


@pytest.mark.parametrize("rows", [1, 4, 9])
@pytest.mark.parametrize("steps", [0, 30])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_rollout_with_memories_is_one_without(backbone, steps, rows):
    # In float64, since a hundred steps of a trained model make much of a rounding.
    model, actions = toy_model(backbone, steps).double(), actions_of(2, STEPS).double()
    start = history(rows)._map(lambda x: x.double() if x.is_floating_point() else x)
    kept = model.rollout(start, actions, STEPS)
    plain = forgetful(model).rollout(start, actions, STEPS)
    torch.testing.assert_close(kept.values, plain.values, rtol=1e-6, atol=1e-6)
    assert kept.values.std(1).min() > 0


@pytest.mark.parametrize("backbone", KEEPING)
def test_a_prediction_is_what_the_model_says_of_the_rows_it_is_said_to_see(backbone):
    model, actions = toy_model(backbone, 10), actions_of(2, 25)
    state, seen = model.initial(history(3)), []
    for h in range(25):
        window = state.window
        state, prediction = model.step(state, actions[:, h])
        values = window.values.clone()
        values[:, -1, 4:] = actions[:, h]
        alone = model.predict(window_of(values, toy_variates()))
        torch.testing.assert_close(prediction.mean, alone.mean, rtol=1e-4, atol=1e-4)
        seen.append(values.shape[1])
    assert model.context == 5 and overlap(5) == 2
    assert seen[:9] == [3, 4, 5, 3, 4, 5, 3, 4, 5]


@pytest.mark.parametrize("backbone", KEEPING)
def test_padded_histories_are_imagined_like_unpadded_ones(backbone):
    model, actions = toy_model(backbone, 10), actions_of(2, 20)
    short = history(2)
    values = torch.nn.functional.pad(short.values, (0, 0, 2, 0))
    valid = torch.tensor([[False, False, True, True]] * 2)
    padded = model.rollout(window_of(values, toy_variates(), valid), actions, 20)
    torch.testing.assert_close(padded.values[:, :2], model.rollout(short, actions, 2).values, rtol=1e-4, atol=1e-4)
    plain = forgetful(model).rollout(window_of(values, toy_variates(), valid), actions, 20)
    torch.testing.assert_close(padded.values, plain.values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("compat", ["corrected", "official"])
@pytest.mark.parametrize("backbone", KEEPING)
def test_no_place_leaves_the_trained_window(backbone, compat):
    model = toy_model(backbone, compat=compat)
    places = []
    model.backbone.first.embed.position.register_forward_pre_hook(lambda _, given: places.append(int(given[0].max())))
    model.rollout(history(4), actions_of(2, 40), 40)
    # of the places 0 to 5; tdm puts the row that it decodes behind those that it has read
    last = {"trajworld": {"corrected": 4, "official": 4}, "tdm": {"corrected": 5, "official": 3}}
    assert model.recipe.data.window == 6 and max(places) == last[backbone][compat]


@pytest.mark.parametrize("backbone", KEEPING)
def test_memories_do_not_grow_with_the_horizon(backbone, monkeypatch):
    made, build = [], Memory.__init__
    monkeypatch.setattr(Memory, "__init__", lambda self, *sizes: made.append(self) or build(self, *sizes))
    model = toy_model(backbone)

    def shapes(horizon):
        made.clear()
        state = model.initial(history(4))
        for h in range(horizon):
            state, _ = model.step(state, actions_of(2, 1, h)[:, 0])
        kept = [past.memory for past in [*state.pasts, *state.heirs]]
        assert len(kept) <= 2 and all(any(memory is one for one in made) for memory in kept)
        return {tuple(buffer.shape) for memory in made for buffer in memory.buffers.values()}, len(made)

    (short, few), (long, many) = shapes(10), shapes(100)
    assert short == long and len(short) == 1
    # one heir every three steps (a context of 5, of which 2 overlap), and no copy besides
    assert (few, many) == (5, 35)


@pytest.mark.parametrize("backbone", KEEPING)
def test_a_horizon_that_is_known_spares_memories_that_nobody_needs(backbone):
    model = toy_model(backbone)
    state = model.initial(history(3), horizon=3)
    for h in range(3):
        state, _ = model.step(state, actions_of(2, 3)[:, h])
        assert not state.heirs
    state = model.initial(history(3))
    state, _ = model.step(state, actions_of(2, 1)[:, 0])
    state, _ = model.step(state, actions_of(2, 1)[:, 0])
    assert state.heirs


@pytest.mark.parametrize("backbone", BACKBONES)
def test_one_history_serves_many_trajectories(backbone):
    model, actions, one = toy_model(backbone, 5), actions_of(7, 12), history(4, [50])
    shared = model.rollout(one, actions, 12)
    each = model.rollout(history(4, [50] * 7), actions, 12)
    torch.testing.assert_close(shared.values, each.values, rtol=1e-4, atol=1e-4)
    assert shared.values.shape == (7, 12, 4) and shared.states.shape == (7, 12, 3)
    assert not torch.allclose(shared.values[0], shared.values[1])
    by_policy = model.rollout(one, lambda states: states[:, :2] * 0, 12, trajectories=7)
    assert by_policy.values.shape == (7, 12, 4)
    torch.testing.assert_close(by_policy.values[0], by_policy.values[6])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_state_may_be_gone_on_from_more_than_once(backbone):
    model, actions = toy_model(backbone, 5), actions_of(2, 20)

    def onwards(state, seed):
        rows = []
        for h in range(12):
            state, prediction = model.step(state, actions_of(2, 12, seed)[:, h])
            rows.append(prediction.mean)
        return torch.stack(rows, 1)

    state = model.initial(history(4))
    for h in range(3):
        state, _ = model.step(state, actions[:, h])
    first, other, again = onwards(state, 1), onwards(state, 2), onwards(state, 1)
    torch.testing.assert_close(first, again, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(first, other, atol=1e-3)
    chosen = state.take(torch.tensor([1, 1, 0]))
    _, picked = model.step(chosen, actions[[1, 1, 0], 5])
    _, whole = model.step(state, actions[:, 5])
    torch.testing.assert_close(picked.mean, whole.mean[[1, 1, 0]], rtol=1e-5, atol=1e-5)


def test_a_past_is_copied_only_for_who_comes_second():
    past = Past(Memory(4)).begin()
    ones = torch.ones(2, 1, 1, 3)
    past.put(0, ones, ones, None)
    root = past.behind(1).keep()
    first = root.begin()
    assert first.memory is root.memory
    first.put(0, 2 * ones, 2 * ones, None)
    first = first.behind(1).keep()
    second = root.begin()
    assert second.memory is not root.memory
    keys, _, real = second.put(0, 3 * ones, 3 * ones, None)
    assert keys[0, real[0], 0, 0].tolist() == [1, 3]
    keys, _, real = first.begin().put(0, 4 * ones, 4 * ones, None)
    assert keys[0, real[0], 0, 0].tolist() == [1, 2, 4]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_policy_sees_the_last_states_and_is_as_good_as_its_actions(backbone):
    model, seen = toy_model(backbone, 5), []

    def policy(states):
        seen.append(states.clone())
        return torch.tanh(states[:, :2])

    found = model.rollout(history(4), policy, 15)
    torch.testing.assert_close(seen[0], history(4).values[:, -1, :3])
    torch.testing.assert_close(torch.stack(seen[1:], 1), found.states[:, :-1])
    torch.testing.assert_close(found.actions, torch.tanh(torch.stack(seen, 1)[..., :2]))
    given = model.rollout(history(4), found.actions, 15)
    torch.testing.assert_close(given.values, found.values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_first_state_is_enough(backbone):
    model = toy_model(backbone, 5)
    found = model.rollout(first_row(torch.zeros(3, 3), toy_variates()), actions_of(3, 9), 9)
    assert found.values.shape == (3, 9, 4) and found.values.isfinite().all() and found.valid.all()


def ensemble(backbone, **parts):
    """A model of three members that disagree."""
    part = {"name": backbone, **SMALL[backbone], "members": 3, "elites": 3, **parts}
    values = toy_recipe(backbone=backbone)
    values["model"]["backbone"] = part
    model = wmzoo.build(check(Source(values, {})), toy_variates()).eval()
    for parameter in model.backbone.parameters():
        parameter.data *= 2
    return model


@pytest.mark.parametrize("backbone", BACKBONES)
def test_members_share_keep_or_draw(backbone):
    model, many, actions = ensemble(backbone), history(4, [50] * 60), actions_of(1, 4).expand(60, -1, -1)

    def ways(kind, horizon):
        found = model.rollout(many, actions, horizon, ensemble=kind, generator=torch.Generator().manual_seed(3))
        return len({tuple(np.round(row, 3)) for row in found.values.reshape(60, -1).tolist()})

    assert [ways("mixture", h) for h in (1, 2)] == [1, 1]
    assert [ways("trajectory", h) for h in (1, 2)] == [3, 3]
    assert [ways("step", h) for h in (1, 2)] == [3, 9]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_kept_member_is_that_model_alone(backbone):
    model, actions = ensemble(backbone), actions_of(40, 10)
    state = model.initial(history(4, [50] * 40), ensemble="trajectory", generator=torch.Generator().manual_seed(1))
    member, found = state.member, []
    for h in range(10):
        state, prediction = model.step(state, actions[:, h])
        found.append(prediction.mean)
    assert set(member.tolist()) == {0, 1, 2}
    for i in range(3):
        model.elites = torch.tensor([i])
        alone = model.rollout(history(4, [50] * 40), actions, 10).values
        mine = (member == i).nonzero()[:, 0]
        torch.testing.assert_close(torch.stack(found, 1)[mine], alone[mine], rtol=1e-4, atol=1e-4)


def wild(backbone):
    """A model that leaves the training range: its head's support is wider than it."""
    model = toy_model(backbone, head="gaussian", tokenizer="continuous")
    for parameter in model.backbone.parameters():
        parameter.data *= 3
    return model


@pytest.mark.parametrize("backbone", BACKBONES)
def test_limits_are_kept_if_asked_and_what_was_outside_is_told(backbone):
    model, variates, actions = wild(backbone), toy_variates(), actions_of(2, 30)
    low, high = (torch.from_numpy(x[:4]) for x in (variates.low, variates.high))
    free, kept = (model.rollout(history(4), actions, 30, clip=clip) for clip in (False, True))
    slack = 1e-6 * (high - low)
    beyond = ((free.values < low - slack) | (free.values > high + slack)).float().mean()
    assert free.outside == pytest.approx(float(beyond)) and free.outside > 0.01
    assert (kept.values >= low).all() and (kept.values <= high).all() and kept.outside > 0.01
    torch.testing.assert_close(kept.values[:, 0], free.values[:, 0].clamp(low, high))
    assert toy_model(backbone, 30).rollout(history(4), actions, 3).outside < 0.5


def spread():
    """First states in many places."""
    return first_row(torch.rand(24, 3, generator=torch.Generator().manual_seed(2)) * 4 - 2, toy_variates())


def crossing(whole):
    """An ending that two thirds of these trajectories meet, each in its own time."""
    limit = whole.states[..., 0].amax(1).quantile(0.35)
    return lambda states: states[:, 0] > limit


@pytest.mark.parametrize("backbone", BACKBONES)
def test_an_ending_stops_trajectories_and_leaving_them_out_changes_nothing(backbone, monkeypatch):
    model, actions, seen = toy_model(backbone, 5), actions_of(24, 25), []

    def ending(states):
        seen.append(len(states))
        return past_limit(states)

    def policy(states):
        assert states.shape == (24, 3)
        return torch.tanh(states[:, 1:])

    whole = model.rollout(spread(), actions, 25)
    past_limit = crossing(whole)
    crossed = past_limit(whole.states.flatten(0, 1)).unflatten(0, (24, 25))
    assert 0.5 < crossed.any(1).float().mean() < 0.8
    found = model.rollout(spread(), actions, 25, ending=ending)
    assert min(seen) < 24 and len(found.lengths.unique()) > 2
    first = torch.where(crossed.any(1), crossed.int().argmax(1) + 1, 25)
    assert torch.equal(found.lengths, first) and torch.equal(found.terminated, crossed.any(1))
    torch.testing.assert_close(found.values[found.valid], whole.values[found.valid], rtol=1e-4, atol=1e-4)
    for i in found.terminated.nonzero()[:, 0].tolist():
        end = int(found.lengths[i])
        assert (found.states[i, end - 1 :] == found.states[i, end - 1]).all()
        assert not found.rewards[i, end:].any() and not found.actions[i, end:].any()
    past_limit = crossing(model.rollout(spread(), policy, 25))
    by_policy = model.rollout(spread(), policy, 25, ending=past_limit)
    assert by_policy.terminated.any()
    monkeypatch.setattr("wmzoo.imagination.CROWDED", -1.0)
    uncut = model.rollout(spread(), policy, 25, ending=past_limit)
    torch.testing.assert_close(by_policy.values, uncut.values, rtol=1e-4, atol=1e-4)
    assert torch.equal(by_policy.lengths, uncut.lengths)


def test_returns_are_discounted_sums_until_the_end():
    model = toy_model("trajworld", 10)
    whole = model.rollout(spread(), actions_of(24, 25), 25)
    found = model.rollout(spread(), actions_of(24, 25), 25, ending=crossing(whole))
    assert 0 < found.terminated.sum() < 24
    by_hand = [
        sum(0.9**h * float(found.rewards[i, h]) for h in range(int(found.lengths[i])))
        for i in range(len(found.lengths))
    ]
    assert found.returns(0.9).tolist() == pytest.approx(by_hand, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(found.returns(), found.rewards.sum(1))
    torch.testing.assert_close(found.returns(0.0), found.rewards[:, 0])
    for gamma in (-0.1, 1.01):
        with pytest.raises(WmzooError, match="give a discount from 0 to 1"):
            found.returns(gamma)


@pytest.mark.parametrize("kind", ["mixture", "trajectory", "step"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_samples_repeat_with_a_generator(backbone, kind):
    model, actions = ensemble(backbone), actions_of(2, 10)

    def drawn(seed, sample=True):
        generator = torch.Generator().manual_seed(seed)
        return model.rollout(history(4), actions, 10, sample, ensemble=kind, generator=generator).values

    state = torch.random.get_rng_state()
    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.allclose(drawn(1), drawn(1, sample=False))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_bf16_is_near_fp32_and_predicts_in_full(backbone):
    model, actions = toy_model(backbone, 30), actions_of(2, 10)
    exact = model.rollout(history(4), actions, 10).values
    rounded = model.rollout(history(4), actions, 10, precision="bf16").values
    assert rounded.dtype == torch.float32
    scale = torch.from_numpy((toy_variates().high - toy_variates().low)[:4])
    gap = ((rounded - exact) / scale).abs()
    assert 0 < gap.max() < 0.15 and gap[:, 0].mean() < 0.02


@pytest.mark.parametrize("backbone", BACKBONES)
def test_wrong_inputs_get_a_sentence(backbone):
    model, window, actions = toy_model(backbone), history(4), actions_of(2, 5)
    spoilt = window_of(window.values.masked_fill(torch.eye(4)[None, :, :, None].sum(-2) > 0, torch.nan), toy_variates())
    wrong = {
        "imagine at least 1 step": lambda: model.rollout(window, actions, 0),
        "H at least 9": lambda: model.rollout(window, actions, 9),
        "their number must divide it": lambda: model.rollout(window, actions_of(3, 5), 5),
        "3 trajectories for 2 histories": lambda: model.rollout(window, torch.zeros_like, 5, trajectories=3),
        r"needs \[2, 2\]": lambda: model.rollout(window, torch.zeros(2, 5, 3), 5),
        r"it made \[2, 3\]; it must make a tensor of actions \[2, 2\]": lambda: model.rollout(
            window, torch.zeros_like, 5
        ),
        r"it made ndarray \[2, 2\]": lambda: model.rollout(window, lambda states: states[:, :2].numpy(), 5),
        "policy: its actions are not finite": lambda: model.rollout(
            window, lambda states: states[:, :2] * torch.nan, 5
        ),
        "ending: of 2 states": lambda: model.rollout(window, actions, 5, ending=lambda states: states[:, 0]),
        'ensemble: "each" is not known': lambda: model.initial(window, ensemble="each"),
        'precision: "fp8" is not known': lambda: model.initial(window, precision="fp8"),
        "it has no rows": lambda: model.initial(window.until(0)),
        "is not finite": lambda: model.rollout(spoilt, actions, 5),
    }
    for sentence, call in wrong.items():
        with pytest.raises(WmzooError, match=sentence):
            call()


def test_environments_of_different_widths_are_not_imagined_together():
    narrow = system_set(linear_episode, states=2, actions=2)
    variates = [toy_variates(), merge_variates([(narrow, np.arange(len(narrow.lengths)))])]
    window = window_of(torch.zeros(2, 3, 6), variates)
    assert columns_of(variates).role.shape == (2, 6)
    with pytest.raises(WmzooError, match="one environment at a time"):
        toy_model().step(toy_model().initial(window), torch.zeros(2, 2))


def test_a_diverging_model_is_told():
    model = toy_model("mlp_ensemble", head="gaussian", tokenizer="continuous")
    model.backbone.first.out.weight.data *= 1e30
    with pytest.raises(WmzooError, match="beyond what numbers hold|not finite"):
        model.rollout(history(4), actions_of(2, 30), 30)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_several_histories_serve_several_trajectories_each(backbone):
    model, two, actions = toy_model(backbone), history(4), actions_of(6, 9)
    shared = model.rollout(two, actions, 9)
    repeated = model.rollout(two.index(torch.tensor([0, 0, 0, 1, 1, 1])), actions, 9)
    torch.testing.assert_close(shared.values, repeated.values, rtol=1e-5, atol=1e-5)
    assert shared.outside == pytest.approx(repeated.outside)
