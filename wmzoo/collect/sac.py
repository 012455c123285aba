"""Soft actor-critic with an adjusted temperature (Haarnoja et al. 2018b) on many copies at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wmzoo.collect.policies import LOG_STD, Layer, Policy, Snapshot
from wmzoo.collect.simulators import make_simulator


@dataclass(frozen=True, kw_only=True)
class SacConfig:
    """Settings of soft actor-critic.

    Attributes:
        copies: environments stepped together.
        updates: gradient steps of the critics after each step of all copies.
        actor_every: critic steps to one step of the actor and of the temperature.
        batch: transitions in a gradient step.
        learning_rate: of the three Adams.
        discount: gamma.
        tracking: tau, how fast the target critics follow.
        start: transitions of uniform actions at the beginning.
        width: of the two hidden layers of the policy and of the critics.
        block: transitions between two snapshots.
    """

    copies: int = 8
    updates: int = 4
    actor_every: int = 2
    batch: int = 256
    learning_rate: float = 1e-3
    discount: float = 0.99
    tracking: float = 0.005
    start: int = 4000
    width: int = 128
    block: int = 4000


def train_sac(config: SacConfig, environment: str, seed: int, steps: int) -> Iterator[Snapshot]:
    """Train, yielding the policy every ``block`` transitions and at the end.

    Args:
        config: settings.
        environment: name of the environment.
        seed: of everything random.
        steps: transitions in all.
    """
    learner = _Learner(config, environment, seed, steps)
    yield Snapshot(steps=0, policy=learner.policy())
    for done in range(config.copies, steps + 1, config.copies):
        learner.act(explore=done <= config.start)
        if done > config.start:
            learner.update()
        if done % config.block < config.copies or done + config.copies > steps:
            yield Snapshot(steps=done, policy=learner.policy())


class _Critics(nn.Module):
    """Two value networks of observation and action, evaluated in one batched product a layer."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        sizes = [(inputs, width), (width, width), (width, 1)]
        self.weights = nn.ParameterList(
            torch.empty(2, fan, out).uniform_(-(fan**-0.5), fan**-0.5) for fan, out in sizes
        )
        self.biases = nn.ParameterList(torch.zeros(2, 1, out) for _, out in sizes)

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        """``[B, m]``, ``[B, n]`` to values ``[2, B]``."""
        x = torch.cat([observation, action], dim=1).expand(2, -1, -1)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            x = functional.relu(x) if index < 2 else x
        return x[..., 0]


class _Memory:
    """All transitions so far, in one array: observation, action, reward, arrived observation, alive."""

    def __init__(self, size: int, states: int, actions: int):
        self.rows = np.zeros((size, 2 * states + actions + 2), np.float32)
        self.widths = [states, actions, 1, states, 1]
        self.filled = 0

    def add(self, *parts: np.ndarray) -> None:
        """Parts ``[c, width]`` of the transitions of all copies."""
        count = len(parts[0])
        self.rows[self.filled : self.filled + count] = np.concatenate(parts, axis=1)
        self.filled += count

    def draw(self, rng: np.random.Generator, batch: int) -> tuple[Tensor, ...]:
        """A batch with replacement, the five parts ``[batch, width]``."""
        return torch.from_numpy(self.rows[rng.integers(self.filled, size=batch)]).split(self.widths, dim=1)


class _Learner:
    def __init__(self, config: SacConfig, environment: str, seed: int, steps: int):
        torch.manual_seed(seed)
        self.config, self.rng = config, np.random.default_rng(seed)
        self.simulator = make_simulator(environment, config.copies, self.rng)
        states, self.actions = self.simulator.observe().shape[1], self.simulator.actions
        width = config.width
        self.body = nn.Sequential(nn.Linear(states, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.mean, self.log_std = nn.Linear(width, self.actions), nn.Linear(width, self.actions)
        self.actor = nn.ModuleList([self.body, self.mean, self.log_std])
        self.critics = _Critics(states + self.actions, width)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self.optimizers = [
            torch.optim.Adam(parameters, config.learning_rate, fused=True)
            for parameters in (self.critics.parameters(), self.actor.parameters(), [self.log_temperature])
        ]
        self.memory = _Memory(steps + config.copies, states, self.actions)
        self.updates = 0

    def policy(self) -> Policy:
        """The actor as plain arrays."""
        return Policy(
            hidden=(_layer(self.body[0]), _layer(self.body[2])),
            mean=_layer(self.mean),
            log_std=_layer(self.log_std),
            nonlinearity="relu",
            distribution="tanh_gaussian",
        )

    @torch.no_grad()
    def act(self, explore: bool) -> None:
        """One step in every copy, into the memory."""
        simulator = self.simulator
        observed = simulator.observe()
        if explore:
            actions = self.rng.uniform(-1, 1, (len(observed), self.actions))
        else:
            actions = self._sample(torch.from_numpy(observed.astype(np.float32)))[0].numpy()
        rewards, terminated = simulator.step(actions)
        self.memory.add(observed, actions, rewards[:, None], simulator.observe(), ~terminated[:, None])
        simulator.reset(np.flatnonzero(terminated | (simulator.ages >= simulator.environment.steps)))

    def _sample(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Actions ``[B, n]`` and their log densities ``[B]`` (appendix C: the change of variables by tanh)."""
        hidden = self.body(observation)
        mean, log_std = self.mean(hidden), self.log_std(hidden).clamp(*LOG_STD)
        noise = torch.randn_like(mean)
        raw = mean + log_std.exp() * noise
        # log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2x)), without loss of digits
        squash = 2 * (np.log(2) - raw - functional.softplus(-2 * raw))
        density = -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi) - squash
        return torch.tanh(raw), density.sum(dim=1)

    def update(self) -> None:
        """The gradient steps that follow one step of all copies."""
        for _ in range(self.config.updates):
            batch = self.memory.draw(self.rng, self.config.batch)
            self._minimise(0, self._critic_loss(*batch))
            if self.updates % self.config.actor_every == 0:
                self._update_actor(batch[0])
            with torch.no_grad():
                for slow, fast in zip(self.targets.parameters(), self.critics.parameters(), strict=True):
                    slow.lerp_(fast, self.config.tracking)
            self.updates += 1

    def _minimise(self, which: int, loss: Tensor) -> None:
        self.optimizers[which].zero_grad()
        loss.backward()
        self.optimizers[which].step()

    def _critic_loss(
        self, observation: Tensor, action: Tensor, reward: Tensor, arrived: Tensor, alive: Tensor
    ) -> Tensor:
        with torch.no_grad():
            following, log_prob = self._sample(arrived)
            value = self.targets(arrived, following).min(dim=0).values - self.log_temperature.exp() * log_prob
            target = reward[:, 0] + self.config.discount * alive[:, 0] * value
        return (self.critics(observation, action) - target).square().mean(dim=1).sum()

    def _update_actor(self, observation: Tensor) -> None:
        action, log_prob = self._sample(observation)
        self.critics.requires_grad_(False)
        value = self.critics(observation, action).min(dim=0).values
        self._minimise(1, (self.log_temperature.exp().detach() * log_prob - value).mean())
        self.critics.requires_grad_(True)
        # The temperature holds the entropy at minus the number of action dims (section 5).
        self._minimise(2, -self.log_temperature * (log_prob.detach().mean() - self.actions))


def _layer(layer: nn.Module) -> Layer:
    return layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()  # type: ignore[operator]
