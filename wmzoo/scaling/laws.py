"""Power laws ``y = a x^-b + c``, fitted to logarithms, with bootstrap intervals.

Sources: Kaplan et al. 2020 (arXiv 2001.08361), section 3, for the laws and for reading compute off an envelope;
Hoffmann et al. 2022 (arXiv 2203.15556), section 3, for residuals of logarithms and an irreducible term; Efron and
Tibshirani 1993, An Introduction to the Bootstrap, sections 9.4 and 12.5, for resampled residuals and bootstrap-t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

DRAWS = 1000
FLOOR_DRAWS = 300  # each of them a search
LEVEL = (0.025, 0.975)
FEWEST, FEWEST_WITH_FLOOR = 3, 6
EVIDENCE = 6.0  # of Akaike's criterion; at 2, one envelope of ten that has no floor is given one


@dataclass(frozen=True, kw_only=True, eq=False)
class Law:
    """A fitted power law.

    Attributes:
        a, b, c: ``y = a x^-b + c``; ``c`` is 0 where the points do not ask for an irreducible part.
        interval: 95 % of the exponent ``b``; None of three points, which leave one residual and no more.
        points: that it was fitted to.
        spread: standard deviation of the residuals of log y.
        draws: ``[R, 3]`` bootstrapped ``log a, b, c``, for a band.
    """

    a: float
    b: float
    c: float
    interval: tuple[float, float] | None
    points: int
    spread: float
    draws: np.ndarray

    def at(self, x: np.ndarray) -> np.ndarray:
        """The law at ``x`` ``[N]``."""
        return self.a * x**-self.b + self.c

    def band(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends of 95 % of the bootstrapped laws at ``x`` ``[N]``."""
        log_a, b, c = self.draws.T[:, :, None]
        low, high = np.quantile(np.exp(log_a - b * np.log(x)) + c, LEVEL, axis=0)
        return low, high


def frontier(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices ``[F]`` of the points that no other undercuts at the same ``x`` or less, by rising ``x``."""
    order = np.lexsort((y, x))
    best = np.minimum.accumulate(y[order])
    return order[np.concatenate([[True], best[1:] < best[:-1]])]


def lowest(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices of the lowest ``y`` of each distinct ``x``, by rising ``x``."""
    order = np.lexsort((y, x))
    return order[np.unique(x[order], return_index=True)[1]]


def fit(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, floor: bool | None = None) -> Law | None:
    """Fit a power law to points above 0.

    The exponent's interval is a bootstrap-t one: residuals of log y, corrected for leverage, are drawn anew and each
    refitted exponent is measured in its own standard error, which few points need.

    Args:
        x, y: ``[N]``.
        floor: with an irreducible ``c``, without, or with it if that lowers Akaike's corrected criterion clearly.

    Returns:
        The law; None of fewer than three distinct ``x``, or of six where ``floor`` is true.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    distinct = len(np.unique(x))
    if distinct < (FEWEST_WITH_FLOOR if floor else FEWEST):
        return None
    plain = _Fit(x, y, False)
    if floor is False or distinct < FEWEST_WITH_FLOOR:
        return plain.law()
    raised = _Fit(x, y, True)
    return raised.law() if floor or raised.criterion < plain.criterion - EVIDENCE else plain.law()


class _Fit:
    """Least squares of log y on log a, b and, with a floor, log c."""

    def __init__(self, x: np.ndarray, y: np.ndarray, floor: bool):
        self.floor, self.scale = floor, float(np.exp(np.log(x).mean()))
        self.x, self.y = np.log(x / self.scale), np.log(y)  # centred: log a and b hardly depend on each other
        self.theta, self.jacobian = self._solve(self.y, self._start())
        self.residuals = self.y - self._model(self.theta)
        self.free = max(len(x) - len(self.theta), 1)

    @property
    def criterion(self) -> float:
        """Akaike's information criterion, corrected for few points (Hurvich and Tsai 1989)."""
        n, k = len(self.x), len(self.theta) + 1
        return n * math.log(max((self.residuals**2).mean(), 1e-24)) + 2 * k * n / max(n - k - 1, 0.5)

    def _model(self, theta: np.ndarray) -> np.ndarray:
        line = theta[0] - theta[1] * self.x
        return np.logaddexp(line, theta[2]) if self.floor else line

    def _start(self) -> np.ndarray:
        slope, height = np.polyfit(self.x, self.y, 1)
        return np.array([height, -slope, self.y.min() - 1.0] if self.floor else [height, -slope])

    def _solve(self, y: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The parameters and the slopes ``[N, k]`` of the model in them."""
        if not self.floor:
            design = np.stack([np.ones_like(self.x), -self.x], 1)
            return np.linalg.lstsq(design, y)[0], design
        low = [-np.inf, -np.inf, y.min() - 12.0]  # a floor below a 100,000th of all points is none
        found = least_squares(lambda t: self._model(t) - y, np.clip(start, low, None), bounds=(low, np.inf))
        return found.x, found.jac

    def _refit(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parameters ``[R, k]`` and the exponents' standard errors ``[R]`` of drawn ``[R, N]`` log y."""
        if not self.floor:
            thetas = np.linalg.lstsq(self.jacobian, drawn.T)[0].T
            return thetas, self._error(drawn - thetas @ self.jacobian.T, self.jacobian)
        fits = [self._solve(y, self.theta) for y in drawn]
        errors = [self._error(y - self._model(t), j) for y, (t, j) in zip(drawn, fits, strict=True)]
        return np.stack([theta for theta, _ in fits]), np.array(errors)

    def _error(self, residuals: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
        """The standard error of the exponent, from ``[..., N]`` residuals."""
        return np.sqrt((residuals**2).sum(-1) / self.free * np.linalg.pinv(jacobian.T @ jacobian)[1, 1])

    def law(self) -> Law:
        """The law with its interval and draws."""
        inverse = np.linalg.pinv(self.jacobian.T @ self.jacobian)
        leverage = np.einsum("nk,kl,nl->n", self.jacobian, inverse, self.jacobian)
        residuals = self.residuals / np.sqrt(np.clip(1 - leverage, 0.05, 1))
        shape = (FLOOR_DRAWS if self.floor else DRAWS, len(self.x))
        drawn = np.random.default_rng(0).choice(residuals - residuals.mean(), shape)
        thetas, errors = self._refit(self._model(self.theta) + drawn)
        log_a, b, c = self._whole(self.theta)
        return Law(
            a=math.exp(log_a),
            b=float(b),
            c=float(c),
            interval=self._interval(thetas[:, 1], errors),
            points=len(self.x),
            spread=math.sqrt((self.residuals**2).sum() / self.free),
            draws=np.stack([self._whole(theta) for theta in thetas]),
        )

    def _interval(self, exponents: np.ndarray, errors: np.ndarray) -> tuple[float, float] | None:
        if len(self.x) <= FEWEST:
            return None
        b, error = self.theta[1], self._error(self.residuals, self.jacobian)
        low, high = np.quantile((exponents - b) / np.maximum(errors, 1e-12), LEVEL)
        return float(b - high * error), float(b - low * error)

    def _whole(self, theta: np.ndarray) -> np.ndarray:
        """``log a, b, c`` for ``x`` as it was given."""
        c = math.exp(theta[2]) if self.floor else 0.0
        return np.array([theta[0] + theta[1] * math.log(self.scale), theta[1], c])
