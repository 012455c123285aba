"""Small synthetic systems whose right answer is known, and tiny recipes of every part."""

from __future__ import annotations

import numpy as np

from wmzoo.data.store import EPISODE, TrajectorySet, make_set
from wmzoo.trajectories import Episode, episode_rows


def planted_episode(rng: np.random.Generator, length: int, states: int = 2, actions: int = 1) -> Episode:
    """Each action decides the next state and the next reward, and nothing else does.

    Actions are random signs; the next states are ±0.5 copies of the action's sign and the reward is 0.3 of it, so
    that only the right pairing of state, action and reward can be predicted at all.
    """
    action = rng.choice([-1.0, 1.0], (length, actions))
    sign = np.sign(action[:, :1])
    following = sign * 0.5 * np.where(np.arange(states) % 2, -1, 1)
    first = rng.choice([-0.5, 0.5], (1, states))
    return Episode(
        observations=np.concatenate([first, following]), actions=action, rewards=0.3 * sign[:, 0], truncated=True
    )


def linear_episode(rng: np.random.Generator, length: int, states: int = 3, actions: int = 2) -> Episode:
    """A stable rotation pushed by smooth random actions; the reward is the first state after the step."""
    turn = 0.95 * np.linalg.qr(np.random.default_rng(7).normal(size=(states, states)))[0]
    push = np.random.default_rng(8).normal(size=(actions, states)) * 0.3
    action = np.clip(np.cumsum(rng.normal(size=(length, actions)) * 0.3, 0), -1, 1)
    observations = [rng.normal(size=states)]
    for a in action:
        observations.append(observations[-1] @ turn + a @ push)
    stacked = np.stack(observations)
    return Episode(observations=stacked, actions=action, rewards=stacked[1:, 0], truncated=True)


def system_set(
    make=linear_episode, environment="toy", level="a", episodes=20, length=40, seed=0, component="", **sizes
) -> TrajectorySet:
    """Episodes of a system as a trajectory set."""
    rng = np.random.default_rng(seed)
    made = [make(rng, length, **sizes) for _ in range(episodes)]
    states, actions = made[0].observations.shape[1], made[0].actions.shape[1]
    names = [*(f"x{i}" for i in range(states)), "reward", *(f"action:{i}" for i in range(actions))]
    records = np.array([(e.rewards.sum(), e.terminated, e.truncated, -1, i) for i, e in enumerate(made)], EPISODE)
    rows = [episode_rows(e) for e in made]
    return make_set(environment, level, names, states, 0.05, rows, records, {"made": "for a test"}, component=component)


SMALL = {
    "trajworld": {"blocks": 1, "width": 32, "heads": 2, "dropout": 0.0},
    "tdm": {"blocks": 2, "width": 32, "heads": 2, "dropout": 0.0},
    "mixer": {"blocks": 1, "width": 32, "slots": 4},
    "mlp_ensemble": {"members": 2, "elites": 1, "layers": 2, "width": 32, "max_states": 6, "max_actions": 4},
}


def toy_recipe(corpus="toy.h5", tokenizer="gauss_hist", backbone="trajworld", head="categorical", **changes) -> dict:
    """Plain values of a tiny recipe; ``changes`` are top-level groups to update."""
    bins = {"bins": 16}
    values = {
        "name": backbone,
        "experiment": "toy",
        "data": {"corpus": str(corpus), "environments": ["toy/*"], "window": 6},
        "model": {
            "tokenizer": {"name": tokenizer, **({} if tokenizer == "continuous" else bins)},
            "backbone": {"name": backbone, **SMALL.get(backbone, {})},
            "head": {"name": head, **(bins if head == "categorical" else {})},
        },
        "train": {"steps": 20, "batch_size": 16, "learning_rate": 3e-3, "warmup": 0, "clip": 1.0, "validate_every": 10},
    }
    for name, update in changes.items():
        values[name] = {**values[name], **update} if isinstance(values.get(name), dict) else update
    return values
