"""The arithmetic against closed forms and other libraries."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mean_absolute_error

from wmzoo.errors import WmzooError
from wmzoo.evaluation.bootstrap import Estimate, estimate
from wmzoo.evaluation.metrics import Units, coverage, finite, join, per_episode, score, score_point, skill, summarise
from wmzoo.predictions import GaussianPrediction
from wmzoo.trajectories import Variates


def units(*std):
    names = (*(f"x{i}" for i in range(len(std) - 1)), "reward", "action:0")
    zeros, ones = np.zeros(len(names), "f4"), np.ones(len(names), "f4")
    roles = np.array([0] * (len(std) - 1) + [1, 2])
    return Units.of(
        Variates(names=names, roles=roles, low=zeros, high=ones, mean=zeros, std=np.array([*std, 1.0], "f4"), dt=0.1)
    )


def test_a_perfect_point_forecast_has_no_error():
    target = np.random.default_rng(0).normal(size=(50, 3))
    found = summarise(score_point(target, target, units(1, 2, 3)), units(1, 2, 3))
    assert found["mae"] == found["nmae"] == found["crps"] == 0
    assert "nll" not in found and "coverage90" not in found


def test_point_errors_agree_with_sklearn():
    rng = np.random.default_rng(0)
    target, forecast = rng.normal(size=(2, 50, 3))
    found = summarise(score_point(forecast, target, units(1, 2, 4)), units(1, 2, 4))
    assert found["mae"] == pytest.approx(mean_absolute_error(target, forecast))
    assert found["mae_state"] == pytest.approx(mean_absolute_error(target[:, :2], forecast[:, :2]))
    assert found["mae_reward"] == pytest.approx(mean_absolute_error(target[:, 2], forecast[:, 2]))
    scaled = mean_absolute_error(target / [1, 2, 4], forecast / [1, 2, 4])
    assert found["nmae"] == found["crps"] == pytest.approx(scaled)
    assert found["variates"]["name"] == ["x0", "x1", "reward"]
    assert found["variates"]["mae"][1] == pytest.approx(2 * found["variates"]["nmae"][1])


def test_gaussian_scores_have_their_closed_forms():
    rng = np.random.default_rng(1)
    mean, std, scale = rng.normal(size=(400, 2)) * [1, 10], np.array([0.5, 7.0]), np.array([2.0, 20.0])
    target = mean + rng.normal(size=(400, 2)) * std
    spread = torch.tensor(std).expand(1, 400, 2)
    scores = score(GaussianPrediction(torch.tensor(mean)[None], spread), torch.tensor(target), units(*scale))
    z = (target - mean) / std
    crps = std * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    np.testing.assert_allclose(scores.crps, crps / scale, atol=1e-6)
    np.testing.assert_allclose(scores.nll, -stats.norm.logpdf(target / scale, mean / scale, std / scale), atol=1e-6)
    np.testing.assert_allclose(scores.cdf, stats.norm.cdf(z), atol=1e-6)


@pytest.mark.parametrize(("stretch", "half", "most"), [(1.0, 0.5, 0.9), (2.0, 0.823, 0.999), (0.5, 0.264, 0.589)])
def test_coverage_of_calibrated_and_uncalibrated_forecasts(stretch, half, most):
    cdf = stats.norm.cdf(np.random.default_rng(2).normal(size=(20000, 2)) / stretch)
    assert coverage(cdf, 0.5) == pytest.approx(half, abs=0.01)
    assert coverage(cdf, 0.9) == pytest.approx(most, abs=0.01)


def test_constant_variates_are_left_out_of_normalised_numbers_only():
    mine = units(1.0, 0.0, 2.0)
    target = np.zeros((4, 3))
    found = summarise(score_point(target + [1, 5, 2], target, mine), mine)
    assert found["nmae"] == 1 and found["mae"] == pytest.approx(8 / 3)
    assert found["variates"]["nmae"] == [1, None, 1]


def test_nothing_but_constants_is_refused():
    with pytest.raises(WmzooError, match="never change"):
        units(0.0, 0.0)


def test_episode_means_make_up_the_total():
    rng = np.random.default_rng(3)
    mine, episode = units(1, 3), rng.integers(0, 7, 200)
    scores = score_point(rng.normal(size=(200, 2)), rng.normal(size=(200, 2)), mine)
    each, total = per_episode(scores, mine, episode), summarise(scores, mine)
    assert each["episode"] == list(range(7)) and sum(each["windows"]) == 200
    for name in ("mae", "nmae", "crps"):
        assert np.average(each[name], weights=each["windows"]) == pytest.approx(total[name])


def test_joined_batches_are_one_batch():
    rng, mine = np.random.default_rng(4), units(1, 3)
    forecast, target = torch.tensor(rng.normal(size=(2, 30, 2)))
    spread = torch.ones(1, 30, 2, dtype=torch.float64)
    whole = score(GaussianPrediction(forecast[None], spread), target, mine)
    parts = [
        score(GaussianPrediction(forecast[None, s], spread[:, s]), target[s], mine) for s in (slice(20), slice(20, 30))
    ]
    assert summarise(join(parts), mine) == summarise(whole, mine)


def test_skill():
    assert skill(0.0, 0.5) == 1
    assert skill(0.5, 0.5) == 0
    assert skill(1.0, 0.5) == -1
    assert skill(0.1, 0.0) is None and skill(None, 1.0) is None


def test_numbers_that_json_lacks_become_none():
    assert finite(np.float64(1.5)) == 1.5
    assert finite(np.nan) is None and finite(np.inf) is None


def test_interval_has_the_width_of_a_standard_error():
    values = np.random.default_rng(5).normal(size=400)
    found = estimate([[(values, np.ones(400))]])
    assert found.mean == pytest.approx(values.mean())
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(6)
    alike = estimate([[(1 + 0.1 * rng.normal(size=50), np.ones(50))] for _ in range(4)])
    apart = estimate([[(centre + 0.1 * rng.normal(size=50), np.ones(50))] for centre in (0.5, 0.8, 1.2, 1.5)])
    assert apart.high - apart.low > 5 * (alike.high - alike.low)


def test_episodes_count_by_their_windows_and_sets_alike():
    long, short = (np.array([1.0, 4.0]), np.array([3, 1])), (np.array([2.0]), np.array([1]))
    assert estimate([[long, short]]).mean == pytest.approx((1.75 + 2) / 2)


def test_one_episode_of_one_seed_has_no_interval():
    assert estimate([[(np.array([0.3]), np.array([20]))]]) == Estimate(mean=0.3)
