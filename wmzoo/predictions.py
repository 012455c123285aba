"""The distribution of the next row's states and reward, in physical units.

Both kinds are one-dimensional for each predicted variate. An ensemble's prediction is the even mixture of its
elite members. Columns that a narrower environment of the batch lacks hold finite, meaningless numbers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Prediction(ABC):
    """What a world model believes of the next row: ``[B, J]`` one-dimensional distributions."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """Expected next states and reward, ``[B, J]``, physical units."""

    @abstractmethod
    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``[S, B, J]`` values in physical units, each variate on its own.

        Args:
            samples: how many, ``S``.
            generator: of the random numbers; torch's default if left out.
        """

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of ``value`` ``[B, J]``, in nats per physical unit, ``[B, J]``."""

    @abstractmethod
    def cdf(self, value: Tensor) -> Tensor:
        """Probability of at most ``value`` ``[B, J]``, in ``[0, 1]``, ``[B, J]``."""

    @abstractmethod
    def quantile(self, p: float) -> Tensor:
        """The value not exceeded with probability ``p`` in ``(0, 1)``, ``[B, J]``, physical units."""

    @abstractmethod
    def crps(self, value: Tensor) -> Tensor:
        """Continuous ranked probability score of ``value`` ``[B, J]``, physical units, lower is better, ``[B, J]``.

        Source: Gneiting and Raftery (2007), equation 20.
        """

    @abstractmethod
    def select(self, index: Tensor) -> Prediction:
        """The predictions of the chosen windows of the batch."""


@dataclass(frozen=True, eq=False)
class HistogramPrediction(Prediction):
    """Uniform inside each bin of a histogram over ``[low, high]``.

    Attributes:
        probs: ``[B, J, K]`` bin probabilities.
        low, high: ``[B, J]`` support, physical units. A value outside of it is scored as the nearest edge's.
    """

    probs: Tensor
    low: Tensor
    high: Tensor

    @property
    def width(self) -> Tensor:
        """Bin width ``[B, J]``, physical units."""
        return (self.high - self.low) / self.probs.shape[-1]

    @property
    def mean(self) -> Tensor:
        """Expectation over bin centres, ``[B, J]``."""
        bins = self.probs.shape[-1]
        centres = (torch.arange(bins, device=self.probs.device) + 0.5) / bins  # no product, which autocast would round
        return self.low + (self.high - self.low) * (self.probs * centres).sum(-1)

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """A bin by its probability, then a point inside it, ``[S, B, J]``."""
        shape = self.probs.shape
        flat = torch.multinomial(self.probs.reshape(-1, shape[-1]), samples, replacement=True, generator=generator)
        bins = flat.T.reshape(samples, *shape[:-1])
        inside = torch.rand(bins.shape, generator=generator, device=bins.device)
        return self.low + (bins + inside) * self.width

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density ``[B, J]``; outside the support, that of the edge bin."""
        chosen = self.probs.gather(-1, self._bin(value)[0][..., None])[..., 0]
        return chosen.clamp_min(1e-12).log() - self.width.log()

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of at most ``value``, ``[B, J]``."""
        index, inside = self._bin(value)
        below = torch.nn.functional.pad(self.probs.cumsum(-1), (1, 0)).gather(-1, index[..., None])[..., 0]
        return (below + inside * self.probs.gather(-1, index[..., None])[..., 0]).clamp(0, 1)

    def quantile(self, p: float) -> Tensor:
        """Inverse of the piecewise linear distribution function, ``[B, J]``."""
        cumulative = self.probs.cumsum(-1)
        index = (cumulative < p).sum(-1, keepdim=True).clamp_max(self.probs.shape[-1] - 1)
        mass = self.probs.gather(-1, index).clamp_min(1e-12)
        inside = ((p - (cumulative.gather(-1, index) - mass)) / mass).clamp(0, 1)
        return self.low + (index + inside)[..., 0] * self.width

    def crps(self, value: Tensor) -> Tensor:
        """Exact integral of the squared difference to the step at ``value``, ``[B, J]``.

        The distribution function is linear inside a bin, where the integral of a square from ``a`` to ``b``
        is ``(a² + ab + b²) / 3``; the bin that holds the value is cut there in two. A value outside of the
        support adds its distance to it.
        """
        index, inside = self._bin(value)
        right = self.probs.cumsum(-1)
        left = right - self.probs
        place = torch.arange(self.probs.shape[-1], device=value.device)
        after = (place > index[..., None]).float()
        whole = _mean_square(left - after, right - after)
        at = self.cdf(torch.minimum(torch.maximum(value, self.low), self.high))
        first, last = left.gather(-1, index[..., None])[..., 0], right.gather(-1, index[..., None])[..., 0]
        split = inside * _mean_square(first, at) + (1 - inside) * _mean_square(at - 1, last - 1)
        bins = whole.sum(-1) - whole.gather(-1, index[..., None])[..., 0] + split
        outside = (self.low - value).clamp_min(0) + (value - self.high).clamp_min(0)
        return bins * self.width + outside

    def select(self, index: Tensor) -> HistogramPrediction:
        """The predictions of the chosen windows."""
        return HistogramPrediction(self.probs[index], self.low[index], self.high[index])

    def _bin(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """The bin of a value, ``[B, J]`` int64, and its place inside the bin, ``[0, 1]``."""
        bins = self.probs.shape[-1]
        scaled = ((value - self.low) / (self.high - self.low)).clamp(0, 1) * bins
        index = scaled.floor().clamp_max(bins - 1)
        return index.long(), scaled - index


def _mean_square(a: Tensor, b: Tensor) -> Tensor:
    """Mean square of a quantity that goes linearly from ``a`` to ``b``."""
    return (a * a + a * b + b * b) / 3


@dataclass(frozen=True, eq=False)
class GaussianPrediction(Prediction):
    """An even mixture of ``E`` Gaussians for each variate.

    Attributes:
        means, stds: ``[E, B, J]``, physical units.
    """

    means: Tensor
    stds: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean of the members' means, ``[B, J]``."""
        return self.means.mean(0)

    def sample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """A member for each sample and window, then its Gaussian of each variate, ``[S, B, J]``."""
        shape = (samples, *self.means.shape[1:])
        device = self.means.device
        rows = (*shape[:-1], 1)
        member = torch.randint(len(self.means), rows, generator=generator, device=device).expand(shape)
        noise = torch.randn(shape, generator=generator, device=device)
        return self.means.gather(0, member) + self.stds.gather(0, member) * noise

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the mixture, ``[B, J]``."""
        members = self._normal().log_prob(value)
        return members.logsumexp(0) - math.log(len(self.means))

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of at most ``value``, ``[B, J]``."""
        return self._normal().cdf(value).mean(0)

    def quantile(self, p: float) -> Tensor:
        """By bisection between the members' own quantiles, which enclose it, ``[B, J]``."""
        members = self._normal().icdf(torch.full_like(self.means, p))
        low, high = members.amin(0), members.amax(0)
        for _ in range(40 if len(self.means) > 1 else 0):
            middle = (low + high) / 2
            below = self.cdf(middle) < p
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def crps(self, value: Tensor) -> Tensor:
        """Closed form for Gaussian mixtures, ``[B, J]``. Source: Grimit et al. (2006), equation 5."""
        to_value = _expected_distance(value - self.means, self.stds).mean(0)
        gap = self.means[:, None] - self.means[None]
        spread = (self.stds[:, None] ** 2 + self.stds[None] ** 2).sqrt()
        return to_value - _expected_distance(gap, spread).mean((0, 1)) / 2

    def select(self, index: Tensor) -> GaussianPrediction:
        """The predictions of the chosen windows."""
        return GaussianPrediction(self.means[:, index], self.stds[:, index])

    def _normal(self) -> torch.distributions.Normal:
        return torch.distributions.Normal(self.means, self.stds, validate_args=False)


def _expected_distance(mean: Tensor, std: Tensor) -> Tensor:
    """Expected absolute value of a Gaussian."""
    z = mean / std
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return mean * torch.erf(z / math.sqrt(2)) + 2 * std * density
