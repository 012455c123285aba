"""What readers of foreign formats give: episodes in one alignment, with the set that each belongs to.

Every format pairs states, rewards and actions in its own way. A reader turns each episode into an
:class:`wmzoo.trajectories.Episode`, Gymnasium's pairing, by one of the functions here, and nothing else aligns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wmzoo.trajectories import Episode


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """One episode of a file.

    Attributes:
        environment, level: the set that it belongs to.
        names: ``[M]`` columns: states, reward, actions.
        dt: control interval in seconds; 0 if the format does not tell.
        component: the part of a mixture that it belongs to; empty if the format does not tell.
        episode: aligned.
    """

    environment: str
    level: str
    names: tuple[str, ...]
    episode: Episode
    dt: float = 0.0
    component: str = ""


@dataclass(frozen=True)
class Skipped:
    """What a reader left out.

    Attributes:
        place: the file, and where in it.
        reason: a few words.
    """

    place: str
    reason: str


def plain_names(states: int, actions: int) -> tuple[str, ...]:
    """Names of columns where a format has none."""
    return (*(f"s{i}" for i in range(states)), "reward", *(f"a{i}" for i in range(actions)))


def followed(
    observations: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    final: np.ndarray | None,
    terminated: bool,
    truncated: bool,
) -> Episode:
    """From rows in which ``rewards[t]`` follows ``(observations[t], actions[t])``.

    Args:
        observations: ``[L, m]``; actions: ``[L, n]``; rewards: ``[L]``, or ``[L, 1]``.
        final: ``[m]`` the state after the last action; without it the last action and reward are dropped, since what
            they led to is unknown.
        terminated, truncated: how it ended.
    """
    if final is None:
        actions, rewards, terminated, truncated = actions[:-1], rewards[:-1], False, True
    else:
        observations = np.concatenate([observations, np.asarray(final)[None]])
    return Episode(
        observations=observations,
        actions=actions,
        rewards=_flat(rewards),
        terminated=terminated,
        truncated=truncated,
    )


def arrived(
    observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray, terminated: bool, truncated: bool
) -> Episode:
    """From rows in which ``actions[t]`` and ``rewards[t]`` led to ``observations[t]``; those of row 0 are dummies.

    Args:
        observations: ``[L+1, m]``; actions: ``[L+1, n]``; rewards: ``[L+1]``, or ``[L+1, 1]``.
        terminated, truncated: how it ended.
    """
    return Episode(
        observations=observations,
        actions=actions[1:],
        rewards=_flat(rewards)[1:],
        terminated=terminated,
        truncated=truncated,
    )


def _flat(rewards: np.ndarray) -> np.ndarray:
    rewards = np.asarray(rewards)
    return rewards[:, 0] if rewards.ndim == 2 and rewards.shape[1] == 1 else rewards


def fault(recording: Recording) -> str:
    """Why an episode can't be used; empty if it can."""
    episode = recording.episode
    arrays = (episode.observations, episode.actions, episode.rewards)
    if episode.observations.ndim != 2 or episode.actions.ndim != 2:
        return f"states of shape {episode.observations.shape} and actions of shape {episode.actions.shape}"
    if len(recording.names) != episode.observations.shape[1] + 1 + episode.actions.shape[1]:
        return f"{len(recording.names)} names for its columns"
    if any(array.dtype.kind not in "fiub" for array in arrays):
        return "values that are no numbers"
    if not all(np.isfinite(array).all() for array in arrays):
        return "NaN or infinite values"
    if any(np.abs(array, dtype=np.float64).max(initial=0) > np.finfo(np.float32).max for array in arrays):
        return "values too large for single precision"
    return ""


def boundaries(ends: Sequence[bool] | np.ndarray) -> list[tuple[int, int]]:
    """First row and the row after the last of each episode, where ``ends`` ``[N]`` marks last rows."""
    stops = np.flatnonzero(np.asarray(ends)) + 1
    edges = [0, *stops.tolist()]
    if edges[-1] != len(ends):
        edges.append(len(ends))
    return list(zip(edges, edges[1:], strict=False))
