"""Behaviour policies as plain arrays: a linear map or a small network, stored with DOPE's key names.

DOPE (Fu et al. 2021, "Benchmarks for Deep Off-Policy Evaluation") publishes its target policies with these keys:
``fc0/weight`` [out, in], ``fc0/bias``, ``fc1/...``, ``last_fc/...`` for the mean, ``last_fc_log_std/...`` for the
logarithm of the standard deviation, ``nonlinearity`` and ``output_distribution``. A linear policy has ``fc0`` alone.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmzoo.errors import WmzooError
from wmzoo.files import replacing
from wmzoo.released import pickles

NONLINEARITIES = ("tanh", "relu", "linear")
DISTRIBUTIONS = ("clipped", "clipped_gaussian", "tanh_gaussian")
LOG_STD = (-20.0, 2.0)

Layer = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Policy:
    """A policy whose observation normalisation is already folded into its first layer.

    Attributes:
        hidden: weight ``[out, in]`` and bias ``[out]`` of each hidden layer, float32.
        mean: the same of the output layer.
        log_std: the same of the logarithm of the standard deviation, or None for a deterministic policy.
        nonlinearity: after each hidden layer: ``tanh``, ``relu`` or ``linear``.
        distribution: ``clipped`` (deterministic), ``clipped_gaussian``, or ``tanh_gaussian`` (tanh of a Gaussian).
    """

    hidden: tuple[Layer, ...]
    mean: Layer
    log_std: Layer | None
    nonlinearity: str
    distribution: str

    def parameters(self, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the action before the squashing, each ``[.., n]``.

        Args:
            observation: ``[.., m]``.
        """
        x = np.asarray(observation, np.float32)
        for weight, bias in self.hidden:
            x = x @ weight.T + bias
            if self.nonlinearity != "linear":
                x = np.tanh(x) if self.nonlinearity == "tanh" else np.maximum(x, 0)
        mean = x @ self.mean[0].T + self.mean[1]
        if self.log_std is None:
            return mean, np.zeros_like(mean)
        return mean, np.exp(np.clip(x @ self.log_std[0].T + self.log_std[1], *LOG_STD))

    def act(self, observation: np.ndarray, rng: np.random.Generator | None, noise: float = 0.0) -> np.ndarray:
        """Sample actions.

        Args:
            observation: ``[.., m]``, physical units.
            rng: draws the actions; None takes the mode.
            noise: standard deviation of further Gaussian noise, in units of the action limits.

        Returns:
            ``[.., n]`` float32 within the limits, plus and minus 1.
        """
        action, std = self.parameters(observation)
        if rng is not None:
            action = action + std * rng.standard_normal(action.shape, np.float32)
        if self.distribution == "tanh_gaussian":
            action = np.tanh(action)
        if rng is not None and noise > 0:
            action = action + np.float32(noise) * rng.standard_normal(action.shape, np.float32)
        return np.clip(action, -1, 1).astype(np.float32)

    def layers(self) -> tuple[Layer, ...]:
        """Weights and biases of all layers: hidden, mean, and the logarithm of the standard deviation if any."""
        return (*self.hidden, self.mean) if self.log_std is None else (*self.hidden, self.mean, self.log_std)

    def save(self, path: Path) -> None:
        """Write the arrays to an ``.npz`` file, whole or not at all."""
        arrays = {
            "nonlinearity": np.asarray(self.nonlinearity),
            "output_distribution": np.asarray(self.distribution),
        }
        layers = {f"fc{i}": layer for i, layer in enumerate(self.hidden)}
        layers["last_fc" if self.hidden else "fc0"] = self.mean
        if self.log_std is not None:
            layers["last_fc_log_std"] = self.log_std
        for name, (weight, bias) in layers.items():
            arrays |= {f"{name}/weight": weight.astype(np.float32), f"{name}/bias": bias.astype(np.float32)}
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A policy as it was after some transitions of training, and the mean return of what was just tried."""

    steps: int
    policy: Policy
    tried: float = float("nan")


def load_policy(path: Path) -> Policy:
    """Read a policy that :meth:`Policy.save` wrote (``.npz``) or that DOPE published (``.pkl``); executes nothing.

    Raises:
        WmzooError: no such file, not one of plain arrays, or one with missing, unknown or misshapen parts.
    """
    arrays = pickles.read(path) if path.suffix == ".pkl" else _npz(path)
    try:
        return _policy_of(arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise WmzooError(f"{path}: not a policy in DOPE's layout ({error}); make it again.") from error


def _npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise WmzooError(f"{path}: not a readable policy ({error}); make it again or correct its path.") from error


def _policy_of(arrays: dict[str, Any]) -> Policy:
    hidden = [_layer(arrays, f"fc{i}") for i in range(len(arrays)) if f"fc{i}/weight" in arrays]
    mean = _layer(arrays, "last_fc") if "last_fc/weight" in arrays else hidden.pop()
    log_std = _layer(arrays, "last_fc_log_std") if "last_fc_log_std/weight" in arrays else None
    nonlinearity, distribution = (
        str(np.asarray(arrays[key]).item()) for key in ("nonlinearity", "output_distribution")
    )
    if nonlinearity not in NONLINEARITIES or distribution not in DISTRIBUTIONS:
        raise ValueError(f"nonlinearity {nonlinearity!r} or output_distribution {distribution!r} is unknown")
    layers = [*hidden, mean]
    for (above, _), (weight, _) in zip(layers, layers[1:], strict=False):
        if weight.shape[1] != above.shape[0]:
            raise ValueError(f"a layer takes {weight.shape[1]} inputs, the one before gives {above.shape[0]}")
    return Policy(
        hidden=tuple(hidden), mean=mean, log_std=log_std, nonlinearity=nonlinearity, distribution=distribution
    )


def _layer(arrays: dict[str, Any], name: str) -> Layer:
    weight, bias = (np.asarray(arrays[f"{name}/{part}"], np.float32) for part in ("weight", "bias"))
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise ValueError(f"{name} has weight {weight.shape} and bias {bias.shape}")
    return weight, bias


def uniform_actions(low: np.ndarray, high: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An action drawn uniformly within the limits, ``[n]`` float32: D4RL's ``random`` behaviour."""
    return rng.uniform(low, high).astype(np.float32)
