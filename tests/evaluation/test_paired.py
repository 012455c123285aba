"""Differences of rows: planted ones are found, absent ones are not, and pairing is worth its while."""

import numpy as np
import pytest

from wmzoo.evaluation.bootstrap import DRAWS, draws_of, estimate
from wmzoo.evaluation.paired import Group, Measured, difference, holm, winner
from wmzoo.evaluation.records import FEW

EPISODES = 12
PICKS = np.random.default_rng(9).integers(0, EPISODES, (300, EPISODES))
REPEATS = 200


def group(values, seeds=True, first=0, where="here"):
    """A row of results [S, N] of seeds and episodes."""
    measured = (Measured(value=v.mean(), draws=v[PICKS].mean(1), episodes=EPISODES, where=where) for v in values)
    return Group(measured=tuple(measured), units=tuple(str(first + s) for s in range(len(values))) if seeds else ())


def noise(rng, seeds, of_seed, of_episode, of_both):
    """[S, N]"""
    own, shared = rng.standard_normal(seeds)[:, None], rng.standard_normal(EPISODES)
    return of_seed * own + of_episode * shared + of_both * rng.standard_normal((seeds, EPISODES))


def differences(shift, seeds, sizes, first=0, fixed=False):
    """Many differences of two rows whose noise is independent, the second one higher by a shift."""
    rng = np.random.default_rng(0)
    for _ in range(REPEATS):
        x, y = noise(rng, seeds, *sizes), noise(rng, 1 if fixed else seeds, *((0, *sizes[1:]) if fixed else sizes))
        yield difference(group(x), group(y + shift, not fixed, first))


@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("sizes", [(1, 0.05, 0.05), (0.05, 1, 0.05), (0.05, 0.05, 1), (0.3, 1, 1)])
@pytest.mark.parametrize("kind", [{}, {"first": 100}, {"fixed": True}], ids=["paired", "unpaired", "fixed"])
def test_what_is_not_there_is_seldom_found(seeds, sizes, kind):
    found = list(differences(0.0, seeds, sizes, **kind))
    assert sum(one.apart for one in found) / REPEATS <= 0.1, "5 % allowed, and chance"
    assert all(one.apart == (not one.low <= 0 <= one.high) for one in found), "the interval and the mark agree"


@pytest.mark.parametrize(("seeds", "sizes"), [(2, (1, 0, 0)), (5, (1, 0, 0.1)), (3, (0, 1, 0.01)), (4, (0, 0, 1))])
def test_the_rate_is_not_far_below_five_percent_either_and_intervals_hold_the_truth(seeds, sizes):
    """Where one kind of noise is by far the largest the test is nearly exact; elsewhere it errs on the safe side."""
    found = list(differences(2.0, seeds, sizes))
    outside = sum(not one.low <= -2.0 <= one.high for one in found) / REPEATS
    assert 0.01 <= outside <= 0.1


def test_planted_differences_are_found():
    assert all(one.apart and one.mean < 0 for one in differences(3.0, 5, (0.3, 0.3, 0.3)))
    assert sum(one.apart for one in differences(0.3, 2, (0.3, 0.3, 0.3))) < 0.1 * REPEATS, "two seeds can't tell that"


def test_pairing_finds_what_shared_noise_of_seeds_hides():
    rng, paired, unpaired = np.random.default_rng(1), 0, 0
    for _ in range(100):
        shared = noise(rng, 5, 1.0, 1.0, 0.0)
        x, y = (shared + noise(rng, 5, 0.1, 0.1, 0.1) for _ in range(2))
        one, other = difference(group(x), group(y + 0.4)), difference(group(x), group(y + 0.4, first=50))
        assert one.mean == pytest.approx(other.mean) and one.paired and not other.paired
        paired, unpaired = paired + one.apart, unpaired + other.apart
    assert paired >= 95 and unpaired <= 20


def test_episodes_are_paired_only_where_they_are_the_same():
    rng = np.random.default_rng(2)
    shared = noise(rng, 4, 0.0, 1.0, 0.0)
    x, y = (shared + noise(rng, 4, 0.0, 0.0, 0.02) for _ in range(2))
    same, other = difference(group(x), group(y + 0.1)), difference(group(x), group(y + 0.1, where="elsewhere"))
    assert same.apart and not other.apart and same.mean == other.mean


def test_runs_are_matched_by_unit_whatever_their_order():
    values = np.random.default_rng(3).standard_normal((3, EPISODES))
    forth = group(values)
    back = Group(measured=forth.measured[::-1], units=forth.units[::-1])
    found = difference(forth, back)
    assert found.mean == pytest.approx(0, abs=1e-12) and found.low is None, "each run minus itself"


def test_one_seed_has_an_interval_over_episodes_and_no_significance():
    values = np.random.default_rng(4).standard_normal((1, EPISODES))
    found = difference(group(values), group(0.5 * values + 9))
    assert found.low < found.mean < found.high < 0 and found.p is None and not found.apart
    assert difference(group(values, seeds=False), group(0.5 * values + 9, seeds=False)).apart, "floors have no seeds"


def test_two_seeds_are_students_t_of_one_degree():
    x = np.array([[1.0] * EPISODES, [2.0] * EPISODES])
    found = difference(group(x), group(np.zeros((1, EPISODES)), seeds=False))
    assert found.high - found.mean == pytest.approx(12.706 * 0.5, rel=1e-3)
    assert found.p == pytest.approx(0.2048, abs=1e-3)  # of t = 3


def test_holm():
    assert holm([0.01, 0.04, None, 0.03]) == [pytest.approx(0.03), pytest.approx(0.06), None, pytest.approx(0.06)]
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_the_winner_is_apart_from_every_other():
    rng = np.random.default_rng(5)
    base = noise(rng, 4, 0.1, 1.0, 0.01)
    low, middle, high = (base + shift + noise(rng, 4, 0.01, 0.01, 0.01) for shift in (0.0, 1.0, 2.0))
    rows = [group(middle), group(low), group(high), None]
    assert (winner(rows), winner(rows, higher=True)) == (1, 2)
    nearly = low + 0.01 * rng.standard_normal((4, 1)) * np.ones(EPISODES)
    assert winner([*rows, group(nearly - nearly.mean() + low.mean() + 0.002)]) is None
    assert winner([None, group(low)]) is None


def test_one_draw_takes_the_same_episodes_in_every_run():
    rng = np.random.default_rng(6)
    values, weights = rng.standard_normal(8), rng.integers(1, 5, 8).astype(float)
    x, y = draws_of({"a": (values, weights)}), draws_of({"a": (values + 1, weights)})
    assert x.shape == (DRAWS,) and np.allclose(y - x, 1.0) and x.std() > 0.1
    assert not np.allclose(draws_of({"b": (values, weights)}), x)


@pytest.mark.parametrize("seeds", [2, 5])
def test_the_caption_tells_how_often_a_rows_own_interval_holds(seeds):
    rng, held = np.random.default_rng(7), 0
    for _ in range(REPEATS):
        found = estimate([[(np.full(4, value), np.ones(4))] for value in rng.standard_normal(seeds)])
        held += found.low <= 0 <= found.high
    assert 100 * held / REPEATS == pytest.approx(FEW[seeds], abs=8)


def test_intervals_of_rows_hold_the_truth_where_episodes_alone_vary():
    rng, held = np.random.default_rng(8), 0
    for _ in range(REPEATS):
        values = rng.standard_normal(30)
        found = estimate([[(values, np.ones(30))]] * 2)
        held += found.low <= 0 <= found.high
    assert held / REPEATS >= 0.9
