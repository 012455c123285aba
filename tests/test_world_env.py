"""A world model as a Gymnasium vector environment: a planted system, ends and restarts, the checker, wrappers."""

from __future__ import annotations

import subprocess
import sys
import types

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_match import check_environments_match
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics
from systems import linear_episode, system_corpus, system_set, toy_recipe, walled_episode

import wmzoo
from wmzoo import checkpoint
from wmzoo.data.splits import merge_variates
from wmzoo.data.store import open_corpus, write_corpus
from wmzoo.errors import WmzooError
from wmzoo.imagination import restart
from wmzoo.model import Next
from wmzoo.predictions import GaussianPrediction
from wmzoo.recipe import Source, check
from wmzoo.runs import prepare
from wmzoo.trajectories import window_of

TURN = 0.95 * np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))[0]
PUSH = np.random.default_rng(8).normal(size=(2, 3)) * 0.3


def toy_variates():
    item = system_set(linear_episode)
    return merge_variates([(item, np.arange(len(item.lengths)))])


def toy_model(backbone="trajworld", **changes):
    return wmzoo.build(check(Source(toy_recipe(backbone=backbone, **changes), {})), {"toy": toy_variates()})


def forgetful(model):
    """The same model reading all rows at every step."""
    for member in model.backbone.copies:
        member.cached = False
    return model


def following(states, actions):
    """The next states ``[B, 3]`` of the planted system; its reward is the first of them."""
    return states @ TURN + actions @ PUSH


def exact_model(**changes):
    """A model that knows the planted system, and imagines as all models do."""
    model = forgetful(toy_model(**changes))

    def next_row(self, window, **_):
        state, action = window.values[:, -1, :3].double(), window.values[:, -1, 4:].double()
        state = state @ torch.from_numpy(TURN) + action @ torch.from_numpy(PUSH)
        row = torch.cat([state, state[:, :1]], 1).float()
        return Next(GaussianPrediction(row[None], torch.ones_like(row)[None]), row, [])

    model.next_row = types.MethodType(next_row, model)
    return model


def first_states(count=6, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def high(states):
    """Episodes end where the first state is above 0.5."""
    return states[:, 0] > 0.5


def exact_env(count=5, horizon=7, ending="never", **options):
    options = {"starts": first_states(), **options}
    return wmzoo.WorldModelEnv(exact_model(), "toy", horizon, num_envs=count, ending=ending, **options)


def actions_of(env, steps, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, *env.action_space.shape)).astype(np.float32)


def test_a_planted_system_is_imagined_as_it_is():
    env = exact_env(horizon=9, ending=high)
    observed, info = env.reset(seed=1)
    assert info == {} and all(any(np.array_equal(o, s) for s in first_states()) for o in observed)
    over, age, ends, truncations = np.zeros(5, bool), np.zeros(5, int), 0, 0
    for action in actions_of(env, 100):
        truth = following(observed, action)
        observed, reward, terminated, truncated, info = env.step(action)
        age = np.where(over, 0, age + 1)
        np.testing.assert_allclose(observed[~over], truth[~over], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(reward, np.where(over, 0, truth[:, 0]), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(terminated, ~over & (observed[:, 0] > 0.5))
        np.testing.assert_array_equal(truncated, ~over & (age == 9))
        assert all(any(np.array_equal(o, s) for s in first_states()) for o in observed[over])
        assert info == {}
        over, ends, truncations = terminated | truncated, ends + terminated.sum(), truncations + truncated.sum()
    assert ends > 10 and truncations > 5


class True_(gymnasium.Env):
    """The planted system itself, one copy."""

    def __init__(self, horizon, start):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,))
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,))
        self.horizon, self.start = horizon, start

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.age, self.state = 0, self.start
        return self.state, {}

    def step(self, action):
        self.age, self.state = self.age + 1, following(self.state, action).astype(np.float32)
        return self.state, float(self.state[0]), bool(self.state[0] > 0.5), self.age >= self.horizon, {}


def test_it_is_what_gymnasium_makes_of_copies_of_the_true_system():
    start = first_states()[:1]
    env = exact_env(count=3, horizon=6, ending=high, starts=start)
    copies = SyncVectorEnv([lambda: True_(6, start[0])] * 3)
    assert env.metadata["autoreset_mode"] == copies.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert env.observation_space == copies.observation_space and env.observation_space.shape == (3, 3)
    kinds = set()
    np.testing.assert_array_equal(env.reset(seed=0)[0], copies.reset(seed=0)[0])
    for action in actions_of(env, 80):
        mine, theirs = env.step(action), copies.step(action)
        for own, other in zip(mine[:4], theirs[:4], strict=True):
            assert own.dtype == other.dtype and own.shape == other.shape
            np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5)
        assert mine[4] == theirs[4]
        kinds |= set(zip(mine[2].tolist(), mine[3].tolist(), strict=True))
    assert kinds >= {(False, False), (True, False), (False, True)}


def test_an_episode_may_terminate_at_its_horizon():
    env = exact_env(count=1, horizon=1, ending=lambda states: states[:, 0] > -9)
    env.reset(seed=0)
    _, _, terminated, truncated, _ = env.step(np.zeros((1, 2)))
    assert terminated.all() and truncated.all()


def test_those_that_end_together_begin_together():
    env, calls = exact_env(horizon=3), []
    inner = env.model.next_row
    env.model.next_row = lambda window, **options: calls.append(len(window)) or inner(window, **options)
    env.reset(seed=0)
    flags = [env.step(action)[3] for action in actions_of(env, 12)]
    np.testing.assert_array_equal(np.stack(flags), np.tile(np.arange(12) % 4 == 2, (5, 1)).T)
    assert calls == [5] * 9  # nothing is imagined where all begin anew


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("world_env")


@pytest.fixture
def corpus(folder, monkeypatch):
    """A corpus where recipes of the toy models say that it lies."""
    monkeypatch.chdir(folder)
    if not (folder / "toy.h5").exists():
        system_corpus(folder / "toy.h5", length=12)
    return open_corpus(folder / "toy.h5")


def recorded_env(backbone="trajworld", make=toy_model, **options):
    options = {"num_envs": 6, "horizon": 9, "ending": high, **options}
    return wmzoo.WorldModelEnv(make(backbone), "toy", **options)


def lively(model):
    """The same model with random weights large enough that its predictions depend on all of its history."""
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.backbone.parameters():
            weights += 0.3 * torch.randn(weights.shape, generator=draws)
    return model


@pytest.mark.parametrize("compat", ["corrected", "official"])
@pytest.mark.parametrize("backbone", ["trajworld", "tdm"])
def test_memories_survive_restarts(backbone, compat, corpus):
    def imagine(change):
        rng = np.random.default_rng(0)
        some = lambda states: torch.from_numpy(rng.random(len(states)) < 0.1)  # noqa: E731
        env = recorded_env(backbone, lambda name: change(lively(toy_model(name, compat=compat))), ending=some)
        found = [(env.reset(seed=3)[0], np.zeros(6), np.zeros(6, bool))]
        for action in actions_of(env, 60):
            observed, reward, terminated, truncated, _ = env.step(action)
            found.append((observed, reward, terminated | truncated))
        return [np.stack(x) for x in zip(*found, strict=True)]

    kept, plain = imagine(lambda model: model), imagine(forgetful)
    for own, other in zip(kept, plain, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-4)
    assert kept[0].std(0).min() > 0.1
    together = kept[2].sum(1)
    assert ((0 < together) & (together < 6)).sum() > 10  # some ended while others went on


def recorded(item, state):
    """The rows of the episode of a set that come before a state, and it."""
    (place,) = np.flatnonzero((item.data[:, :3] == state).all(1))
    episode = item.episode_of(place)
    assert place < item.offsets[episode + 1] - 1  # no episode begins where one has ended
    return list(item.data[item.offsets[episode] : place + 1])


def test_every_episode_sees_its_own_history(corpus):
    env, item = recorded_env(), corpus.sets["toy/a"]
    observed, _ = env.reset(seed=0)
    own, seen = [[] for _ in range(6)], set()
    over, began = np.zeros(6, bool), np.ones(6, bool)
    for action in actions_of(env, 80):
        window = env._state.window
        for i in range(6):
            real = window.values[i][window.valid[i]].numpy()
            if began[i]:
                own[i] = recorded(item, observed[i])
                assert len(real) == min(len(own[i]), window.values.shape[1])
            last = np.stack(own[i])[-len(real) :]
            np.testing.assert_array_equal(real[:, :4], last[:, :4])
            np.testing.assert_array_equal(real[:-1, 4:], last[:-1, 4:])
            seen.add((len(real), window.values.shape[1]))
            own[i][-1] = np.concatenate([own[i][-1][:4], action[i]])
        observed, reward, terminated, truncated, _ = env.step(action)
        began, over = over, terminated | truncated
        for i in np.flatnonzero(~began):
            own[i].append(np.concatenate([observed[i], reward[i : i + 1], [0, 0]]).astype(np.float32))
    assert {rows for rows, _ in seen} >= {1, 2, 3, 4, 5} and {size for _, size in seen} == {3, 4, 5}


def test_starts_are_steps_of_training_episodes_alone(corpus):
    env = recorded_env(num_envs=300)
    observed, _ = env.reset(seed=0)
    part = prepare(env.model.recipe).splits[0].train
    item = corpus.sets["toy/a"]
    place = np.array([np.flatnonzero((item.data[:, :3] == o).all(1))[0] for o in observed])
    assert set(item.episode_of(place)) == set(part)
    assert set(place - item.offsets[item.episode_of(place)]) == set(range(12))


def test_starts_may_be_histories():
    item, variates = system_set(linear_episode), toy_variates()
    histories = window_of(np.stack([item.data[:4], item.data[50:54]]), variates)
    env = wmzoo.WorldModelEnv(toy_model(), variates, num_envs=8, starts=histories, ending="never")
    observed, _ = env.reset(seed=0)
    assert {tuple(o) for o in observed} == {tuple(item.data[3, :3]), tuple(item.data[53, :3])}
    assert env._state.window.values.shape[1] == 4
    action = actions_of(env, 1)[0]
    alone = env.model.rollout(histories, torch.from_numpy(action[:2, None]), 1).states[:, 0]
    which = [0 if tuple(o) == tuple(item.data[3, :3]) else 1 for o in observed]
    told = torch.from_numpy(env.step(np.stack([action[w] for w in which]))[0])
    torch.testing.assert_close(told, alone[which], rtol=1e-5, atol=1e-5)


def play(env, seed, steps=30):
    found = [env.reset(seed=seed)[0]]
    for action in actions_of(env, steps):
        observed, reward, terminated, truncated, _ = env.step(action)
        found.append(np.column_stack([observed, reward, terminated, truncated]))
    return np.concatenate([x.ravel() for x in found])


@pytest.mark.parametrize("options", [{}, {"sample": True}, {"ensemble": "trajectory"}, {"ensemble": "step"}])
def test_a_seed_decides_everything(corpus, options):
    changes = {"model": toy_recipe(backbone="mlp_ensemble")["model"]}
    changes["model"]["backbone"]["elites"] = 2
    made = [recorded_env("mlp_ensemble", lambda _: toy_model("mlp_ensemble", **changes), **options) for _ in range(2)]
    first = play(made[0], 5)
    torch.manual_seed(99)
    made[1].reset(seed=1)
    np.testing.assert_array_equal(first, play(made[1], 5))
    assert not np.array_equal(first, play(made[0], 6))
    again, unseeded = made[0].reset(seed=5)[0], made[0].reset()[0]
    np.testing.assert_array_equal(again, made[1].reset(seed=5)[0])
    np.testing.assert_array_equal(unseeded, made[1].reset()[0])
    assert not np.array_equal(again, unseeded)


def test_samples_differ_and_expectations_do_not(corpus):
    start = dict(starts=first_states(1), ending="never")
    for sample, count in ((False, 1), (True, 6)):
        env = recorded_env(sample=sample, **start)
        env.reset(seed=0)
        assert len({tuple(o) for o in env.step(np.zeros((6, 2)))[0]}) == count


def test_a_new_episode_draws_its_own_member():
    model = toy_model("mlp_ensemble", model={**toy_recipe(backbone="mlp_ensemble")["model"]})
    model.elites = torch.arange(2)
    window = window_of(np.zeros((64, 1, 6), np.float32), toy_variates())
    state = model.initial(window, ensemble="trajectory", generator=torch.Generator().manual_seed(0))
    before = state.member.clone()
    state = restart(model, state, torch.arange(32), window.index(slice(32)), torch.Generator().manual_seed(1))
    assert torch.equal(state.member[32:], before[32:]) and not torch.equal(state.member[:32], before[:32])
    assert state.member.unique().tolist() == [0, 1]


def test_what_was_learned_of_endings_is_not_observed(folder, monkeypatch):
    monkeypatch.chdir(folder)
    write_corpus(folder / "walled.h5", [system_set(walled_episode, episodes=40)], {})
    recipe = check(Source(toy_recipe("walled.h5", data={"terminated": True}), {}))
    model = wmzoo.build(recipe, prepare(recipe).variates)
    flag = []

    def next_row(self, window, **_):
        state = window.values[:, -1, :1] + 0.4 * window.values[:, -1, 3:]
        row = torch.cat([state, (state.abs() >= 1).float(), torch.ones_like(state)], 1)
        flag.append(row[:, 1])
        return Next(GaussianPrediction(row[None], torch.ones_like(row)[None]), row, [])

    forgetful(model).next_row = types.MethodType(next_row, model)
    for starts in (None, np.zeros((1, 1)), np.zeros((1, 2))):
        env = wmzoo.WorldModelEnv(model, "toy", 12, num_envs=4, starts=starts)
        assert env.single_observation_space.shape == (1,) and env.reset(seed=0)[0].shape == (4, 1)
        over, ends = np.zeros(4, bool), 0
        for _ in range(40):
            observed, reward, terminated, truncated, _ = env.step(np.ones((4, 1)))
            np.testing.assert_array_equal(terminated[~over], np.abs(observed[~over, 0]) >= 1)
            assert (reward[~over] == 1).all()
            over, ends = terminated | truncated, ends + terminated.sum()
        assert ends > 20


class Alone(gymnasium.Env):
    """The only copy of a vector environment as a single environment, since Gymnasium's checker takes no other."""

    def __init__(self, env):
        self.env, self.metadata = env, {"render_modes": []}
        self.observation_space, self.action_space = env.single_observation_space, env.single_action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        observed, info = self.env.reset(seed=seed, options=options)
        self._np_random = self.env.np_random
        return observed[0], info

    def step(self, action):
        observed, reward, terminated, truncated, info = self.env.step(action[None])
        return observed[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), info


@pytest.mark.parametrize("options", [{}, {"sample": True}, {"clip": True}])
def test_it_passes_the_checker(corpus, options):
    def made():
        env = Alone(recorded_env(num_envs=1, **options))
        env.spec = gymnasium.envs.registration.EnvSpec("toy-v0", entry_point=made, nondeterministic=False)
        return env

    check_env(made())
    check_environments_match(made(), made(), num_steps=30)


def test_clipped_observations_lie_in_their_space(corpus):
    env = recorded_env(clip=True, starts=first_states() * 9)
    observed, _ = env.reset(seed=0)
    assert observed in env.observation_space and np.isfinite(env.single_observation_space.high).all()
    for action in actions_of(env, 30):
        observed, reward, *_ = env.step(action)
        assert observed in env.observation_space and (reward <= toy_variates().high[3]).all()
    loose = recorded_env(starts=first_states() * 9)
    assert np.abs(loose.reset(seed=0)[0]).max() > env.single_observation_space.high.max()


def test_spaces_are_batched_and_typed(corpus):
    env = recorded_env()
    for space, single, width in (
        (env.observation_space, env.single_observation_space, 3),
        (env.action_space, env.single_action_space, 2),
    ):
        assert single.shape == (width,) and space.shape == (6, width) and space.dtype == single.dtype == np.float32
    np.testing.assert_array_equal(env.single_action_space.low, toy_variates().low[4:])
    assert env.reset(seed=0)[0] in env.observation_space
    observed, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert observed in env.observation_space and reward.dtype == np.float64
    assert terminated.dtype == truncated.dtype == bool and reward.shape == terminated.shape == truncated.shape == (6,)


def test_what_was_returned_is_the_callers_own():
    env, other = exact_env(), exact_env()
    observed, untouched = env.reset(seed=0)[0], other.reset(seed=0)[0]
    np.testing.assert_array_equal(observed, untouched)
    observed[:] = 99
    np.testing.assert_array_equal(env.step(np.ones((5, 2)))[0], other.step(np.ones((5, 2)))[0])


def test_a_known_environment_has_its_own_action_limits_and_rule():
    names = (*(f"x{i}" for i in range(11)), "reward", "a", "b", "c")
    roles = np.repeat([0, 1, 2], [11, 1, 3])
    half = np.full(15, 0.5, np.float32)
    variates = wmzoo.trajectories.Variates(
        names=names, roles=roles, low=-half, high=half, mean=0 * half, std=half, dt=0.008
    )
    model = wmzoo.build(check(Source(toy_recipe(), {})), {"hopper": variates})
    env = wmzoo.WorldModelEnv(model, "hopper", num_envs=2, starts=np.eye(11)[:1] * 1.2)
    assert (env.single_action_space.low == -1).all() and (env.single_action_space.high == 1).all()
    assert env.horizon == 25
    env.reset(seed=0)
    assert env.step(np.zeros((2, 3)))[2].all()  # an untrained model imagines a hopper that lies on the ground


def test_statistics_of_episodes_are_recorded():
    env = RecordEpisodeStatistics(exact_env(horizon=4, starts=first_states(1)))
    observed, _ = env.reset(seed=0)
    states, actions = observed.astype(float), actions_of(env, 5)
    total = np.zeros(5)
    for action in actions[:4]:
        states = following(states, action)
        total += states[:, 0]
        _, _, _, truncated, info = env.step(action)
    assert truncated.all()
    np.testing.assert_allclose(info["episode"]["r"], total, rtol=1e-5)
    assert info["episode"]["l"].tolist() == [4] * 5
    env.step(actions[4])
    env.step(actions[4])
    assert env.env._steps.tolist() == [1] * 5 and env.episode_lengths.tolist() == [1] * 5


def test_observations_may_be_normalised():
    env = NormalizeObservation(exact_env(count=32))
    env.reset(seed=0)
    for action in actions_of(env, 40):
        observed = env.step(action)[0]
    assert observed.shape == (32, 3) and np.abs(observed).max() < 10 and 0.5 < observed.std() < 2


def test_a_row_that_ended_an_episode_is_not_gone_on_from():
    model = exact_model()
    env = wmzoo.WorldModelEnv(model, "toy", 50, num_envs=2, starts=first_states(), ending=lambda s: s[:, 0].abs() > 1e6)
    env.reset(seed=0)
    huge = np.array([[1e30, 0], [0, 0]], np.float32)
    assert env.step(huge)[2].tolist() == [True, False]
    seen, inner = [], model.next_row
    model.next_row = lambda window, **options: seen.append(window.values[0, -1]) or inner(window, **options)
    observed = env.step(np.array([[np.nan, 0], [0, 0]]))[0]
    assert seen[0].abs().max() < 10 and np.abs(observed).max() < 10


def test_a_run_is_opened_by_its_folder(corpus, folder):
    model, path = toy_model(), folder / "runs" / "toy" / "one"
    path.mkdir(parents=True)
    checkpoint.save(path / checkpoint.BEST, model, {}, {})
    for run in ("toy/one", path, str(path / checkpoint.BEST)):
        env = wmzoo.WorldModelEnv(run, "toy", num_envs=2, ending="never")
        np.testing.assert_array_equal(env.reset(seed=0)[0], recorded_env(num_envs=2).reset(seed=0)[0])


def wide_window():
    """Of an environment with one state more."""
    item = system_set(linear_episode, states=4)
    return window_of(item.data[None, :3], merge_variates([(item, np.arange(20))]))


WRONG = {
    "no such run": (dict(run="nowhere"), "nowhere: no run and no checkpoint"),
    "unknown environment": (dict(variates="toi"), 'variates: trajworld knows no "toi". Did you mean "toy"'),
    "no horizon": (dict(horizon=0), "horizon: is 0; it must be at least 1"),
    "no copies": (dict(num_envs=0), "num_envs: is 0; it must be at least 1"),
    "states of another width": (dict(starts=np.zeros((4, 5))), r"starts: .*give states \[N, 3\]"),
    "one state": (dict(starts=np.zeros(3)), r"starts: .*give states \[N, 3\]"),
    "a window of another width": (dict(starts=wide_window()), r"starts: .*or a window \[N, T, 6\]"),
    "a window without rows": (dict(starts=np.zeros((0, 0, 6))), "starts: .*N being at least 1"),
    "no states": (dict(starts=np.zeros((0, 3))), "starts: .*N being at least 1"),
    "states that are no numbers": (dict(starts=np.full((4, 3), np.nan)), "starts: .*NaN"),
    "no rule": (dict(ending="auto"), 'terminations: "toy" has no rule'),
    "no rule of other columns": (dict(ending="auto", variates=toy_variates()), '"given variates" has no rule'),
    "misspelled ending": (dict(ending="nevr"), 'Did you mean "never"'),
    "no corpus": (dict(starts=None), "starts: toy.h5: no such corpus.* Or give starts"),
    "other columns": (dict(starts=None, variates=toy_variates()), "was not trained on these variates; give starts"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told(case, workdir):
    change, told = WRONG[case]
    given = {"run": toy_model(), "variates": "toy", "starts": first_states(), "ending": "never", **change}
    with pytest.raises(WmzooError, match=told):
        wmzoo.WorldModelEnv(given.pop("run"), given.pop("variates"), **given)


def test_columns_that_do_not_fit_the_model_are_refused():
    model = toy_model("mlp_ensemble")
    wide = merge_variates([(system_set(linear_episode, states=9, actions=2), np.arange(5))])
    with pytest.raises(WmzooError, match="variates: the environment has"):
        wmzoo.WorldModelEnv(model, wide, starts=np.zeros((1, 9)), ending="never")


def test_a_corpus_that_changed_its_columns_is_refused(workdir):
    system_corpus(workdir / "toy.h5", states=4)
    with pytest.raises(WmzooError, match="toy.h5 is not what trajworld was trained on; give starts"):
        recorded_env()


def test_wrong_steps_are_told():
    env = exact_env()
    with pytest.raises(WmzooError, match="step: no episode has begun; call reset first"):
        env.step(np.zeros((5, 2)))
    with pytest.raises(WmzooError, match="reset: options \\['place'\\] are not known"):
        env.reset(options={"place": 1})
    env.reset(seed=0)
    with pytest.raises(WmzooError, match=r"step: actions are \[5, 3\]; give \[5, 2\]"):
        env.step(np.zeros((5, 3)))
    with pytest.raises(WmzooError, match="of 5 states it made list; it must make one bool"):
        broken = exact_env(ending=lambda states: [False])
        broken.reset(seed=0)
        broken.step(np.zeros((5, 2)))


def test_actions_that_are_no_numbers_are_told():
    env = wmzoo.WorldModelEnv(toy_model(), "toy", starts=first_states(), ending="never")
    env.reset(seed=0)
    with pytest.raises(WmzooError, match="prediction is not finite for 1 of 1 windows"):
        env.step(np.full((1, 2), np.nan))


def test_importing_the_package_imports_no_environment():
    code = (
        "import sys, wmzoo; assert 'gymnasium' not in sys.modules and 'torch' not in sys.modules; wmzoo.WorldModelEnv"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
