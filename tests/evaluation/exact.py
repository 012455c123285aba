"""A curved two-state system, sets of it, and models that know it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wmzoo.data.splits import Split, manifest, merge_variates, split
from wmzoo.data.store import EPISODE, Corpus, TrajectorySet, make_set, open_corpus, write_corpus
from wmzoo.imagination import Rollout
from wmzoo.predictions import GaussianPrediction, Prediction
from wmzoo.trajectories import Episode, Variates, Window, episode_rows

SPLIT = {"seed": 0, "validation": 0.2, "test": 0.3}


def following(states: Tensor, action: Tensor) -> Tensor:
    """The next states and reward ``[B, 3]`` of states ``[B, 2]`` and actions ``[B, 1]``."""
    x, y, a = states[:, 0], states[:, 1], action[:, 0]
    x, y = 0.8 * torch.sin(2 * y) + 0.5 * a * x, 0.6 * x * x + 0.5 * a
    return torch.stack([x, y, x * y], 1)


class Exact(torch.nn.Module):
    """A world model that is right, but for a constant error ``bias`` (in training deviations) and its spread."""

    def __init__(self, variates: dict[str, Variates], bias: float = 0.0, spread: float = 1e-3, name: str = "exact"):
        super().__init__()
        self.variates, self.bias, self.spread, self.name = variates, bias, spread, name
        self.autoregressive, self.official, self.compat = False, False, "corrected"

    def predict(self, window: Window, truth: Tensor | None = None) -> Prediction:
        scale = window.columns.scale[:, :3]
        mean = following(window.values[:, -1, :2], window.values[:, -1, 3:]) + self.bias * scale
        return GaussianPrediction(mean[None], self.spread * scale[None])

    def rollout(self, window: Window, actions: Tensor, horizon: int, sample: bool = False, generator=None) -> Rollout:
        row, values = window.values[:, -1, :3].expand(len(actions), -1), []
        for h in range(horizon):
            row = following(row[:, :2], actions[:, h]) + self.bias * window.columns.scale[:, :3]
            values.append(row)
        return Rollout(
            values=torch.stack(values, 1),
            actions=actions[:, :horizon],
            lengths=torch.full((len(row),), horizon),
            terminated=torch.zeros(len(row), dtype=torch.bool),
            outside=0.0,
        )


class Decoding(Exact):
    """One that is right only when it is told the truth."""

    def __init__(self, variates: dict[str, Variates]):
        super().__init__(variates, bias=0.2, spread=0.1, name="decoding")
        self.autoregressive = True

    def predict(self, window: Window, truth: Tensor | None = None) -> Prediction:
        if truth is None:
            return super().predict(window)
        return GaussianPrediction(truth[None], torch.full_like(truth, 0.1)[None])


def curved_episode(rng: np.random.Generator, length: int, push: float) -> Episode:
    """Random actions of at most ``push``."""
    actions = rng.uniform(-push, push, (length, 1))
    rows = [torch.tensor([[*rng.uniform(-0.5, 0.5, 2), 0.0]])]
    for action in torch.from_numpy(actions):
        rows.append(following(rows[-1][:, :2], action[None]))
    states = torch.cat(rows).numpy()
    return Episode(observations=states[:, :2], actions=actions, rewards=states[1:, 2], truncated=True)


def rows_of(seed: int, episodes: int, push: float, length: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [episode_rows(curved_episode(rng, length, push)) for _ in range(episodes)]


def level(name: str, rows: list[np.ndarray], environment: str = "curved") -> TrajectorySet:
    """A set of given episodes."""
    records = np.array([(r[:, 2].sum(), False, True, 0, i) for i, r in enumerate(rows)], EPISODE)
    return make_set(environment, name, ["x", "y", "reward", "action:a"], 2, 0.1, rows, records, {})


def corpus_of(folder: Path, items: list[TrajectorySet]) -> Corpus:
    write_corpus(folder / "curved.h5", items, {})
    return open_corpus(folder / "curved.h5")


def trained(corpus: Corpus, key: str = "curved/a", **settings) -> tuple[dict, dict[str, Variates], Split]:
    """The manifest, the statistics and the split of a run on one set."""
    settings = {**SPLIT, **settings}
    part = split(corpus.sets[key], **settings)
    about = manifest(corpus, {key: part}, settings)
    return about, {corpus.sets[key].environment: merge_variates([(corpus.sets[key], part.train)])}, part
