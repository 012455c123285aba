"""What every tokenizer, backbone, head and objective must do; registering a part is being tested by these.

Parametrised over everything in the registry, so that a new file is covered as soon as it exists.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import torch

from wmzoo import registry
from wmzoo.contracts.systems import SMALL, linear_episode, planted_episode, system_set, toy_recipe
from wmzoo.data.splits import merge_variates
from wmzoo.data.windows import gather
from wmzoo.model import WorldModel, build
from wmzoo.recipe import Source, check
from wmzoo.trajectories import Variates, Window, columns_of, pack

KINDS = ("tokenizers", "backbones", "heads", "objectives")
TOKENIZERS, BACKBONES, HEADS, OBJECTIVES = (sorted(registry.paths(kind)) for kind in KINDS)
TRIPLES = list(itertools.product(TOKENIZERS, BACKBONES, HEADS))
PAIRS = [(b, h) for b in BACKBONES for h in HEADS]


def test_the_globs_found_the_parts():
    assert {"one_hot", "gauss_hist", "continuous"} <= set(TOKENIZERS)
    assert {"trajworld", "tdm", "mlp_ensemble", "mixer"} <= set(BACKBONES)
    assert {"categorical", "gaussian"} <= set(HEADS)
    assert {"next_step"} <= set(OBJECTIVES)


def toy_data(make=linear_episode, **options):
    item = system_set(make, **options)
    everyone = np.arange(len(item.lengths))
    return item, merge_variates([(item, everyone)])


def toy_window(item, variates, length=6, count=32, seed=0) -> Window:
    rng = np.random.default_rng(seed)
    ends = item.offsets[rng.integers(0, len(item.lengths), count)] + rng.integers(length - 1, item.lengths[0], count)
    return gather([item], np.zeros(count, int), ends, length, {item.environment: variates})


def fresh_window(item, variates, first_seed, step) -> Window:
    return toy_window(item, variates, count=64, seed=first_seed + step)


def toy_model(tokenizer, backbone, head, variates, **changes) -> WorldModel:
    recipe = check(Source(toy_recipe(tokenizer=tokenizer, backbone=backbone, head=head, **changes), {}))
    return build(recipe, {"toy": variates}).eval()


def fit(model, window, steps, rate=3e-3):
    """Plain training on a window, or on what a function of the step gives; the losses."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    model.train()
    losses = []
    for step in range(steps):
        loss = model.loss(window(step) if callable(window) else window).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    model.eval()
    return losses


@pytest.mark.parametrize(("tokenizer", "backbone", "head"), TRIPLES)
def test_every_combination_trains(tokenizer, backbone, head):
    item, variates = toy_data()
    losses = fit(toy_model(tokenizer, backbone, head, variates), toy_window(item, variates), 25)
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_shapes_of_the_five_verbs(backbone, head):
    item, variates = toy_data()
    model, window = toy_model("gauss_hist", backbone, head, variates), toy_window(item, variates, count=5)
    loss = model.loss(window)
    assert loss.total.ndim == 0 and set(loss.terms) == {"state", "reward"} and loss.windows.shape == (5,)
    prediction = model.predict(window)
    state, step = model.step(model.initial(window), torch.zeros(5, variates.actions))
    rollout = model.rollout(window, torch.zeros(5, 4, variates.actions), 4)
    assert prediction.mean.shape == step.mean.shape == (5, variates.predicted)
    assert prediction.sample(3).shape == (3, 5, variates.predicted)
    assert rollout.values.shape == (5, 4, variates.predicted) and rollout.actions.shape == (5, 4, variates.actions)
    by_policy = model.rollout(window, lambda states: torch.zeros(len(states), variates.actions), 4)
    torch.testing.assert_close(by_policy.values, rollout.values)


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_step_and_predict_agree(backbone, head):
    item, variates = toy_data()
    model, window = toy_model("gauss_hist", backbone, head, variates), toy_window(item, variates, length=5, count=8)
    actions = window.values[:, -1, variates.predicted :]
    _, by_step = model.step(model.initial(window), actions)
    torch.testing.assert_close(by_step.mean, model.predict(window).mean)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_future_changes_nothing_earlier(backbone):
    item, variates = toy_data()
    model, window = toy_model("gauss_hist", backbone, "categorical", variates), toy_window(item, variates)
    changed = window.values.clone()
    changed[:, 4:] = changed[:, 4:].roll(1, 0)
    before = model.parameters_of(window)[:, :, :3, :, :]
    after = model.parameters_of(dataclasses.replace(window, values=changed))[:, :, :3, :, :]
    torch.testing.assert_close(before[..., : variates.predicted, :], after[..., : variates.predicted, :])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_within_a_row_only_earlier_variates_are_seen(backbone):
    """The parameters of row t + 1 may depend on that row's earlier variates (autoregressive) and on no later ones."""
    item, variates = toy_data()
    model, window = toy_model("gauss_hist", backbone, "categorical", variates), toy_window(item, variates)
    for j in range(variates.predicted):
        changed = window.values.clone()
        changed[:, 3, j:] = changed[:, 3, j:].roll(1, 0)
        before = model.parameters_of(window)[:, :, 2, : j + 1]
        after = model.parameters_of(dataclasses.replace(window, values=changed))[:, :, 2, : j + 1]
        torch.testing.assert_close(before, after)


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_padded_rows_change_nothing(backbone, head):
    item, variates = toy_data()
    model, window = toy_model("gauss_hist", backbone, head, variates), toy_window(item, variates, length=3)
    junk = torch.full_like(window.values[:, :2], 0.7)
    padded = dataclasses.replace(
        window,
        values=torch.cat([junk, window.values], 1),
        valid=torch.cat([torch.zeros(len(window), 2, dtype=torch.bool), window.valid], 1),
        dense=False,
    )
    torch.testing.assert_close(model.predict(padded).mean, model.predict(window).mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.loss(padded).total, model.loss(window).total, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_padded_variates_change_nothing(backbone, head):
    """A narrow environment predicts the same beside a wider one in the batch."""
    item, variates = toy_data()
    wide_item, wide = toy_data(environment="wide", states=5, actions=3)
    model, window = toy_model("gauss_hist", backbone, head, variates), toy_window(item, variates, count=4)
    both = gather(
        [item, wide_item],
        np.array([0, 0, 0, 0, 1]),
        np.append(window.row.numpy(), 20),
        6,
        {"toy": variates, "wide": wide},
    )
    together = model.predict(both).mean[:4, : variates.predicted]
    torch.testing.assert_close(together, model.predict(window).mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_loss_of_mixed_environments_is_the_mean_of_their_own(backbone):
    item, variates = toy_data()
    wide_item, wide = toy_data(environment="wide", states=5, actions=3)
    model = toy_model("gauss_hist", backbone, "categorical", variates)
    named, sets = {"toy": variates, "wide": wide}, [item, wide_item]
    ends = np.array([10, 60, 10, 100])
    both = gather(sets, np.array([0, 0, 1, 1]), ends, 6, named)
    alone = [model.loss(gather(sets, np.full(2, s), ends[2 * s : 2 * s + 2], 6, named)).total for s in (0, 1)]
    torch.testing.assert_close(model.loss(both).total, (alone[0] + alone[1]) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_loss_and_gradient_of_a_mixed_batch_are_those_of_its_parts_by_their_rows(backbone, head):
    """Of environments of three widths and windows of all lengths; what stands in padded cells changes nothing."""
    made = [toy_data(), toy_data(environment="wide", states=5, actions=3), toy_data(environment="thin", states=1)]
    sets, named = [item for item, _ in made], {item.environment: variates for item, variates in made}
    # A regulariser of the bounds that a batch uses is no mean over its rows.
    settings = {"head": {"name": head, "bound_weight": 0.0}} if head == "gaussian" else {}
    model = toy_model("gauss_hist", backbone, head, named["toy"], model=settings)
    source, ends = np.array([0, 1, 1, 2, 0, 1]), np.array([1, 3, 120, 43, 9, 200])  # the first ones begin an episode
    both = gather(sets, source, ends, 6, named)
    assert not both.columns.mask.all() and not both.valid.all()
    total, slopes = loss_and_gradient(model, both)
    parts = [gather(sets, source[source == s], ends[source == s], 6, named) for s in range(3)]
    rows = [int(model.objective.weights(model, part).sum()) for part in parts]
    found = [loss_and_gradient(model, part) for part in parts]
    torch.testing.assert_close(total, sum(n * loss for n, (loss, _) in zip(rows, found, strict=True)) / sum(rows))
    mean = sum(n * slope for n, (_, slope) in zip(rows, found, strict=True)) / sum(rows)
    torch.testing.assert_close(slopes, mean, rtol=1e-3, atol=1e-6)
    real = both.valid[:, :, None] & both.columns.mask[:, None]
    soiled = dataclasses.replace(both, values=torch.where(real, both.values, 3.7))
    assert torch.equal(loss_and_gradient(model, soiled)[0], total)
    torch.testing.assert_close(loss_and_gradient(model, soiled)[1], slopes)


EXACT = {torch.float64: (1e-12, 1e-13), torch.float32: (2e-4, 1e-6)}  # relative and absolute


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_a_mixed_batch_is_the_same_packed_padded_and_window_by_window(backbone, head, dtype):
    """The loss, its terms, every window's share and all gradients; where a backbone packs, nothing padded is left."""
    made = [toy_data(), toy_data(environment="wide", states=5, actions=3), toy_data(environment="thin", states=1)]
    sets, named = [item for item, _ in made], {item.environment: variates for item, variates in made}
    settings = {"head": {"name": head, "bound_weight": 0.0}} if head == "gaussian" else {}
    model = toy_model("gauss_hist", backbone, head, named["toy"], model=settings).to(dtype).train()
    source, ends = np.array([1, 0, 1, 2, 0, 2]), np.array([1, 3, 120, 43, 9, 200])
    both = in_precision(gather(sets, source, ends, 6, named), dtype)
    packed = pack(both)
    assert [width for _, width in packed.spans] == [4, 4, 6, 6, 9, 9] and packed.window.columns.mask.all()
    assert packed.window.values.numel() == int(both.variate_mask.sum()) * both.values.shape[1]
    rows = int(model.objective.weights(model, both).sum())
    model.packs = model.packs or "columns"  # any backbone can, whether it gains from it or not
    model.packs = model.packs if not model.backbone.batched else ""
    packed, slopes = model.loss(both), loss_and_gradient(model, both)[1]
    model.packs = ""
    padded, other = model.loss(both), loss_and_gradient(model, both)[1]
    near = dict(zip(("rtol", "atol"), EXACT[dtype], strict=True))
    torch.testing.assert_close(slopes, other, **near)
    for name in ("total", "windows", "members", "terms"):
        torch.testing.assert_close(getattr(packed, name), getattr(padded, name), **near)
    ones = [gather(sets, source[i : i + 1], ends[i : i + 1], 6, named) for i in range(len(source))]
    single = [model.loss(in_precision(one, dtype), rows).total for one in ones]
    torch.testing.assert_close(sum(single), packed.total, **near)


@pytest.mark.parametrize("backbone", [b for b in BACKBONES if registry.find("backbones", b).build.autoregressive])
def test_with_its_first_row_a_packed_batch_is_the_same_too(backbone):
    (item, variates), (wide_item, wide) = toy_data(), toy_data(environment="wide", states=5, actions=3)
    objective, ends = {"name": "next_step", "first_row": True}, np.array([30, 3, 120, 43])
    model = toy_model("gauss_hist", backbone, "categorical", variates, objective=objective).double().train()
    both = gather([item, wide_item], np.array([1, 0, 1, 0]), ends, 6, {"toy": variates, "wide": wide})
    both = in_precision(both, torch.float64)
    assert model.packs and model.objective.starts_early(model)
    packed, slopes = model.loss(both), loss_and_gradient(model, both)[1]
    model.packs = ""
    torch.testing.assert_close(slopes, loss_and_gradient(model, both)[1], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(packed.windows, model.loss(both).windows, rtol=1e-12, atol=1e-13)


def in_precision(window, dtype):
    """The same window in another type of numbers."""
    return window._map(lambda x: x.to(dtype) if x.is_floating_point() else x)


def loss_and_gradient(model, window):
    """The loss of a batch, and its gradient for all parameters as one vector."""
    model.zero_grad()
    loss = model.loss(window).total
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_planted_alignment_is_found(backbone, head):
    """Only the right pairing of state, action and reward is predictable, and then all of it is."""
    item, variates = toy_data(planted_episode, episodes=40)
    model = toy_model("one_hot", backbone, head, variates)
    for chunk in range(8):  # regression through a sequence takes the longest
        fresh = functools.partial(fresh_window, item, variates, 1000 * chunk)
        losses = fit(model, fresh, 120, 4e-3)
        if max(losses[-20:]) < (0.05 if head == "categorical" else -7):
            break
    fresh = toy_window(item, variates, length=5, count=64, seed=9)
    ends = fresh.row.numpy()
    ends = np.where(np.isin(ends + 1, item.offsets), ends - 1, ends)
    window = gather([item], np.zeros(64, int), ends, 5, {"toy": variates})
    truth = torch.from_numpy(item.data[ends + 1, : variates.predicted])
    error = (model.predict(window).mean - truth).abs().mean()
    assert error < 0.05  # a guess would be off by 0.4
    flipped = window.values.clone()
    flipped[:, -1, variates.predicted :] *= -1
    other = model.predict(dataclasses.replace(window, values=flipped)).mean
    assert (other + truth).abs().mean() < 0.05  # the opposite action, the opposite outcome


@pytest.mark.parametrize("backbone", BACKBONES)
def test_teacher_forcing_only_matters_to_autoregressive_models(backbone):
    item, variates = toy_data()
    model, window = toy_model("gauss_hist", backbone, "categorical", variates), toy_window(item, variates, count=6)
    truth = window.values[:, 0, : variates.predicted]
    same = torch.equal(model.predict(window).mean, model.predict(window, truth=truth).mean)
    assert same != model.autoregressive


@pytest.mark.parametrize("backbone", [b for b in BACKBONES if registry.find("backbones", b).build.autoregressive])
@pytest.mark.parametrize("head", HEADS)
def test_decoding_one_by_one_equals_the_whole_sequence(backbone, head):
    """The cached, variate-by-variate pass gives what one pass over the true next row gives."""
    item, variates = toy_data()
    model, window = toy_model("gauss_hist", backbone, head, variates), toy_window(item, variates, count=6)
    history, width = window.until(-1), variates.predicted
    truth = window.values[:, -1, :width]
    whole = model.parameters_of(window)[:, :, -2, :width]
    columns = window.columns.take(slice(width))
    expected = model.head.predict(whole[model.elites], history.values[:, -1, :width], columns)
    torch.testing.assert_close(model.predict(history, truth=truth).mean, expected.mean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_save_and_load_give_the_same_predictions(backbone, head, tmp_path):
    from wmzoo import checkpoint

    item, variates = toy_data()
    model, window = toy_model("gauss_hist", backbone, head, variates), toy_window(item, variates, count=4)
    checkpoint.save(tmp_path / "m.safetensors", model, {}, {})
    again = checkpoint.load(tmp_path / "m.safetensors")
    assert torch.equal(model.predict(window).mean, again.predict(window).mean)
    assert again.recipe == model.recipe


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_makes_ensembles(backbone):
    item, variates = toy_data()
    settings = {**SMALL.get(backbone, {}), "name": backbone, "members": 3, "elites": 2}
    model = toy_model("gauss_hist", backbone, "gaussian", variates, model={"backbone": settings})
    window = toy_window(item, variates, count=4)
    assert model.loss(window).members.shape == (3,)
    members = model.parameters_of(window)
    assert len(members) == 3 and not torch.allclose(members[0], members[1])
    model.elites.copy_(torch.tensor([0, 2]))
    assert model.predict(window).means.shape[0] == 2
    fit(model, window, 2)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_too_wide_an_environment_is_refused(backbone):
    _, variates = toy_data(linear_episode, states=120, actions=2, episodes=3)
    from wmzoo.errors import WmzooError

    with pytest.raises(WmzooError, match="raise max_"):
        toy_model("gauss_hist", backbone, "gaussian", variates)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_no_token_is_ever_empty(tokenizer):
    """Far outside of the training range a token is an edge's (or extrapolated), never all zeros, never NaN."""
    part = registry.find("tokenizers", tokenizer)
    module = part.build(part.config())
    wide = Variates(
        names=("x", "reward", "a"),
        roles=np.array([0, 1, 2]),
        low=np.array([-1, 0, -1], "f4"),
        high=np.array([1, 0, 1], "f4"),  # the reward never changes in training
        mean=np.zeros(3, "f4"),
        std=np.array([1, 0, 1], "f4"),
        dt=0.1,
    )
    values = torch.tensor([[[1e6, 0.0, -1e6], [0.3, 5.0, 1.0]]])
    tokens = module(values, columns_of([wide]))
    assert tokens.shape == (1, 2, 3, module.features) and torch.isfinite(tokens).all()
    if module.features > 1:
        torch.testing.assert_close(tokens.sum(-1), torch.ones(1, 2, 3))
        assert tokens[0, 0, 0, -1] > 0.5 and tokens[0, 0, 2, 0] > 0.5
