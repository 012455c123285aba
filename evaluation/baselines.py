"""Values of policies without a world model: fitted Q evaluation, importance sampling, and the behaviour's own return.

The libraries that offer the first two pin versions of Gymnasium that the simulators here can't use, so both are
written out: they are short, and all policies of an environment are fitted at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor, nn

from wmzoo.collect.policies import Policy
from wmzoo.data.store import TrajectorySet
from wmzoo.evaluation.ranking import Values, resampled
from wmzoo.progress import bar

WIDTH = 128
"""Of the hidden layers of Q functions and of the cloned behaviour."""
RATE, BATCH, AVERAGING = 1e-3, 256, 0.05
"""Adam's learning rate, the batch, and the share of the new weights in the target network after each step."""
CLONING_STEPS = 2000
EDGE = 0.01
"""Actions this close to a limit count as one point, since policies of clipped noise put mass there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Behaviour:
    """The behaviour's episodes, one below the other.

    Attributes:
        states: ``[R, m]`` and ``after``, ``[R, m]``, of each transition, physical units.
        actions: ``[R, n]``, in units of the limits.
        rewards: ``[R]``; terminated: ``[R]`` bool.
        lengths: ``[N]`` transitions of each episode.
    """

    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    after: np.ndarray
    terminated: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, chosen: Sequence[tuple[TrajectorySet, np.ndarray]], low: np.ndarray, high: np.ndarray) -> Behaviour:
        """Read episodes.

        Args:
            chosen: sets of one environment, with the indices of their episodes.
            low, high: action limits, ``[n]``.
        """
        parts = [(item.rows(int(i)), bool(item.episodes["terminated"][i])) for item, found in chosen for i in found]
        m = chosen[0][0].states
        ends = [
            np.arange(len(rows) - 1) == len(rows) - 2 if done else np.zeros(len(rows) - 1, bool) for rows, done in parts
        ]
        actions = np.concatenate([rows[:-1, m + 1 :] for rows, _ in parts])
        return cls(
            states=np.concatenate([rows[:-1, :m] for rows, _ in parts]),
            actions=(2 * (actions - low) / (high - low) - 1).astype(np.float32),
            rewards=np.concatenate([rows[1:, m] for rows, _ in parts]),
            after=np.concatenate([rows[1:, :m] for rows, _ in parts]),
            terminated=np.concatenate(ends),
            lengths=np.array([len(rows) - 1 for rows, _ in parts]),
        )

    def normalised(self, states: np.ndarray) -> np.ndarray:
        """States ``[.., m]`` in units of the behaviour's spread around its mean, float32."""
        center, spread = self._moments
        return ((states - center) / spread).astype(np.float32)

    @functools.cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        return self.states.mean(0), self.states.std(0) + 1e-6

    @property
    def first(self) -> np.ndarray:
        """``[N, m]`` first states."""
        return self.states[np.cumsum(self.lengths) - self.lengths]

    def padded(self, values: np.ndarray) -> np.ndarray:
        """``[R]`` values of transitions as ``[N, L]``, zeros behind shorter episodes."""
        table = np.zeros((len(self.lengths), self.lengths.max()))
        table[np.arange(table.shape[1]) < self.lengths[:, None]] = values
        return table


def behaviour_return(data: Behaviour, policies: int, gamma: float, draws: int) -> Values:
    """The floor: whatever the policy, the behaviour's mean discounted return.

    Args:
        data: the behaviour.
        policies: their number, ``P``.
        gamma: discount factor.
        draws: resamples of the episodes.
    """
    rewards = data.padded(data.rewards)
    returns = rewards @ gamma ** np.arange(rewards.shape[1])
    return resampled(np.repeat(returns[None], policies, 0), draws)


def importance_sampling(data: Behaviour, policies: Sequence[Policy], gamma: float, draws: int, quiet: bool) -> Values:
    """Per-decision importance sampling, self-normalised at each step, with a behaviour that is cloned from the data.

    Source: Precup et al. (2000); Fu et al. (2021), appendix A, whose normalisation it is.

    Args:
        data: the behaviour.
        policies: ``P`` of them.
        gamma: discount factor.
        draws: resamples of the episodes.
        quiet: show no progress.
    """
    mean, std = _clone(data, quiet)
    cloned = _log_probability(data.actions, mean, std, "clipped_gaussian")
    rewards = data.padded(data.rewards) * gamma ** np.arange(data.lengths.max())
    weights = []
    for policy in policies:
        ratio = _log_probability(data.actions, *policy.parameters(data.states), policy.distribution) - cloned
        # Behind the end of an episode the weight stays what it was.
        weights.append(np.cumsum(data.padded(ratio), 1))
    count = len(data.lengths)
    picked = np.random.default_rng(0).integers(0, count, (draws, count))
    # How often each episode is in each resample; the first row is the data as they are.
    often = np.concatenate([np.ones((1, count)), [np.bincount(row, minlength=count) for row in picked]])
    found = np.stack([_weighted(w, rewards, often) for w in weights], 1)
    return Values(mean=found[0], draws=found[1:])


def _weighted(log_weights: np.ndarray, rewards: np.ndarray, often: np.ndarray) -> np.ndarray:
    """The sum over steps of the weighted mean of rewards ``[N, L]``, for each of ``[D, N]`` resamples."""
    weights = np.exp(log_weights - log_weights.max(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (often @ (weights * rewards)) / (often @ weights)
    return np.nan_to_num(means).sum(1)


def _clone(data: Behaviour, quiet: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation ``[R, n]`` of a Gaussian policy fitted to the behaviour's actions."""
    states = torch.from_numpy(data.normalised(data.states))
    actions = torch.from_numpy(data.actions)
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(states.shape[1], WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, 2 * actions.shape[1]),
        )
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    with bar("clone the behaviour", CLONING_STEPS, quiet=quiet) as report:
        for step in range(CLONING_STEPS):
            rows = torch.randint(len(states), (BATCH,), generator=generator)
            mean, log_std = net(states[rows]).chunk(2, 1)
            log_std = log_std.clamp(-5, 2)
            loss = (0.5 * ((actions[rows] - mean) / log_std.exp()) ** 2 + log_std).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            report(step + 1, "")
    with torch.no_grad():
        mean, log_std = net(states).chunk(2, 1)
    return mean.numpy(), log_std.clamp(-5, 2).exp().numpy()


def _log_probability(actions: np.ndarray, mean: np.ndarray, std: np.ndarray, distribution: str) -> np.ndarray:
    """Log density ``[R]`` of actions ``[R, n]``; the logarithm of the mass at the limits for those near them.

    A deterministic policy is taken as one of a little noise.
    """
    std = np.maximum(np.asarray(std, np.float64), 1e-2)
    squashed = distribution == "tanh_gaussian"
    edge = np.arctanh(1 - EDGE) if squashed else 1 - EDGE
    inner = np.clip(actions.astype(np.float64), -1 + EDGE, 1 - EDGE)
    slope = np.log1p(-(inner**2)) if squashed else 0.0
    density = norm.logpdf(np.arctanh(inner) if squashed else inner, mean, std) - slope
    found = np.where(actions >= 1 - EDGE, norm.logsf(edge, mean, std), density)
    return np.where(actions <= -1 + EDGE, norm.logcdf(-edge, mean, std), found).sum(1)


def fitted_q(data: Behaviour, policies: Sequence[Policy], gamma: float, steps: int, draws: int, quiet: bool) -> Values:
    """Fitted Q evaluation (Le et al. 2019, algorithm 3) with a network for each policy, all fitted together.

    Args:
        data: the behaviour.
        policies: ``P`` of them.
        gamma: discount factor.
        steps: of Adam, with a target network that follows slowly.
        draws: resamples of the initial states.
        quiet: show no progress.
    """
    rng = np.random.default_rng(0)
    longest = 1 / max(1 - gamma, 1e-3)  # steps that count
    scale = float(np.abs(data.rewards).mean() * longest) or 1.0

    def inputs(states: np.ndarray, actions: np.ndarray) -> Tensor:
        return torch.from_numpy(np.concatenate([data.normalised(states), actions], -1).astype(np.float32))

    here = inputs(data.states, data.actions)
    # One action of each policy in each next state; sampling again in every step changes nothing on average.
    then = torch.stack([inputs(data.after, policy.act(data.after, rng)) for policy in policies])
    rewards = torch.from_numpy((data.rewards / scale).astype(np.float32))
    going = torch.from_numpy(gamma * ~data.terminated).float()
    # No return can lie beyond these.
    least, most = (x.item() * longest for x in rewards.aminmax())

    def wanted(target: Sequence[Tensor], rows: Tensor) -> Tensor:
        following = _apply(target, then[:, rows]).clamp(min(least, 0.0), max(most, 0.0))
        return rewards[rows] + going[rows] * following

    found = _fit(len(policies), here, wanted, steps, quiet)
    first = data.first
    with torch.no_grad():
        asked = torch.stack([inputs(first, policy.act(first, rng)) for policy in policies])
        return resampled(scale * _apply(found, asked).numpy().astype(np.float64), draws)


def _fit(
    count: int, here: Tensor, wanted: Callable[[Sequence[Tensor], Tensor], Tensor], steps: int, quiet: bool
) -> list[Tensor]:
    """Fit ``count`` networks to what a slowly following copy of themselves makes them want.

    Args:
        count: of networks, ``P``.
        here: ``[R, in]`` inputs of all rows.
        wanted: from the copy's weights and rows ``[B]`` to outputs ``[P, B]``.
        steps: of Adam.
        quiet: show no progress.
    """
    generator = torch.Generator().manual_seed(0)
    now, target = _networks(count, here.shape[1]), _networks(count, here.shape[1])
    optimizer = torch.optim.Adam(now, RATE)
    with bar("fitted Q evaluation", steps, quiet=quiet) as report:
        for step in range(steps):
            rows = torch.randint(len(here), (BATCH,), generator=generator)
            with torch.no_grad():
                goal = wanted(target, rows)
            loss = (_apply(now, here[rows].expand(count, -1, -1)) - goal).square().mean(1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for old, new in zip(target, now, strict=True):
                    old.lerp_(new, AVERAGING)
            report(step + 1, "")
    return now


def _networks(count: int, inputs: int) -> list[Tensor]:
    """Weights and biases of ``count`` equal networks, ``[P, in, out]`` and ``[P, 1, out]``."""
    generator = torch.Generator().manual_seed(1)
    sizes, found = [inputs, WIDTH, WIDTH, 1], []
    for ins, outs in zip(sizes, sizes[1:], strict=False):
        found.append((torch.randn(count, ins, outs, generator=generator) / ins**0.5).requires_grad_())
        found.append(torch.zeros(count, 1, outs, requires_grad=True))
    return found


def _apply(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """``[P, B, in]`` to ``[P, B]``."""
    for i in range(0, len(weights), 2):
        x = torch.baddbmm(weights[i + 1], x, weights[i])
        # Normalised layers keep values of actions that the data do not hold from running away (Ball et al. 2023).
        x = torch.relu(nn.functional.layer_norm(x, x.shape[-1:])) if i + 2 < len(weights) else x
    return x[..., 0]
