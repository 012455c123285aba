"""The batched simulator against Gymnasium itself, and the table of environments."""

import subprocess
import sys

import numpy as np
import pytest

from wmzoo.collect.environments import ENVIRONMENTS, EPISODE_STEPS, find_environment
from wmzoo.collect.simulators import Simulator, layout, make_gymnasium
from wmzoo.errors import WmzooError


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_columns_come_from_the_model(name):
    columns, gym = layout(name), make_gymnasium(name)
    assert columns.states == gym.observation_space.shape[0]
    assert len(columns.names) == len(set(columns.names)) == columns.states + 1 + gym.action_space.shape[0]
    assert columns.names[columns.states] == "reward"
    assert all(n.startswith(("qpos:", "qvel:")) for n in columns.names[: columns.states])
    np.testing.assert_array_equal(columns.low, gym.action_space.low)
    np.testing.assert_array_equal(columns.high, gym.action_space.high)
    # Policies clip to plus and minus 1.
    assert set(columns.low) == {-1.0} and set(columns.high) == {1.0}
    assert columns.dt == gym.unwrapped.dt


def test_known_names_and_intervals():
    assert layout("hopper").names[:2] == ("qpos:rootz", "qpos:rooty")
    assert layout("halfcheetah").names[-1].startswith("action:ffoot")
    assert [layout(n).dt for n in ("hopper", "halfcheetah", "walker2d")] == pytest.approx([0.008, 0.05, 0.008])


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_simulator_equals_gymnasium(name):
    """Every step is compared from Gymnasium's own state, as contacts amplify rounding in a free run."""
    gym, copies = make_gymnasium(name), 3
    simulator, rng = Simulator(name, copies, np.random.default_rng(5)), np.random.default_rng(0)
    gym.reset(seed=5)
    ends = 0
    for step in range(600):
        which = step % copies
        data = gym.unwrapped.data
        simulator.states[which] = np.concatenate([[data.time], data.qpos, data.qvel])
        action = rng.uniform(-1, 1, simulator.model.nu)
        observation, reward, terminated, _, _ = gym.step(action)
        rewards, terminations = simulator.step(action[None], np.array([which]))
        np.testing.assert_allclose(simulator.observe()[which], observation, rtol=0, atol=1e-10)
        np.testing.assert_allclose(rewards[0], reward, rtol=0, atol=1e-10)
        assert terminations[0] == terminated
        if terminated:
            ends += 1
            gym.reset()
    assert ends > 3 or name == "halfcheetah"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_first_states_equal_gymnasiums(name):
    gym = make_gymnasium(name)
    simulator = Simulator(name, 1, np.random.default_rng(11))
    np.testing.assert_array_equal(simulator.observe()[0], gym.reset(seed=11)[0])


def test_only_the_chosen_copies_advance():
    simulator = Simulator("hopper", 4, np.random.default_rng(0))
    before = simulator.states.copy()
    simulator.step(np.zeros((2, 3)), np.array([1, 3]))
    assert simulator.ages.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(simulator.states[[0, 2]], before[[0, 2]])
    assert (simulator.states[[1, 3]] != before[[1, 3]]).any(axis=1).all()


def test_time_limit_is_gymnasiums():
    assert make_gymnasium("halfcheetah").spec.max_episode_steps == EPISODE_STEPS


def test_listing_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; from wmzoo.collect.environments import ENVIRONMENTS; assert len(ENVIRONMENTS) == 3; "
        "print(sorted({'torch', 'gymnasium', 'mujoco', 'h5py'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, text=True).strip() == "[]"


def test_making_an_environment_is_silent(tmp_path):
    code = "from wmzoo.collect.simulators import make_gymnasium; make_gymnasium('halfcheetah').reset(seed=0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    assert not list(tmp_path.iterdir())


def test_scores_and_misspelled_names():
    hopper = ENVIRONMENTS["hopper"]
    assert hopper.score(hopper.random_return) == 0
    assert hopper.score(hopper.expert_return) == pytest.approx(100)
    with pytest.raises(WmzooError, match='Did you mean "hopper"'):
        find_environment("hoper")
