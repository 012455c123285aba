"""Power laws are found again in points that were made by one, and their intervals cover as they say."""

from __future__ import annotations

import numpy as np
import pytest

from wmzoo.scaling import laws

X = np.geomspace(1e10, 1e15, 12)


def noisy(rng, count, exponent=0.15, floor=0.0, noise=0.03):
    x = np.geomspace(1e10, 1e14, count)
    return x, (30 * x**-exponent + floor) * np.exp(noise * rng.standard_normal(count))


def test_without_noise_a_law_is_found_exactly():
    law = laws.fit(X, 7 * X**-0.2)
    assert (law.a, law.b, law.c) == (pytest.approx(7), pytest.approx(0.2), 0.0)
    np.testing.assert_allclose(law.at(X), 7 * X**-0.2)
    raised = laws.fit(X, 40 * X**-0.2 + 0.05)
    assert (raised.a, raised.b, raised.c) == (
        pytest.approx(40, rel=1e-3),
        pytest.approx(0.2, rel=1e-3),
        pytest.approx(0.05, rel=1e-3),
    )


def test_units_of_x_and_y_change_nothing_but_the_factor():
    x, y = noisy(np.random.default_rng(0), 8)
    one, other = laws.fit(x, y, floor=False), laws.fit(1e6 * x, 1e-3 * y, floor=False)
    assert other.b == pytest.approx(one.b) and other.interval == pytest.approx(one.interval)


@pytest.mark.parametrize("count", [5, 9])
def test_the_interval_of_an_exponent_covers_the_true_one(count):
    """Of 200 samples, 95 % and a margin of three standard errors of that share."""
    rng = np.random.default_rng(count)
    intervals = np.array([laws.fit(*noisy(rng, count), floor=False).interval for _ in range(200)])
    share = ((intervals[:, 0] <= 0.15) & (intervals[:, 1] >= 0.15)).mean()
    assert 0.90 <= share <= 1.0
    assert np.median(intervals[:, 1] - intervals[:, 0]) < 0.04


def test_with_an_irreducible_part_too():
    rng = np.random.default_rng(3)
    found = [laws.fit(*noisy(rng, 12, floor=0.2, noise=0.01), floor=True) for _ in range(10)]
    covered = [law.interval[0] <= 0.15 <= law.interval[1] for law in found]
    assert sum(covered) >= 8
    assert np.median([law.c for law in found]) == pytest.approx(0.2, rel=0.2)


def test_an_irreducible_part_is_told_only_where_the_points_ask_for_one():
    rng = np.random.default_rng(4)
    assert sum(laws.fit(*noisy(rng, 8)).c > 0 for _ in range(10)) <= 1
    x = np.geomspace(1e10, 1e16, 14)
    assert laws.fit(x, (30 * x**-0.15 + 0.3) * np.exp(0.005 * rng.standard_normal(14))).c > 0.2


def test_too_few_points_make_no_law_and_three_no_interval():
    assert laws.fit(X[:2], X[:2] ** -0.1) is None and laws.fit([1, 1, 2, 2], [4, 4.1, 3, 3.1]) is None
    assert laws.fit(X[:5], X[:5] ** -0.1, floor=True) is None
    assert laws.fit(X[:3], X[:3] ** -0.1).interval is None


def test_the_envelope_is_what_nothing_cheaper_undercuts():
    x = np.array([4.0, 1.0, 2.0, 3.0, 2.0, 5.0])
    y = np.array([0.4, 1.0, 0.5, 0.6, 0.7, 0.4])
    assert laws.frontier(x, y).tolist() == [1, 2, 0]
    assert laws.lowest(x, y).tolist() == [1, 2, 3, 0, 5]


def test_the_law_of_the_envelope_of_a_family_is_the_analytic_one():
    """For L = A / N^p + B / D^q and C = 6 N D, the least error falls with C to the power p q / (p + q)."""
    n, d = np.meshgrid(np.geomspace(1e5, 1e9, 60), np.geomspace(1e7, 1e11, 60))
    compute, error = (6 * n * d).ravel(), (400 / n**0.34 + 400 / d**0.28).ravel()
    inner = (compute > 1e15) & (compute < 1e17)  # at the ends the best size or length lies outside of the grid
    chosen = laws.frontier(compute[inner], error[inner])
    law = laws.fit(compute[inner][chosen], error[inner][chosen], floor=False)
    assert law.b == pytest.approx(0.34 * 0.28 / 0.62, rel=0.02)
    best = laws.fit(compute[inner][chosen], n.ravel()[inner][chosen], floor=False)
    assert -best.b == pytest.approx(0.28 / 0.62, abs=0.05)


def test_the_band_holds_the_law_and_widens_outwards():
    x, y = noisy(np.random.default_rng(5), 8)
    law = laws.fit(x, y, floor=False)
    low, high = law.band(x)
    assert (low < law.at(x)).all() and (law.at(x) < high).all()
    assert high[0] / low[0] > high[4] / low[4]
