"""What every planner must do; a new file in ``registry/planners`` is covered as soon as it exists."""

from __future__ import annotations

import numpy as np
import pytest

from wmzoo import registry
from wmzoo.planning import Search

PLANNERS = sorted(registry.paths("planners"))
SEARCH = Search(episodes=3, candidates=64, horizon=4, actions=2)


class Bowl:
    """Returns fall with the squared distance of every action from a goal of each episode; the policy does nothing."""

    def __init__(self, goals):
        self.goals, self.asked = goals, []

    def follow(self, actions):
        self.asked.append(actions)
        return -((actions - self.goals[:, None, None]) ** 2).sum((2, 3))

    def propose(self, noise):
        actions = np.clip(noise, -1, 1)
        return actions, self.follow(actions)


def planner_of(name):
    part = registry.find("planners", name)
    return part.build(part.config())


def goals():
    return np.array([[0.5, -0.5], [-0.8, 0.2], [0.1, 0.1]], np.float32)


def test_the_planners_are_found():
    assert {"proposal", "random_shooting", "cem", "mppi"} <= set(PLANNERS)


@pytest.mark.parametrize("name", PLANNERS)
def test_actions_come_nearer_to_each_episodes_goal_than_chance(name):
    planner, rng, futures = planner_of(name), np.random.default_rng(0), Bowl(goals())
    plan, distances = planner.start(SEARCH), []
    for _ in range(10):
        actions, plan = planner.decide(futures, SEARCH, plan, rng)
        assert actions.shape == (3, 2)
        distances.append(np.abs(np.clip(actions, -1, 1) - goals()).mean())
    chance = np.abs(rng.uniform(-1, 1, (1000, 3, 2)) - goals()).mean()
    assert np.mean(distances) < 0.8 * chance
    for asked in futures.asked:
        assert asked.shape == SEARCH.shape and np.abs(asked).max() <= 1 and asked.dtype == np.float32


@pytest.mark.parametrize("name", PLANNERS)
def test_the_same_draws_give_the_same_actions(name):
    def decided(seed):
        planner = planner_of(name)
        return planner.decide(Bowl(goals()), SEARCH, planner.start(SEARCH), np.random.default_rng(seed))[0]

    np.testing.assert_array_equal(decided(1), decided(1))
    assert not np.array_equal(decided(1), decided(2))


@pytest.mark.parametrize("name", PLANNERS)
def test_it_goes_on_when_an_episode_has_ended(name):
    planner, rng = planner_of(name), np.random.default_rng(0)
    _, plan = planner.decide(Bowl(goals()), SEARCH, planner.start(SEARCH), rng)
    going = np.array([True, False, True])
    rest = Search(2, SEARCH.candidates, SEARCH.horizon, SEARCH.actions)
    actions, _ = planner.decide(Bowl(goals()[going]), rest, None if plan is None else plan[going], rng)
    assert actions.shape == (2, 2)
