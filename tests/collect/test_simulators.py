"""The simulators that policies train in, against Gymnasium itself."""

import numpy as np
import pytest

from wmzoo.collect.making import layout, make_gymnasium
from wmzoo.collect.simulators import Counted, GymnasiumSimulator, PlanarSimulator, Recorded, make_simulator
from wmzoo.trajectories import episode_rows

PLANAR = ("hopper", "halfcheetah", "walker2d", "walker2d-params-07", "modular-hopper-5", "modular-cheetah-4-back")


@pytest.mark.parametrize("name", PLANAR)
def test_simulator_equals_gymnasium(name):
    """Every step is compared from Gymnasium's own state, as contacts amplify rounding in a free run."""
    gym, copies = make_gymnasium(name), 3
    simulator, rng = make_simulator(name, copies, np.random.default_rng(5)), np.random.default_rng(0)
    assert isinstance(simulator, PlanarSimulator)
    gym.reset(seed=5)
    ends = 0
    for step in range(600):
        which = step % copies
        data = gym.unwrapped.data
        simulator.states[which] = np.concatenate([[data.time], data.qpos, data.qvel])
        action = rng.uniform(-1, 1, simulator.actions)
        observation, reward, terminated, _, _ = gym.step(action)
        rewards, terminations = simulator.step(action[None], np.array([which]))
        np.testing.assert_allclose(simulator.observe()[which], observation, rtol=0, atol=1e-10)
        np.testing.assert_allclose(rewards[0], reward, rtol=0, atol=1e-10)
        assert terminations[0] == terminated
        if terminated:
            ends += 1
            gym.reset()
    assert ends > 3 or "cheetah" in name


@pytest.mark.parametrize("name", PLANAR)
def test_first_states_equal_gymnasiums(name):
    gym = make_gymnasium(name)
    simulator = make_simulator(name, 1, np.random.default_rng(11))
    np.testing.assert_array_equal(simulator.observe()[0], gym.reset(seed=11)[0])


def test_only_the_chosen_copies_advance():
    simulator = PlanarSimulator("hopper", 4, np.random.default_rng(0))
    before = simulator.states.copy()
    simulator.step(np.zeros((2, 3)), np.array([1, 3]))
    assert simulator.ages.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(simulator.states[[0, 2]], before[[0, 2]])
    assert (simulator.states[[1, 3]] != before[[1, 3]]).any(axis=1).all()


@pytest.mark.parametrize("name", ["gym-pusher", "dmc-ball_in_cup-catch"])
def test_copies_of_any_environment_equal_gymnasium(name):
    simulator, columns = GymnasiumSimulator(name, 2, np.random.default_rng(3)), layout(name)
    seeds, gym = np.random.default_rng(3).integers(2**31, size=2), make_gymnasium(name)
    rng = np.random.default_rng(0)
    observation, _ = gym.reset(seed=int(seeds[1]))
    for _ in range(20):
        np.testing.assert_array_equal(simulator.observe()[1], observation)
        actions = rng.uniform(-1, 1, (2, simulator.actions)).astype(np.float32)
        rewards, terminated = simulator.step(actions)
        observation, reward, end, _, _ = gym.step(columns.scaled(actions[1]).astype(np.float64))
        assert (rewards[1], terminated[1]) == (reward, end)
    assert columns.high.max() == (2 if name == "gym-pusher" else 1)


def test_what_is_played_in_training_is_kept():
    """Two copies of which one ends early: their episodes, with the actions in physical units."""
    simulator = Recorded(make_simulator("gym-pusher", 2, np.random.default_rng(0)))
    first = simulator.observe()
    for step in range(5):
        if step == 2:
            simulator.reset(np.array([1]))
        simulator.step(np.full((2, 7), 0.5))
    simulator.reset(np.array([0, 1]))
    assert [len(episode.actions) for episode in simulator.episodes] == [2, 5, 3]
    whole = simulator.episodes[1]
    assert (whole.actions == 1.0).all()  # half of the limit, which is 2
    np.testing.assert_array_equal(whole.observations[0], first[0])
    gym = make_gymnasium("gym-pusher")
    gym.reset(seed=int(np.random.default_rng(0).integers(2**31)))
    for t in range(5):
        observation, reward, *_ = gym.step(np.ones(7))
        np.testing.assert_array_equal(whole.observations[t + 1], observation)
        assert whole.rewards[t] == reward
    assert episode_rows(whole).shape == (6, 31) and whole.truncated and not whole.terminated


def test_novelty_rewards_what_is_rarely_seen():
    simulator = Counted(make_simulator("gym-mountain_car", 3, np.random.default_rng(0)), np.random.default_rng(1))
    rewards = np.stack([simulator.step(np.zeros((3, 1)))[0] for _ in range(200)])
    assert rewards.max() == 1.0 and (rewards > 0).all()
    assert rewards[-20:].mean() < 0.5 * rewards[:5].mean()
    counts = 1 / rewards**2
    np.testing.assert_allclose(counts, counts.round(), rtol=1e-9)
