"""Predictive distributions against SciPy and against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from wmzoo.predictions import GaussianPrediction, HistogramPrediction


@pytest.fixture(params=["histogram", "gaussian", "mixture"])
def prediction(request):
    torch.manual_seed(0)
    if request.param == "histogram":
        probs = torch.rand(4, 3, 8).double() ** 2
        low = torch.tensor([-1.0, 0.0, 5.0]).double().expand(4, 3)
        return HistogramPrediction((probs / probs.sum(-1, keepdim=True)).float(), low.float(), (low + 2).float())
    members = 1 if request.param == "gaussian" else 3
    return GaussianPrediction(torch.randn(members, 4, 3), 0.2 + torch.rand(members, 4, 3))


def values_of(prediction):
    return torch.stack([prediction.quantile(p) for p in (0.05, 0.4, 0.8)])


def test_samples_have_the_stated_mean_quantiles_and_cdf(prediction):
    draws = prediction.sample(20_000, torch.Generator().manual_seed(1))
    assert draws.shape == (20_000, 4, 3)
    torch.testing.assert_close(draws.mean(0), prediction.mean, atol=0.04, rtol=0.02)
    for p in (0.1, 0.5, 0.9):
        at = prediction.quantile(p)
        torch.testing.assert_close(prediction.cdf(at), torch.full((4, 3), p), atol=1e-3, rtol=0)
        torch.testing.assert_close((draws <= at).float().mean(0), torch.full((4, 3), p), atol=0.02, rtol=0)


def test_density_is_the_slope_of_the_distribution_function(prediction):
    for value in values_of(prediction):
        step = 1e-3
        slope = (prediction.cdf(value + step) - prediction.cdf(value - step)) / (2 * step)
        torch.testing.assert_close(prediction.log_prob(value).exp(), slope, rtol=0.25, atol=0.02)


def test_crps_equals_its_definition_by_samples(prediction):
    """CRPS = E|X - y| - E|X - X'| / 2."""
    a = prediction.sample(20_000, torch.Generator().manual_seed(1))
    b = prediction.sample(20_000, torch.Generator().manual_seed(2))
    for value in values_of(prediction):
        brute = (a - value).abs().mean(0) - (a - b).abs().mean(0) / 2
        torch.testing.assert_close(prediction.crps(value), brute, atol=0.02, rtol=0.02)


def test_selecting_windows(prediction):
    chosen = prediction.select(torch.tensor([2, 0]))
    torch.testing.assert_close(chosen.mean, prediction.mean[[2, 0]])


def test_single_gaussian_against_scipy():
    one = GaussianPrediction(torch.tensor([[[1.5]]]), torch.tensor([[[0.5]]]))
    normal, value = stats.norm(1.5, 0.5), 2.2
    at = torch.tensor([[value]])
    assert one.log_prob(at).item() == pytest.approx(normal.logpdf(value), abs=1e-5)
    assert one.cdf(at).item() == pytest.approx(normal.cdf(value), abs=1e-6)
    assert one.quantile(0.9).item() == pytest.approx(normal.ppf(0.9), abs=1e-5)
    z = (value - 1.5) / 0.5
    closed = 0.5 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert one.crps(at).item() == pytest.approx(closed, abs=1e-6)


def test_histogram_outside_of_its_support():
    flat = HistogramPrediction(torch.full((1, 1, 4), 0.25), torch.zeros(1, 1), torch.ones(1, 1))
    inside, outside = flat.crps(torch.tensor([[1.0]])), flat.crps(torch.tensor([[3.0]]))
    assert outside.item() == pytest.approx(inside.item() + 2.0)
    assert flat.log_prob(torch.tensor([[3.0]])).item() == pytest.approx(0.0)
    assert flat.cdf(torch.tensor([[-1.0]])).item() == 0
