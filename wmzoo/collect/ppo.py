"""Proximal policy optimisation (Schulman et al. 2017, algorithm 1) on many copies at once.

With the choices that Engstrom et al. 2020 found to matter: normalised observations and rewards, orthogonal starts, an
annealed learning rate. Values of truncated episodes are bootstrapped (Pardo et al. 2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from wmzoo.collect.moments import RunningMoments
from wmzoo.collect.policies import Layer, Policy, Snapshot
from wmzoo.collect.simulators import make_simulator


@dataclass(frozen=True, kw_only=True)
class PpoConfig:
    """Settings of proximal policy optimisation.

    Attributes:
        copies: environments stepped together.
        horizon: steps of each between two updates.
        minibatch: transitions in a gradient step.
        epochs: passes over the transitions of an update.
        learning_rate: of Adam at the start; falls linearly to a tenth.
        discount: gamma.
        trace: lambda of the generalised advantage estimate.
        clip: epsilon, how far the probability ratio counts.
        width: of the two hidden layers of the policy and of the value.
        kept_noise: standard deviation of the policies that come out, as a fraction of that while training: with all
            of it a walker that is trained still falls.
    """

    copies: int = 32
    horizon: int = 128
    minibatch: int = 512
    epochs: int = 10
    learning_rate: float = 3e-4
    discount: float = 0.99
    trace: float = 0.95
    clip: float = 0.2
    width: int = 64
    kept_noise: float = 0.3


def train_ppo(config: PpoConfig, environment: str, seed: int, steps: int) -> Iterator[Snapshot]:
    """Train, yielding the policy before the first update and after each.

    Args:
        config: settings.
        environment: name of the environment.
        seed: of everything random.
        steps: transitions in all.
    """
    learner = _Learner(config, environment, seed)
    yield Snapshot(steps=0, policy=learner.policy())
    block = config.copies * config.horizon
    for update in range(max(steps // block, 1)):
        learner.anneal(update * block / steps)
        learner.update(learner.gather())
        yield Snapshot(steps=(update + 1) * block, policy=learner.policy())


def _network(inputs: int, width: int, outputs: int, last_gain: float) -> nn.Sequential:
    layers = [nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, outputs)]
    for layer, gain in zip(layers, (2**0.5, 2**0.5, last_gain), strict=True):
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batch:
    """Transitions with their advantages: ``[rows, m]``, ``[rows, n]``, and four times ``[rows]``."""

    observation: Tensor
    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    value_target: Tensor


class _Learner:
    def __init__(self, config: PpoConfig, environment: str, seed: int):
        torch.manual_seed(seed)
        self.config, self.rng = config, np.random.default_rng(seed)
        self.simulator = make_simulator(environment, config.copies, self.rng)
        inputs, actions = self.simulator.observe().shape[1], self.simulator.actions
        self.actor = _network(inputs, config.width, actions, last_gain=0.01)
        self.critic = _network(inputs, config.width, 1, last_gain=1.0)
        self.log_std = nn.Parameter(torch.zeros(actions))
        self.parameters = [*self.actor.parameters(), *self.critic.parameters(), self.log_std]
        self.optimizer = torch.optim.Adam(self.parameters, config.learning_rate, eps=1e-5, fused=True)
        self.seen = RunningMoments(inputs)
        self.seen.add(self.simulator.observe())
        # Rewards are divided by the deviation of the discounted return so far, one running return a copy.
        self.returns, self.return_moments = np.zeros(config.copies), RunningMoments(1)

    def anneal(self, progress: float) -> None:
        """Let the learning rate fall to a tenth as ``progress`` goes from 0 to 1."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * (1 - 0.9 * progress)

    def policy(self) -> Policy:
        """The actor as plain arrays, with less noise than it explored with."""
        first, second, last = (self._layer(self.actor[i]) for i in (0, 2, 4))
        log_std = self.log_std.detach().numpy() + np.float32(np.log(self.config.kept_noise))
        return Policy(
            hidden=(self.seen.fold(*first), second),
            mean=last,
            log_std=(np.zeros_like(last[0]), log_std),
            nonlinearity="tanh",
            distribution="clipped_gaussian",
        )

    def _layer(self, layer: nn.Module) -> Layer:
        return layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()  # type: ignore[operator]

    def _normal(self, observation: np.ndarray) -> Tensor:
        return torch.from_numpy(self.seen.normalise(observation).astype(np.float32))

    @torch.no_grad()
    def gather(self) -> _Batch:
        """Act for ``horizon`` steps in every copy and estimate the advantages."""
        horizon, simulator = self.config.horizon, self.simulator
        size = (horizon, self.config.copies)
        observed, arrived = (np.zeros((*size, len(self.seen.mean))) for _ in range(2))
        actions = np.zeros((*size, simulator.actions), np.float32)
        rewards, terminated, ended = np.zeros(size), np.zeros(size, bool), np.zeros(size, bool)
        std = self.log_std.exp().numpy()
        for t in range(horizon):
            observed[t] = simulator.observe()
            mean = self.actor(self._normal(observed[t])).numpy()
            actions[t] = mean + std * self.rng.standard_normal(mean.shape, np.float32)
            rewards[t], terminated[t] = simulator.step(np.clip(actions[t], -1, 1))
            arrived[t] = simulator.observe()
            ended[t] = terminated[t] | (simulator.ages >= simulator.environment.steps)
            rewards[t] = self._scaled(rewards[t], ended[t])
            simulator.reset(np.flatnonzero(ended[t]))
        batch = self._batch(observed, arrived, actions, rewards, terminated, ended)
        self.seen.add(observed.reshape(-1, observed.shape[2]))
        return batch

    def _scaled(self, rewards: np.ndarray, ended: np.ndarray) -> np.ndarray:
        self.returns = self.returns * self.config.discount + rewards
        self.return_moments.add(self.returns[:, None])
        self.returns[ended] = 0
        return np.clip(rewards / self.return_moments.std, -10, 10)

    def _batch(
        self,
        observed: np.ndarray,
        arrived: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminated: np.ndarray,
        ended: np.ndarray,
    ) -> _Batch:
        """Generalised advantage estimation (Schulman et al. 2016, equation 16); inputs ``[horizon, copies, ..]``."""
        discount, trace = self.config.discount, self.config.trace
        observation, action = self._normal(observed), torch.from_numpy(actions)
        values = self.critic(observation)[..., 0].numpy()
        following = self.critic(self._normal(arrived))[..., 0].numpy()
        errors = rewards + discount * following * ~terminated - values
        advantages, running = np.zeros_like(rewards), np.zeros(rewards.shape[1])
        for t in reversed(range(len(rewards))):
            running = errors[t] + discount * trace * ~ended[t] * running
            advantages[t] = running
        return _Batch(
            observation=observation.flatten(0, 1),
            action=action.flatten(0, 1),
            log_prob=self._log_prob(observation, action).flatten(),
            advantage=torch.from_numpy(advantages.astype(np.float32)).flatten(),
            value_target=torch.from_numpy((advantages + values).astype(np.float32)).flatten(),
        )

    def _log_prob(self, observation: Tensor, action: Tensor) -> Tensor:
        """Up to a constant, ``[..]``."""
        standard = (action - self.actor(observation)) * torch.exp(-self.log_std)
        return -(0.5 * standard**2 + self.log_std).sum(dim=-1)

    def update(self, batch: _Batch) -> None:
        """Several passes of gradient steps over the gathered transitions."""
        rows = len(batch.action)
        for _ in range(self.config.epochs):
            for chosen in torch.from_numpy(self.rng.permutation(rows)).split(self.config.minibatch):
                self.optimizer.zero_grad()
                self._loss(batch, chosen).backward()
                nn.utils.clip_grad_norm_(self.parameters, 0.5)
                self.optimizer.step()

    def _loss(self, batch: _Batch, chosen: Tensor) -> Tensor:
        observation, clip = batch.observation[chosen], self.config.clip
        ratio = torch.exp(self._log_prob(observation, batch.action[chosen]) - batch.log_prob[chosen])
        advantage = batch.advantage[chosen]
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
        error = self.critic(observation)[:, 0] - batch.value_target[chosen]
        return -gain.mean() + 0.5 * error.square().mean()
