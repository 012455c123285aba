"""The environments that corpora are collected in: a table that imports no simulator, so that it lists at once.

Three families: tasks of Gymnasium, tasks of the DeepMind Control Suite, and planar bodies made here
(:mod:`wmzoo.collect.morphologies`). Gymnasium's ``v4`` versions have the observations, rewards and terminations of
D4RL (Fu et al. 2020); ``v5`` differs in the reward of the last step and in Walker2d's friction.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wmzoo.collect.morphologies import Body, bodies
from wmzoo.errors import WmzooError, nearest


@dataclass(frozen=True, kw_only=True)
class PlanarRule:
    """The reward and termination that planar bodies have in common, which the batched simulator computes.

    Attributes:
        control_cost: weight of the squared action in the reward.
        alive_reward: reward for every step (0 where nothing terminates).
        height, angle: the open intervals of the torso's height [m] and pitch [rad] outside which it terminates.
        state_limit: it also terminates when another state variable reaches this size.
        speed_limit: observed velocities are clipped to plus or minus this.
        reset_noise: half width of the uniform noise on the first state [rad, m].
        gaussian_reset: the first velocities have normal rather than uniform noise.
    """

    control_cost: float
    alive_reward: float = 0.0
    height: tuple[float, float] = (-math.inf, math.inf)
    angle: tuple[float, float] = (-math.inf, math.inf)
    state_limit: float = math.inf
    speed_limit: float = math.inf
    reset_noise: float
    gaussian_reset: bool = False


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment; it has a ``gym_id``, a ``task`` or a ``body``.

    Attributes:
        name: what a recipe calls it.
        component: the part of a mixture that its data belong to.
        gym_id: Gymnasium's id; options: arguments of ``gymnasium.make``.
        task: domain and task of the DeepMind Control Suite.
        body: of a planar body made here.
        steps: transitions after which an episode is truncated.
        rule: of planar bodies.
        reference: D4RL's random and expert returns, for normalised scores.
        physics_seed: of factors on masses, inertias, dampings and frictions; None leaves them as they are.
        unnamed: names of the observed values that are no joint's own, in order.
        held_out: only its exact name selects it, never a pattern, so that pre-training does not meet it by accident.
    """

    name: str
    component: str
    gym_id: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    task: tuple[str, str] = ("", "")
    body: Body | None = None
    steps: int = 1000
    rule: PlanarRule | None = None
    reference: tuple[float, float] | None = None
    physics_seed: int | None = None
    unnamed: tuple[str, ...] = ()
    held_out: bool = False

    @property
    def summary(self) -> str:
        """One line for a list."""
        if self.body is not None:
            made = f"planar body of {len(self.body.limbs) + 1} limbs"
        elif self.gym_id:
            made = f"Gymnasium {self.gym_id}{self._options()}"
        else:
            made = f"DeepMind Control {'-'.join(self.task)}"
        return made

    def _options(self) -> str:
        changed = [f"{name}={value}" for name, value in self.options]
        changed += ["scaled physics"] if self.physics_seed is not None else []
        return f" ({', '.join(changed)})" if changed else ""

    def score(self, episode_return: float) -> float | None:
        """D4RL's normalised score, 0 for the random and 100 for the expert reference (Fu et al. 2020, section 5).

        To two digits; None where D4RL has no reference.
        """
        if self.reference is None:
            return None
        low, high = self.reference
        return round(100 * (episode_return - low) / (high - low), 2)


WALKER_RULE = PlanarRule(
    control_cost=1e-3, alive_reward=1.0, height=(0.8, 2.0), angle=(-1.0, 1.0), speed_limit=10.0, reset_noise=5e-3
)
HOPPER_RULE = PlanarRule(
    control_cost=1e-3,
    alive_reward=1.0,
    height=(0.7, math.inf),
    angle=(-0.2, 0.2),
    state_limit=100.0,
    speed_limit=10.0,
    reset_noise=5e-3,
)
CHEETAH_RULE = PlanarRule(control_cost=0.1, reset_noise=0.1, gaussian_reset=True)


def _d4rl() -> Iterator[Environment]:
    """The three that D4RL has and that pre-training leaves out (Yin et al. 2025, section 4.3)."""
    for name, gym_id, rule, reference in (
        ("hopper", "Hopper-v4", HOPPER_RULE, (-20.272305, 3234.3)),
        ("halfcheetah", "HalfCheetah-v4", CHEETAH_RULE, (-280.178953, 12135.0)),
        ("walker2d", "Walker2d-v4", WALKER_RULE, (1.629008, 4592.3)),
    ):
        yield Environment(name=name, component="d4rl", gym_id=gym_id, rule=rule, reference=reference, held_out=True)


def _gymnasium() -> Iterator[Environment]:
    """The five tasks that JAT gives to UniTraj, and the others with continuous actions and at most 90 columns."""
    axes = ("x", "y", "z")
    jat: tuple[tuple[str, str, int, tuple[str, ...]], ...] = (
        ("inverted_pendulum", "InvertedPendulum-v4", 1000, ()),
        ("inverted_double_pendulum", "InvertedDoublePendulum-v4", 1000, tuple(f"constraint_force.{i}" for i in axes)),
        ("reacher", "Reacher-v4", 50, tuple(f"fingertip_from_target.{i}" for i in axes)),
        ("pusher", "Pusher-v5", 100, tuple(f"{what}.{i}" for what in ("fingertip", "object", "goal") for i in axes)),
        ("swimmer", "Swimmer-v4", 1000, ()),
    )
    for name, gym_id, steps, unnamed in jat:
        yield Environment(name=f"gym-{name}", component="jat", gym_id=gym_id, steps=steps, unnamed=unnamed)
    yield Environment(name="gym-pendulum", component="gym", gym_id="Pendulum-v1", steps=200, unnamed=PENDULUM_NAMES)
    yield Environment(
        name="gym-mountain_car",
        component="gym",
        gym_id="MountainCarContinuous-v0",
        steps=999,
        unnamed=("qpos:car", "qvel:car"),
    )
    yield Environment(name="gym-ant", component="gym", gym_id="Ant-v4", options=(("use_contact_forces", False),))


PENDULUM_NAMES = ("cos:pole", "sin:pole", "qvel:pole")

SUITE: dict[str, tuple[str, ...]] = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": ("balance", "balance_sparse", "swingup", "swingup_sparse", "two_poles", "three_poles"),
    "cheetah": ("run",),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("upright", "swim"),
    "hopper": ("stand", "hop"),
    "humanoid": ("stand", "walk", "run", "run_pure_state"),
    "lqr": ("lqr_2_1", "lqr_6_2"),
    "manipulator": ("bring_ball", "bring_peg", "insert_ball", "insert_peg"),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("walk", "run"),
    "reacher": ("easy", "hard"),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer6", "swimmer15"),
    "walker": ("stand", "walk", "run"),
}
"""Domains and tasks of the DeepMind Control Suite: all but those wider than the paper's 90 columns (the dog, the CMU
humanoid, the quadruped's fetch) and the quadruped's escape, which draws its terrain with OpenGL."""

HELD_OUT_TASKS = ("two_poles", "three_poles")
"""Cart-poles that the paper predicts without having trained on them (section 5.2)."""


def _suite() -> Iterator[Environment]:
    for domain, tasks in SUITE.items():
        for task in tasks:
            name, held_out = f"dmc-{domain}-{task.removeprefix(domain + '_')}", task in HELD_OUT_TASKS
            yield Environment(name=name, component="dmc", task=(domain, task), held_out=held_out)


def _modular() -> Iterator[Environment]:
    for name, body in bodies().items():
        yield Environment(name=f"modular-{name}", component="modular", body=body, rule=_rule_of(name, body.height))


def _rule_of(name: str, height: float) -> PlanarRule:
    """Gymnasium's rule of the relative; heights in the same proportion to the height at rest."""
    if name.startswith("cheetah"):
        return CHEETAH_RULE
    relative, rest = (HOPPER_RULE, 1.25) if name.startswith("hopper") else (WALKER_RULE, 1.25)
    low, high = (limit * height / rest for limit in relative.height)
    return dataclasses.replace(relative, height=(low, high))


def _pendulums() -> Iterator[Environment]:
    """Pendulums of other gravities [m/s^2]: 60 of 8 to 12, and 5 of 6.5 to 7.5 held out (appendix B.3)."""
    for low, high, count, held_out in ((8.0, 12.0, 60, False), (6.5, 7.5, 5, True)):
        for index in range(count):
            gravity = round(low + (high - low) * index / (count - 1), 3)
            yield Environment(
                name=f"pendulum-gravity-{gravity:06.3f}",
                component="pendulum-gravity",
                gym_id="Pendulum-v1",
                options=(("g", gravity),),
                steps=200,
                unnamed=PENDULUM_NAMES,
                held_out=held_out,
            )


def _walkers() -> Iterator[Environment]:
    """Walkers of other masses, inertias, dampings and frictions: 45, and 5 held out (MACAW; appendix B.3)."""
    for index in range(50):
        yield Environment(
            name=f"walker2d-params-{index:02d}",
            component="walker2d-params",
            gym_id="Walker2d-v4",
            steps=200,
            rule=WALKER_RULE,
            physics_seed=index,
            held_out=index >= 45,
        )


ENVIRONMENTS: dict[str, Environment] = {
    item.name: item
    for family in (_d4rl(), _gymnasium(), _suite(), _modular(), _pendulums(), _walkers())
    for item in family
}

D4RL = tuple(name for name, item in ENVIRONMENTS.items() if item.component == "d4rl")


def find_environment(name: str) -> Environment:
    """The environment of that name.

    Raises:
        WmzooError: there is none; names the nearest.
    """
    if name not in ENVIRONMENTS:
        raise WmzooError(f'environments: no environment "{name}". {nearest(name, ENVIRONMENTS)}')
    return ENVIRONMENTS[name]


def choose_environments(patterns: Sequence[str]) -> list[str]:
    """The names that match any pattern, in the order of the table; those held out by their exact name alone.

    Args:
        patterns: names, or patterns such as ``dmc-*``.

    Raises:
        WmzooError: a pattern matches nothing.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        found = [pattern] if pattern in ENVIRONMENTS else _open_matches(pattern)
        if not found:
            raise WmzooError(_no_match(pattern))
        chosen.update(found)
    return [name for name in ENVIRONMENTS if name in chosen]


def _open_matches(pattern: str) -> list[str]:
    return [name for name in fnmatch.filter(ENVIRONMENTS, pattern) if not ENVIRONMENTS[name].held_out]


def _no_match(pattern: str) -> str:
    held_out = fnmatch.filter(ENVIRONMENTS, pattern)
    if held_out:
        return f'environments: "{pattern}" matches held-out ones alone; name them in full, such as {held_out[0]}.'
    return f'environments: "{pattern}" matches no environment. {nearest(pattern, ENVIRONMENTS)}'
