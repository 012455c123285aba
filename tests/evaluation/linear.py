"""A linear system with a quadratic reward, whose values and optimum are known; policies, data and models of it."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import torch
from exact import SPLIT
from torch import Tensor

from wmzoo.collect.environments import ENVIRONMENTS, Environment
from wmzoo.collect.making import layout
from wmzoo.collect.policies import Policy
from wmzoo.data.splits import manifest, merge_variates, split
from wmzoo.data.store import EPISODE, Corpus, make_set, open_corpus, write_corpus
from wmzoo.imagination import Rollout
from wmzoo.trajectories import Episode, episode_rows

NAME, STEPS, START = "linear", 60, 1.0
A, B = np.array([[1.0, 0.1], [0.0, 0.95]]), np.array([[0.01], [0.2]])
Q, R = np.diag([1.0, 0.1]), np.array([[4.0]])


class System(gymnasium.Env):
    """``s' = A s + B a``; the reward is ``-(s' Q s + a R a)`` of the state and the action before the step."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    dt = 0.1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-START, START, 2)
        return self.state.copy(), {}

    def step(self, action):
        a = np.clip(np.asarray(action, float), -1, 1)
        reward = -(self.state @ Q @ self.state + a @ R @ a)
        self.state = A @ self.state + B @ a
        return self.state.copy(), float(reward), False, False, {}


def register(monkeypatch) -> None:
    """Make the system an environment of the zoo, for a test."""
    monkeypatch.setitem(gymnasium.registry, "Linear-v0", gymnasium.envs.registration.EnvSpec("Linear-v0", System))
    known = Environment(
        name=NAME, component="toy", gym_id="Linear-v0", steps=STEPS, unnamed=("qpos:x", "qvel:x"), reference=(-20, 0)
    )
    monkeypatch.setitem(ENVIRONMENTS, NAME, known)


def cost_to_go(gain: np.ndarray | None, steps: int, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """``P`` with the value ``-s P s`` of a policy ``a = -gain s``, or of the best one, and the first gain."""
    P, first = np.zeros((2, 2)), np.zeros((1, 2))
    for _ in range(steps):
        K = gain if gain is not None else gamma * np.linalg.solve(R + gamma * B.T @ P @ B, B.T @ P @ A)
        closed = A - B @ K
        P, first = Q + K.T @ R @ K + gamma * closed.T @ P @ closed, K
    return P, first


def value(gain: np.ndarray | None, steps: int, gamma: float) -> float:
    """Expected discounted return from the system's first states, uniform in a square."""
    return -float(np.trace(cost_to_go(gain, steps, gamma)[0]) * START**2 / 3)


def policies(scales=(0.0, 0.1, 0.3, 0.6, 1.0)) -> dict[str, Policy]:
    """From doing nothing to the best linear policy; none of them reaches the limits."""
    return {f"gain {scale}": policy_of(scale * best_gain()) for scale in scales}


def best_gain() -> np.ndarray:
    return cost_to_go(None, 400, 0.995)[1]


def policy_of(gain: np.ndarray) -> Policy:
    mean = (-gain.astype(np.float32), np.zeros(1, np.float32))
    return Policy(hidden=(), mean=mean, log_std=None, nonlinearity="linear", distribution="clipped")


def corpus_of(folder: Path, episodes: int = 60) -> tuple[Corpus, dict, dict]:
    """Episodes of random actions; the corpus, the manifest of a run on it, and its statistics."""
    rng, env, rows = np.random.default_rng(0), System(), []
    for seed in range(episodes):
        states, rewards = [env.reset(seed=seed)[0]], []
        actions = rng.uniform(-1, 1, (STEPS, 1))
        for action in actions:
            state, reward, *_ = env.step(action)
            states.append(state)
            rewards.append(reward)
        episode = Episode(observations=np.array(states), actions=actions, rewards=np.array(rewards), truncated=True)
        rows.append(episode_rows(episode))
    records = np.array([(r[:, 2].sum(), False, True, 0, i) for i, r in enumerate(rows)], EPISODE)
    names = layout(NAME).names
    write_corpus(folder / "linear.h5", [make_set(NAME, "random", names, 2, 0.1, rows, records, {})], {})
    corpus = open_corpus(folder / "linear.h5")
    item = corpus.sets[f"{NAME}/random"]
    part = split(item, **SPLIT)
    return corpus, manifest(corpus, {item.key: part}, SPLIT), {NAME: merge_variates([(item, part.train)])}


class Model(torch.nn.Module):
    """A world model that knows the system; broken, it takes actions for their opposites and pays half."""

    def __init__(self, variates, broken: bool = False, name: str = "known"):
        super().__init__()
        self.variates, self.broken, self.name, self.context = variates, broken, name, 20
        self.official, self.compat = False, "corrected"
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.asked: list[int] = []

    def rollout(self, window, actions, horizon, *, trajectories=None, clip=False, ending=None, **_):
        count = trajectories or (len(actions) if isinstance(actions, Tensor) else len(window))
        self.asked.append(window.values.shape[1])
        state = window.values[:, -1, :2].double().repeat_interleave(count // len(window), 0)
        a_matrix, b_matrix, q, r = (torch.from_numpy(x) for x in (A, B, Q, R))
        values, taken = [], []
        for h in range(horizon):
            action = (actions[:, h] if isinstance(actions, Tensor) else actions(state.float())).double()
            reward = -((state @ q * state).sum(1) + (action @ r * action).sum(1))
            push = -action if self.broken else action
            state = state @ a_matrix.T + push @ b_matrix.T
            values.append(torch.cat([state, (0.5 if self.broken else 1.0) * reward[:, None]], 1))
            taken.append(action)
        return Rollout(
            values=torch.stack(values, 1).float(),
            actions=torch.stack(taken, 1).float(),
            lengths=torch.full((count,), horizon),
            terminated=torch.zeros(count, dtype=torch.bool),
            outside=0.0,
        )
