"""When an imagined episode terminates: the rules of known environments, or what a model has learned of it.

Paper: Towers et al. 2024, Gymnasium (arXiv 2407.17032); Yin et al. 2025 (arXiv 2502.01366), the released code's rules

An *ending* takes the states ``[S, m]`` that were arrived in, physical units, in the order of a corpus's columns, and
says whether the episode terminates there, ``[S]`` bool. Where there is none, ``None``, episodes never terminate. Time
limits truncate, which is not meant here.

The rules are Gymnasium's, of all versions of a task, as far as an observation shows what they look at. States that are
not finite terminate wherever there is a rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wmzoo.collect.environments import CHEETAH_RULE, ENVIRONMENTS, HOPPER_RULE, WALKER_RULE, PlanarRule
from wmzoo.errors import WmzooError, nearest
from wmzoo.trajectories import TERMINATED, Variates

if TYPE_CHECKING:
    from wmzoo.model import WorldModel

Ending = Callable[[Tensor], Tensor]
"""From the states ``[S, m]`` that were arrived in to whether the episode terminates there, ``[S]`` bool."""


Policy = Callable[[Tensor], Tensor]
"""From states ``[S, m]`` to actions ``[S, n]``, physical units."""

AUTO, LEARNED, RULE, NEVER = CHOICES = ("auto", "learned", "rule", "never")


def ending(source: WorldModel | Variates, environment: str, how: str = AUTO) -> Ending | None:
    """How the imagined episodes of an environment end.

    Args:
        source: a model, or the columns that it imagines.
        environment: its name.
        how: ``learned`` as the model was trained to tell, ``rule`` by the environment's own rule (of a model made
            with ``compat: official``, the released code's), ``never``, or ``auto``: learned if it was, else the
            rule.

    Raises:
        WmzooError: the choice is not known, the model has not learned it, or the environment has no rule.
    """
    if how not in CHOICES:
        raise WmzooError(f'ending: "{how}" is not known. {nearest(how, CHOICES)}')
    if how == NEVER:
        return None
    variates = source if isinstance(source, Variates) else _variates(source, environment)
    if how == LEARNED or (how == AUTO and variates.terminated):
        return learned(variates)
    return rule(environment, official=not isinstance(source, Variates) and source.official)


def _variates(model: WorldModel, environment: str) -> Variates:
    if environment not in model.variates:
        raise WmzooError(f'ending: {model.name} knows no "{environment}". {nearest(environment, model.variates)}')
    return model.variates[environment]


def learned(variates: Variates) -> Ending:
    """What a model learned that was trained with ``data.terminated``: its last state beyond 0.5, or not a number.

    Args:
        variates: the columns that it imagines.

    Raises:
        WmzooError: they hold no ``terminated``.
    """
    if not variates.terminated:
        raise WmzooError(
            f'ending: the model has no column "{TERMINATED}"; train it with data.terminated=true, or choose the rule.'
        )
    place = variates.states - 1

    def ending(states: Tensor) -> Tensor:
        return ~(states[:, place] <= 0.5)

    return ending


def observing(policy: Policy, variates: Variates) -> Policy:
    """A policy of an environment's own states as one of the states that a model imagines, ``terminated`` left out."""
    return (lambda states: policy(states[:, :-1])) if variates.terminated else policy


def rule(environment: str, official: bool = False) -> Ending | None:
    """The termination rule of an environment.

    Args:
        environment: a name of ``wmzoo ls environments``, or of a Gymnasium task, such as ``Humanoid-v4``.
        official: that of the released TrajWorld code, which differs for HalfCheetah, Hopper and Walker2d: imagined
            states that reach 100 terminate too, in Hopper positive ones alone.

    Raises:
        WmzooError: the environment is not known, or its observation does not show when it terminates.
    """
    known = ENVIRONMENTS.get(environment)
    task = _task(known.gym_id if known and known.gym_id else environment)
    if official and task in OFFICIAL:
        return OFFICIAL[task]
    if known and known.rule:
        return _planar(known.rule)
    if known and known.task[0]:
        return _at_rest if known.task[0] == "lqr" else None
    if task in RULES:
        return RULES[task]
    raise WmzooError(_unknown(environment, task))


def _task(name: str) -> str:
    """``InvertedPendulum-v4`` and ``gym-inverted_pendulum`` to ``invertedpendulum``."""
    return re.sub(r"^gym-|-v\d+$|[-_]", "", name.lower())


def _unknown(environment: str, task: str) -> str:
    remedy = "train a model with data.terminated=true, which learns it, or give a function of the states as ending"
    if task in HIDDEN:
        return f'terminations: "{environment}" terminates by {HIDDEN[task]}, which no observation holds; {remedy}.'
    return f'terminations: "{environment}" has no rule; {remedy}. {nearest(task, RULES)}'


def _planar(rule: PlanarRule) -> Ending | None:
    """That of a planar body: height [m] and pitch [rad] of its torso come first in what it observes.

    Velocities are observed clipped, so one that reaches the limit of the state does not show: it alone ended 9 of
    8685 terminated episodes of the hoppers made here, and none of Gymnasium's own.
    """
    if rule == CHEETAH_RULE:
        return None

    def ending(states: Tensor) -> Tensor:
        healthy = _between(states[:, 0], *rule.height) & _between(states[:, 1], *rule.angle)
        return ~(healthy & (states[:, 1:].abs() < rule.state_limit).all(1))

    return ending


def _between(values: Tensor, low: float, high: float) -> Tensor:
    """Whether values lie inside of an open interval; NaN does not."""
    return (values > low) & (values < high)


def _finite(states: Tensor) -> Tensor:
    return states.isfinite().all(1)


def _ant(states: Tensor) -> Tensor:
    """Torso height [m] from 0.2 to 1, both included."""
    height = states[:, 0]
    return ~(_finite(states) & (height >= 0.2) & (height <= 1.0))


def _humanoid(states: Tensor) -> Tensor:
    """Torso height [m] between 1 and 2."""
    return ~(_finite(states) & _between(states[:, 0], 1.0, 2.0))


def _inverted_pendulum(states: Tensor) -> Tensor:
    """Angle of the pole [rad] beyond 0.2."""
    return ~(_finite(states) & (states[:, 1].abs() <= 0.2))


def _inverted_double_pendulum(states: Tensor) -> Tensor:
    """Tip at most 1 m high: two poles of 0.6 m, columns x, sines and cosines of both angles, the second one relative.

    The simulator looks at the tip as it was within its last time step, to which the observation is an approximation.
    """
    first, second = states[:, 1:3].unbind(1), states[:, 3:5].unbind(1)
    height = 0.6 * (second[0] + second[0] * second[1] - first[0] * first[1])
    return ~(_finite(states) & (height > 1.0))


def _cart_pole(states: Tensor) -> Tensor:
    """Cart [m] beyond 2.4 or pole beyond 12 degrees."""
    limit = 12 * 2 * torch.pi / 360
    return ~((states[:, 0].abs() <= 2.4) & (states[:, 2].abs() <= limit) & _finite(states))


def _mountain_car(goal: float) -> Ending:
    """Car at the goal [m] and not on its way back."""

    def ending(states: Tensor) -> Tensor:
        return ((states[:, 0] >= goal) & (states[:, 1] >= 0)) | ~_finite(states)

    return ending


def _acrobot(states: Tensor) -> Tensor:
    """Tip more than 1 m above the joint: columns cosine and sine of the first, then of the second, relative angle."""
    first, second = states[:, 0:2].unbind(1), states[:, 2:4].unbind(1)
    height = -first[0] - (first[0] * second[0] - first[1] * second[1])
    return (height > 1.0) | ~_finite(states)


def _at_rest(states: Tensor) -> Tensor:
    """The only tasks of the DeepMind Control Suite that terminate: positions and velocities near 0, together 1e-6."""
    return ~(states.norm(dim=1) >= 1e-6)


RULES: dict[str, Ending | None] = {
    "acrobot": _acrobot,
    "ant": _ant,
    "cartpole": _cart_pole,
    "halfcheetah": None,
    "hopper": _planar(HOPPER_RULE),
    "humanoid": _humanoid,
    "humanoidstandup": None,
    "inverteddoublependulum": _inverted_double_pendulum,
    "invertedpendulum": _inverted_pendulum,
    "mountaincar": _mountain_car(0.5),
    "mountaincarcontinuous": _mountain_car(0.45),
    "pendulum": None,
    "pusher": None,
    "reacher": None,
    "swimmer": None,
    "walker2d": _planar(WALKER_RULE),
}
"""By task of Gymnasium, in small letters alone."""

HIDDEN = {
    "bipedalwalker": "its hull touching the ground",
    "bipedalwalkerhardcore": "its hull touching the ground",
    "carracing": "the tiles that it has visited",
    "lunarlander": "contacts and the sleep of its body",
    "lunarlandercontinuous": "contacts and the sleep of its body",
}
"""Tasks of Gymnasium that no observation decides, and what does."""


def _official_halfcheetah(states: Tensor) -> Tensor:
    return ~(states.abs() < 100).all(1)


def _official_hopper(states: Tensor) -> Tensor:
    inside = (states[:, 1:] < 100).all(1) & (states[:, 0] > 0.7) & (states[:, 1].abs() < 0.2)
    return ~(_finite(states) & inside)


def _official_walker2d(states: Tensor) -> Tensor:
    healthy = _between(states[:, 0], 0.8, 2.0) & _between(states[:, 1], -1.0, 1.0)
    return ~(healthy & (states.abs() < 100).all(1))


OFFICIAL: dict[str, Ending] = {
    "halfcheetah": _official_halfcheetah,
    "hopper": _official_hopper,
    "walker2d": _official_walker2d,
}
