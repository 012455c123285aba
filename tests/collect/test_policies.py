"""Policies: their arithmetic against torch, their files, and the folding of normalisation."""

import pickle

import numpy as np
import pytest
import torch

from wmzoo.collect.moments import RunningMoments
from wmzoo.collect.policies import Policy, load_policy, uniform_actions
from wmzoo.errors import WmzooError


def network(nonlinearity="tanh", distribution="clipped_gaussian", sizes=(5, 8, 7, 2)):
    rng = np.random.default_rng(0)

    def layer(inputs, outputs):
        return rng.normal(size=(outputs, inputs)).astype(np.float32), rng.normal(size=outputs).astype(np.float32)

    hidden = tuple(layer(a, b) for a, b in zip(sizes[:-2], sizes[1:-1], strict=True))
    deterministic = distribution == "clipped"
    return Policy(
        hidden=hidden,
        mean=layer(sizes[-2], sizes[-1]),
        log_std=None if deterministic else layer(sizes[-2], sizes[-1]),
        nonlinearity=nonlinearity,
        distribution=distribution,
    )


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_forward_equals_torch(nonlinearity):
    policy = network(nonlinearity)
    observation = np.random.default_rng(1).normal(size=(3, 4, 5))
    x = torch.as_tensor(observation, dtype=torch.float32)
    for weight, bias in policy.hidden:
        x = getattr(torch, nonlinearity)(torch.nn.functional.linear(x, torch.tensor(weight), torch.tensor(bias)))
    expected = [torch.nn.functional.linear(x, *map(torch.tensor, layer)) for layer in (policy.mean, policy.log_std)]
    mean, std = policy.parameters(observation)
    np.testing.assert_allclose(mean, expected[0], atol=1e-5)
    np.testing.assert_allclose(std, expected[1].clamp(-20, 2).exp(), rtol=1e-4)


def test_modes():
    observation = np.random.default_rng(1).normal(size=(6, 5)) / 4
    for distribution, squash in (("clipped", lambda x: np.clip(x, -1, 1)), ("tanh_gaussian", np.tanh)):
        policy = network(distribution=distribution)
        np.testing.assert_allclose(policy.act(observation, None), squash(policy.parameters(observation)[0]), atol=1e-6)


@pytest.mark.parametrize("distribution", ["clipped", "clipped_gaussian", "tanh_gaussian"])
def test_sampled_actions_keep_the_limits_and_the_seed(distribution):
    policy, observation = network(distribution=distribution), np.ones((1000, 5))
    actions = policy.act(observation, np.random.default_rng(3), noise=0.5)
    assert actions.dtype == np.float32 and actions.shape == (1000, 2)
    assert np.abs(actions).max() <= 1
    assert actions.std(axis=0).max() > 0.01
    np.testing.assert_array_equal(actions, policy.act(observation, np.random.default_rng(3), noise=0.5))


def test_samples_have_the_stated_moments():
    policy, observation = network(), np.zeros((200_000, 5))
    policy = Policy(**{**vars(policy), "mean": (policy.mean[0] * 0, np.float32([0.1, -0.2]))})
    policy = Policy(**{**vars(policy), "log_std": (policy.log_std[0] * 0, np.log(np.float32([0.1, 0.2])))})
    actions = policy.act(observation, np.random.default_rng(0))
    np.testing.assert_allclose(actions.mean(axis=0), [0.1, -0.2], atol=0.003)
    np.testing.assert_allclose(actions.std(axis=0), [0.1, 0.2], rtol=0.02)


@pytest.mark.parametrize("sizes", [(5, 2), (5, 8, 2), (5, 8, 7, 2)])
def test_files_hold_dope_names_and_read_back(tmp_path, sizes):
    policy = network(distribution="tanh_gaussian", sizes=sizes)
    policy.save(tmp_path / "policy.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["policy.npz"]
    with np.load(tmp_path / "policy.npz", allow_pickle=False) as file:
        assert {"fc0/weight", "fc0/bias", "last_fc_log_std/weight", "output_distribution"} <= set(file.files)
        assert file["fc0/weight"].shape == (sizes[1], 5)
        assert file["nonlinearity"].item() == "tanh"
    again = load_policy(tmp_path / "policy.npz")
    for ours, theirs in zip(policy.layers(), again.layers(), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
    assert (again.nonlinearity, again.distribution) == ("tanh", "tanh_gaussian")


class Planted:
    """Unpickling this leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_in_a_policy_file_is_executed(tmp_path):
    planted, path = tmp_path / "planted", tmp_path / "bad.npz"
    np.savez(path, **{"fc0/weight": np.array([Planted(planted)], dtype=object)})
    with pytest.raises(WmzooError, match="bad.npz"):
        load_policy(path)
    path.write_bytes(pickle.dumps(Planted(planted)))
    with pytest.raises(WmzooError, match="bad.npz"):
        load_policy(path)
    assert not planted.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fc1/weight", np.zeros((7, 3))),
        ("fc0/bias", np.zeros(3)),
        ("nonlinearity", np.array("sin")),
        ("output_distribution", np.array("beta")),
    ],
)
def test_broken_policies_are_refused(tmp_path, key, value):
    path = tmp_path / "policy.npz"
    network().save(path)
    with np.load(path) as file:
        arrays = {**file, key: value}
    np.savez(path, **arrays)
    with pytest.raises(WmzooError, match=r"policy\.npz"):
        load_policy(path)


def test_missing_and_cut_policies_are_refused(tmp_path):
    path = tmp_path / "policy.npz"
    with pytest.raises(WmzooError, match=r"policy\.npz"):
        load_policy(path)
    network().save(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(WmzooError, match=r"policy\.npz"):
        load_policy(path)


def test_moments_and_folding():
    rng = np.random.default_rng(0)
    blocks = [rng.normal(3, 2, (n, 4)) for n in (1, 7, 300)]
    moments = RunningMoments(4)
    for block in blocks:
        moments.add(block)
    everything = np.concatenate(blocks)
    np.testing.assert_allclose(moments.mean, everything.mean(axis=0))
    np.testing.assert_allclose(moments.std, everything.std(axis=0))
    weight, bias = rng.normal(size=(5, 4)), rng.normal(size=5)
    folded, shifted = moments.fold(weight, bias)
    raw = rng.normal(size=(10, 4))
    np.testing.assert_allclose(raw @ folded.T + shifted, moments.normalise(raw) @ weight.T + bias, atol=1e-4)


def test_uniform_actions_fill_the_limits():
    rng, low, high = np.random.default_rng(0), np.array([-1.0, 0.0]), np.array([1.0, 5.0])
    drawn = np.stack([uniform_actions(low, high, rng) for _ in range(5000)])
    assert (drawn >= low).all() and (drawn <= high).all()
    np.testing.assert_allclose(drawn.mean(axis=0), [0, 2.5], atol=0.1)
    np.testing.assert_allclose(drawn.std(axis=0), [2 / 12**0.5, 5 / 12**0.5], rtol=0.03)
