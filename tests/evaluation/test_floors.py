"""The floors' values by hand, and the linear model on a linear system."""

import numpy as np
import pytest
from exact import level, rows_of
from systems import linear_episode, system_set

from wmzoo.data.splits import merge_variates
from wmzoo.evaluation.floors import NAMES, Ridge, fit, history_mean, last_value

# two windows of three rows: one state, reward, one action; the second window begins with padding
VALUES = np.array([[[1, 10, 0], [2, 20, 0], [6, 30, 0]], [[0, 0, 0], [4, 8, 1], [6, 2, 1]]], float)
VALID = np.array([[1, 1, 1], [0, 1, 1]], bool)


@pytest.mark.parametrize("steps", [1, 4])
def test_last_value_and_history_mean_by_hand(steps):
    actions = np.zeros((2, steps, 1))
    assert last_value(VALUES, VALID, actions).tolist() == [[6, 30], [6, 2]]
    assert history_mean(VALUES, VALID, actions).tolist() == [[3, 20], [5, 5]]


def linear():
    item = system_set(linear_episode, episodes=130)
    chosen = np.arange(120)
    return item, chosen, merge_variates([(item, chosen)])


@pytest.mark.parametrize("steps", [1, 5, 19])
def test_ridge_recovers_a_linear_system(steps):
    item, chosen, variates = linear()
    ridge = Ridge([(item, chosen)], variates)
    starts = item.offsets[120:130]  # episodes that it was not fitted on
    values = np.stack([item.data[s : s + 5] for s in starts])
    actions = np.stack([item.data[s + 4 : s + 4 + steps, variates.predicted :] for s in starts])
    target = np.stack([item.data[s + 4 + steps, : variates.predicted] for s in starts])
    error = (
        np.abs(ridge(values, np.ones(values.shape[:2], bool), actions) - target) / variates.std[: variates.predicted]
    )
    assert error.max() < 0.03  # the penalty shrinks the coefficients a little


def test_ridge_never_pairs_rows_of_two_episodes():
    """Episodes that stay where they are, each at its own place: only a pair across a boundary would change."""
    rows = [np.tile([place, -place, 0.0, 0.0], (10, 1)).astype("f4") for place in (1.0, 5.0, -3.0)]
    item, chosen = level("still", rows), np.arange(3)
    ridge = Ridge([(item, chosen)], merge_variates([(item, chosen)]))
    np.testing.assert_allclose(ridge.model.coef_, 0, atol=1e-12)


def test_fit_sees_only_the_given_episodes():
    wild = [*rows_of(0, 8, 0.5), *(100 * r for r in rows_of(1, 4, 0.5))]
    chosen = np.arange(8)
    tame, mixed = level("a", wild[:8]), level("a", wild)
    variates = merge_variates([(tame, chosen)])
    values, valid, actions = wild[3][None, :10], np.ones((1, 10), bool), wild[3][None, 9:12, 3:]
    first, second = fit([(tame, chosen)], variates), fit([(mixed, chosen)], variates)
    assert tuple(first) == NAMES
    for name in NAMES:
        np.testing.assert_array_equal(first[name](values, valid, actions), second[name](values, valid, actions))
