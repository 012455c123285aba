"""The levels of behaviour that a set can be collected at.

Five are D4RL's (Fu et al. 2020, section 5.1) and need a ladder of policies. The others work in any environment: they
span how a state can be reached (noise of many colours, exploration by novelty) and how well a task can be done
(graded policies, noisy versions of them, the buffer of their training); ``mixed`` is all of them in one set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wmzoo.collect.ladder import Ladder
from wmzoo.collect.making import Layout
from wmzoo.collect.policies import Policy, uniform_actions
from wmzoo.collect.quick import Quick

LADDER_LEVELS = ("medium", "medium-replay", "medium-expert", "expert")
QUICK_LEVELS = ("novelty", "graded", "noisy", "buffer", "mixed")
LEVELS = ("random", "medium", "medium-replay", "medium-expert", "expert", "noise", *QUICK_LEVELS)

REPLAY_NOISE = 0.1
"""Further noise on the actions of medium-replay, in units of the action limits: learners explore."""

COLOURS = (0.05, 0.2, 1.0)
"""Correlation times of smooth random actions [s]."""
NOISE_SCALES = (0.2, 1.0)
"""Their standard deviation, drawn for each episode, in units of the action limits."""
NOISY = (0.2, (0.4, 0.4))
"""Correlation time [s] and standard deviation of the noise on the policies of noisy."""

MIXTURE = {"random": 0.05, "noise": 0.2, "novelty": 0.15, "graded": 0.2, "noisy": 0.25, "buffer": 0.15}
"""Shares of the transitions of mixed."""

Actor = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Behaviour:
    """Who acts in an episode.

    Attributes:
        name: of the policy in its ladder, or what it does.
        kind: the level that it belongs to.
        share: of the transitions of its set.
        policy: None draws actions uniformly within the limits, or is the middle that coloured noise is around.
        noise: standard deviation of further white noise, in units of the action limits.
        colour: correlation time [s] of coloured noise and the range of its standard deviation; None for none.
        known: what was measured of the policy when it was made.
    """

    name: str
    kind: str
    share: float = 1.0
    policy: Policy | None = None
    noise: float = 0.0
    colour: tuple[float, tuple[float, float]] | None = None
    known: dict[str, Any] = field(default_factory=dict)

    def begin(self, columns: Layout, rng: np.random.Generator) -> Actor:
        """Begin an episode.

        Args:
            columns: of the environment.
            rng: draws the actions.

        Returns:
            From an observation ``[m]`` to an action ``[n]`` float32 within the limits, physical units.
        """
        policy = self.policy
        if self.colour is not None:
            return self._coloured(columns, rng, *self.colour)
        if policy is None:
            return lambda observation: uniform_actions(columns.low, columns.high, rng)
        return lambda observation: columns.scaled(policy.act(observation, rng, self.noise))

    def _coloured(self, columns: Layout, rng: np.random.Generator, time: float, scales: tuple[float, float]) -> Actor:
        """An Ornstein-Uhlenbeck process around the policy's actions, or around the middle of the limits."""
        scale, keep = rng.uniform(*scales), math.exp(-columns.dt / time)
        state = rng.standard_normal(columns.actions)

        def act(observation: np.ndarray) -> np.ndarray:
            nonlocal state
            middle = 0.0 if self.policy is None else self.policy.act(observation, None)
            action = np.clip(middle + scale * state, -1, 1).astype(np.float32)
            state = keep * state + math.sqrt(1 - keep**2) * rng.standard_normal(columns.actions)
            return columns.scaled(action)

        return act

    def to_json(self) -> dict[str, Any]:
        """Plain values for the corpus."""
        return {"name": self.name, "kind": self.kind, "noise": self.noise, **self.known}


def behaviours_of(level: str, ladder: Ladder | None = None, quick: Quick | None = None) -> tuple[Behaviour, ...]:
    """The behaviours of a level that are played, in order; their shares add up to at most 1.

    Args:
        level: one of ``LEVELS``; ``buffer`` has none, since its episodes were played in training.
        ladder: the policies of the environment, for ``LADDER_LEVELS``.
        quick: the policies of the environment, for ``QUICK_LEVELS``.
    """
    if level == "random":
        return (Behaviour(name="uniform", kind=level),)
    if level == "noise":
        return _evenly(Behaviour(name=f"noise {time:g} s", kind=level, colour=(time, NOISE_SCALES)) for time in COLOURS)
    if level in LADDER_LEVELS:
        assert ladder is not None
        return _of_ladder(level, ladder)
    assert quick is not None
    return _of_quick(level, quick)


def _evenly(behaviours: Any) -> tuple[Behaviour, ...]:
    listed = list(behaviours)
    return tuple(_scaled(behaviour, 1 / len(listed)) for behaviour in listed)


def _scaled(behaviour: Behaviour, factor: float) -> Behaviour:
    return Behaviour(**{**vars(behaviour), "share": behaviour.share * factor})


def _of_ladder(level: str, ladder: Ladder) -> tuple[Behaviour, ...]:
    names = {
        "medium": (ladder.medium,),
        "medium-replay": ladder.replay,
        "medium-expert": (ladder.medium, ladder.expert),
        "expert": (ladder.expert,),
    }[level]
    noise = REPLAY_NOISE if level == "medium-replay" else 0.0
    return _evenly(
        Behaviour(name=name, kind=level, policy=ladder.policies[name], noise=noise, known=ladder.measured(name))
        for name in names
    )


def _of_quick(level: str, quick: Quick) -> tuple[Behaviour, ...]:
    if level == "mixed":
        parts = [(share, behaviours_of(kind, quick=quick)) for kind, share in MIXTURE.items()]
        return tuple(_scaled(behaviour, share) for share, part in parts for behaviour in part)
    if level == "novelty":
        return _evenly(
            Behaviour(name=f"novelty {i}", kind=level, policy=policy) for i, policy in enumerate(quick.curious)
        )
    if level == "buffer":
        return ()
    colour = NOISY if level == "noisy" else None
    return _evenly(
        Behaviour(name=f"{level} {i}", kind=level, policy=policy, colour=colour, known={"tried": round(tried, 2)})
        for i, (policy, tried) in enumerate(zip(quick.graded, quick.returns, strict=True))
    )


def buffer_share(level: str) -> float:
    """Share of a level's transitions that are taken from the buffer of training."""
    return {"buffer": 1.0, "mixed": MIXTURE["buffer"]}.get(level, 0.0)


def turn(behaviours: Sequence[Behaviour], done: int, steps: int) -> int:
    """Whose turn it is after ``done`` of ``steps`` transitions, an index into the behaviours."""
    shares = np.cumsum([behaviour.share for behaviour in behaviours])
    # Rounding must not give the first transition of the next behaviour to the one before it.
    return min(int(np.searchsorted(shares / shares[-1] * steps, done + 1e-6, side="right")), len(behaviours) - 1)
