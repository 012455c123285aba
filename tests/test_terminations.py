"""Termination rules, against the simulators' own word."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wmzoo.collect.environments import ENVIRONMENTS
from wmzoo.collect.making import make_gymnasium
from wmzoo.errors import WmzooError
from wmzoo.terminations import HIDDEN, OFFICIAL, RULES, rule

MUJOCO = ("hopper", "walker2d", "walker2d-params-07", "gym-ant", "gym-inverted_pendulum", "modular-walker-5-main")
OWN = (*MUJOCO, "gym-inverted_double_pendulum", "halfcheetah", "gym-mountain_car", "gym-pendulum", "dmc-lqr-2_1")
OTHERS = ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Humanoid-v4", "HumanoidStandup-v4", "Hopper-v5", "Ant-v5")
CALM = ("halfcheetah", "gym-pendulum", "dmc-lqr-2_1", "HumanoidStandup-v4")  # end by their time limit alone
CLIMBERS = ("gym-mountain_car", "MountainCar-v0", "Acrobot-v1")
OVERRUN = 3  # steps that are taken on after a termination, so that both answers are met at the border


def make(name):
    """An environment of the table, or of Gymnasium, without its time limit."""
    import gymnasium

    return make_gymnasium(name).unwrapped if name in ENVIRONMENTS else gymnasium.make(name).unwrapped


def pumped(name, state):
    """What brings a car or an arm up: a push in the direction of its speed."""
    if name == "gym-mountain_car":
        return np.array([1.0 if state[1] >= 0 else -1.0], np.float32)
    return int(1 - np.sign(state[4])) if name == "Acrobot-v1" else int(1 + np.sign(state[1]))


def play(name, steps, seed=0):
    """Random episodes of several vigours, one after another: states ``[R, m]`` float32, and whether each terminates."""
    env, rng, states, ends = make(name), np.random.default_rng(seed), [], []
    env.action_space.seed(seed)
    (state, _), age, after, vigour = env.reset(seed=seed), 0, 0, 1.0
    for _ in range(steps):
        action = env.action_space.sample()
        if name in CLIMBERS:
            action = pumped(name, state) if rng.random() < 0.8 else action
        elif hasattr(env.action_space, "high"):
            action = action * vigour
        state, _, over, _, _ = env.step(action)
        states.append(np.asarray(state, np.float32))
        ends.append(over)
        age, after = age + 1, after + bool(over or after)
        if after > OVERRUN or age >= 300:
            (state, _), age, after, vigour = env.reset(), 0, 0, rng.random() ** 2
    env.close()
    return np.stack(states), np.asarray(ends)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*OWN, *OTHERS])
def test_a_rule_says_what_the_simulator_says(name):
    states, truth = play(name, 600 if name.startswith("Humanoid") else 4000)
    found = rule(name)
    if name in CALM:
        assert not truth.any() and (found is None or not found(torch.from_numpy(states)).any())
        return
    assert 3 < truth.sum() < len(truth) - 100  # both answers, many times
    np.testing.assert_array_equal(found(torch.from_numpy(states)).numpy(), truth)


def test_every_environment_has_a_rule():
    found = {name: rule(name) for name in ENVIRONMENTS}
    never = {name for name, ending in found.items() if ending is None}
    assert {"halfcheetah", "gym-swimmer", "gym-reacher", "gym-pusher", "dmc-walker-run"} <= never
    assert all(name.startswith(("dmc", "gym", "pendulum", "halfcheetah", "modular-cheetah")) for name in never)
    assert {"hopper", "walker2d-params-49", "modular-hopper-3", "dmc-lqr-6_2"} <= set(found) - never


def test_versions_and_spellings_of_a_task_are_one():
    for name in ("Hopper-v2", "Hopper-v5", "hopper", "gym-hopper"):
        assert rule(name)(torch.tensor([[0.69, 0.0], [1.2, 0.0], [1.2, 0.2]])).tolist() == [True, False, True]


@pytest.mark.parametrize("name", [n for n, found in RULES.items() if found is not None])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_states_that_are_not_finite_terminate(name, value):
    states = torch.zeros(2, 11)
    states[:, 0] = {"humanoid": 1.4, "hopper": 1.2, "walker2d": 1.2, "ant": 0.5}.get(name, 0.0)
    if name == "inverteddoublependulum":
        states[:, 3:5] = 1.0
    if name == "acrobot":
        states[:, 0], states[:, 2] = 1.0, 1.0
    states[1, 1] = value
    assert RULES[name](states).tolist() == [False, True]


def test_the_linear_regulator_rests_at_zero():
    assert rule("dmc-lqr-2_1")(torch.tensor([[0.0, 1e-7], [0.0, 1e-5]])).tolist() == [True, False]


def test_the_released_rules_differ_where_they_did():
    states = torch.zeros(5, 17)
    states[:, 0] = 1.2
    states[1, 5], states[2, 5], states[3, 0], states[4, 1] = 100.0, -100.0, 0.75, 0.3
    assert set(OFFICIAL) == {"hopper", "halfcheetah", "walker2d"}
    assert rule("hopper", official=True)(states).tolist() == [False, True, False, False, True]
    assert rule("hopper")(states).tolist() == [False, True, True, False, True]
    assert rule("walker2d", official=True)(states).tolist() == [False, True, True, True, False]
    assert rule("walker2d")(states).tolist() == [False, False, False, True, False]
    assert rule("halfcheetah", official=True)(states).tolist() == [False, True, True, False, False]
    assert rule("halfcheetah") is None and rule("gym-pusher", official=True) is None


@pytest.mark.parametrize(
    ("name", "why"), [("LunarLander-v3", "contacts"), ("BipedalWalker-v3", "hull"), ("hoper", "has no rule")]
)
def test_what_can_not_be_decided_is_told_with_the_remedy(name, why):
    with pytest.raises(WmzooError, match=f"{name}.*{why}.*data.terminated=true"):
        rule(name)
    with pytest.raises(WmzooError, match='Did you mean "hopper"'):
        rule("Hoper-v4")
    assert not set(HIDDEN) & set(RULES)
