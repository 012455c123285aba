"""Values as histograms over the training range."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from wmzoo.binning import bin_edges, bin_index, gauss_histogram, one_hot, share_outside, support, unit_values
from wmzoo.trajectories import Variates, columns_of


def columns(low=(-2.0, 0.0, -1.0), high=(2.0, 1.0, 1.0)):
    zeros = np.zeros(3, "f4")
    roles = np.array([0, 1, 2])
    made = Variates(
        names=("x", "reward", "a"),
        roles=roles,
        low=np.array(low, "f4"),
        high=np.array(high, "f4"),
        mean=zeros,
        std=zeros + 1,
        dt=0.1,
    )
    return columns_of([made])


def support_of(low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([low], dtype=torch.float64), torch.tensor([high], dtype=torch.float64)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 5.0)])
def test_gauss_histogram_is_the_gaussians_mass_in_each_bin(low, high):
    edges = np.linspace(low, high, 17)
    for value in (low, 0.31, 0.5, high):
        mass = np.diff(norm.cdf(edges, value, 0.75 * (high - low) / 16))
        found = gauss_histogram(torch.tensor([value], dtype=torch.float64), *support_of(low, high), 16, 0.75)[0]
        np.testing.assert_allclose(found, mass / mass.sum(), atol=1e-12)


def test_with_an_epsilon_values_outside_fade_away():
    values = torch.tensor([2.0, 1.0, 1.01, 1.2], dtype=torch.float64)
    mass = gauss_histogram(values, *support_of(0.0, 1.0), 16, 0.75, epsilon=1e-6).sum(-1)
    assert mass[0] == 0 and mass[1] > 0.99999 and mass[2] > 0.9999 and 0 < mass[3] < 0.99


def test_edges_run_from_low_to_high_evenly():
    edges = bin_edges(torch.tensor([-1.5, 2.0]), torch.tensor([4.0, 2.5]), 8)
    np.testing.assert_allclose(edges, np.linspace([-1.5, 2.0], [4.0, 2.5], 9, axis=1), rtol=1e-6)


@pytest.mark.parametrize("bins", [2, 64, 256])
def test_expectation_of_the_token_returns_the_value(bins):
    values = torch.linspace(0.2, 0.8, 50)
    centres = (torch.arange(bins) + 0.5) / bins
    decoded = gauss_histogram(values, torch.zeros(1), torch.ones(1), bins, 0.75) @ centres
    assert (decoded - values).abs().max() < 0.1 / bins if bins > 2 else 0.2


def test_edges_belong_to_the_outer_bins():
    assert bin_index(torch.tensor([0.0, 0.999999, 1.0]), 4).tolist() == [0, 3, 3]
    assert one_hot(torch.tensor([1.0]), 4).tolist() == [[0, 0, 0, 1]]


def test_margin_widens_the_support_by_a_share_of_the_range():
    low, high = support(columns(), 0.25)
    assert low[0].tolist() == [-3.0, -0.25, -1.5] and high[0].tolist() == [3.0, 1.25, 1.5]
    outside = torch.tensor([[[2.5, 1.2, 0.0]]])
    valid = torch.ones(1, 1, dtype=torch.bool)
    assert share_outside(outside, valid, columns(), 0.0) == pytest.approx(2 / 3)
    assert share_outside(outside, valid, columns(), 0.25) == 0
    assert unit_values(outside, columns(), 0.0)[0, 0, :2].tolist() == [1.0, 1.0]
    assert unit_values(outside, columns(), 0.25)[0, 0, 0] == pytest.approx(5.5 / 6)


def test_values_outside_are_counted_and_padding_is_not():
    values = torch.tensor([[[9.0, 0.5, 0.0], [9.0, 0.5, 0.0], [0.0, 0.5, 0.0]]])
    valid = torch.tensor([[False, True, True]])
    assert share_outside(values, valid, columns(), 0.0) == pytest.approx(1 / 6)
    assert share_outside(torch.tensor([[[2.0, 1.0, -1.0]]]), valid[:, :1] | True, columns(), 0.0) == 0


def test_a_variate_that_never_changed_is_finite():
    flat = columns(low=(3.0, 0.0, -1.0), high=(3.0, 1.0, 1.0))
    unit = unit_values(torch.tensor([[[3.0, 0.5, 0.0], [4.0, 0.5, 0.0]]]), flat, 0.0)
    assert torch.isfinite(unit).all() and unit[0, 0, 0] == pytest.approx(0.5, abs=0.05) and unit[0, 1, 0] == 1
