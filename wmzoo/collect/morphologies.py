"""Planar bodies of capsules, described limb by limb and compiled by MuJoCo's ``MjSpec``.

After Modular RL (Huang, Mordatch and Pathak 2020, "One policy to control them all"): cheetahs, hoppers, walkers and
two-dimensional humanoids that lack some of their limbs. Names follow that paper's; sizes and joints are those of
Gymnasium's relatives. Humanoids that lack a left or a right limb differ in the order of their columns alone. The
complete cheetah, hopper and walker are left out, since they are Gymnasium's own bodies, which pre-training must not
see.
"""

from __future__ import annotations

import dataclasses
import math
import random
from dataclasses import dataclass
from typing import Any

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Limb:
    """A capsule that hangs on a hinge.

    Attributes:
        name: of the body and of its joint.
        parent: the limb that it hangs on, or ``torso``.
        at: its hinge in the frame of the parent, (forward, up) [m].
        end: its other end from the hinge, (forward, up) [m].
        radius: [m].
        limits: of the joint's angle [rad].
        gear: torque of a full action [N m].
        damping: [N m s]; stiffness: [N m / rad] of the joint.
    """

    name: str
    parent: str
    at: Point
    end: Point
    radius: float
    limits: tuple[float, float]
    gear: float
    damping: float = 0.1
    stiffness: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Body:
    """A torso and its limbs, parents first.

    Attributes:
        torso: the two ends of the torso's capsule around its centre, (forward, up) [m].
        radius: of the torso [m].
        limbs: what hangs on it.
        timestep: of the physics [s].
        frame_skip: physics steps of a control interval.
    """

    torso: tuple[Point, Point]
    radius: float
    limbs: tuple[Limb, ...]
    timestep: float
    frame_skip: int

    @property
    def height(self) -> float:
        """Of the torso's centre above the ground at rest [m]."""
        hinges: dict[str, Point] = {"torso": (0.0, 0.0)}
        lowest = min(z for _, z in self.torso) - self.radius
        for limb in self.limbs:
            x, z = hinges[limb.parent]
            hinges[limb.name] = (x + limb.at[0], z + limb.at[1])
            lowest = min(lowest, hinges[limb.name][1] + min(limb.end[1], 0.0) - limb.radius)
        return -lowest


def compile_body(body: Body) -> Any:
    """The MuJoCo model of a body: on the ground, free to move and turn in the vertical plane.

    Returns:
        A ``mujoco.MjModel`` with positions (x, z, pitch, joints).
    """
    import mujoco

    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    spec.option.timestep = body.timestep
    geometry = {"friction": [0.9, 0.1, 0.1], "density": 1000.0}
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[40, 40, 1], contype=0, conaffinity=1, **geometry
    )
    torso = spec.worldbody.add_body(name="torso", pos=[0, 0, body.height])
    for name, kind, axis in (
        ("rootx", mujoco.mjtJoint.mjJNT_SLIDE, [1, 0, 0]),
        ("rootz", mujoco.mjtJoint.mjJNT_SLIDE, [0, 0, 1]),
        ("rooty", mujoco.mjtJoint.mjJNT_HINGE, [0, 1, 0]),
    ):
        # The stored height is the torso's own, as in Gymnasium's relatives.
        torso.add_joint(name=name, type=kind, axis=axis, ref=body.height if name == "rootz" else 0.0)
    bodies = {"torso": torso}
    _capsule(torso, *body.torso, body.radius, geometry)
    for limb in body.limbs:
        bodies[limb.name] = _hang(spec, bodies[limb.parent], limb, geometry)
    return spec.compile()


def _hang(spec: Any, parent: Any, limb: Limb, geometry: dict[str, Any]) -> Any:
    import mujoco

    body = parent.add_body(name=limb.name, pos=[limb.at[0], 0, limb.at[1]])
    body.add_joint(
        name=limb.name,
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=[0, -1, 0],
        range=limb.limits,
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        damping=[limb.damping, 0, 0],
        stiffness=[limb.stiffness, 0, 0],
        armature=0.01,
    )
    _capsule(body, (0.0, 0.0), limb.end, limb.radius, geometry)
    spec.add_actuator(
        name=limb.name,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        target=limb.name,
        gear=[limb.gear, 0, 0, 0, 0, 0],
        ctrlrange=[-1, 1],
        ctrllimited=mujoco.mjtLimited.mjLIMITED_TRUE,
    )
    return body


def _capsule(body: Any, start: Point, end: Point, radius: float, geometry: dict[str, Any]) -> None:
    import mujoco

    ends = [start[0], 0, start[1], end[0], 0, end[1]]
    # Limbs touch the floor alone, not each other, as in Gymnasium's planar bodies.
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=ends, size=[radius, 0, 0], contype=1, conaffinity=0, **geometry
    )


def bodies() -> dict[str, Body]:
    """All bodies by name, such as ``walker-3-main``: the kind, the number of limbs with the torso, and which.

    A flipped walker faces backwards.
    """
    found = {"hopper-3": _hopper(2), "hopper-5": _hopper(4)}
    for limbs in range(1, 6):
        found[f"walker-{limbs + 1}-main"] = _walker((limbs + 1) // 2, limbs // 2)
    found |= {f"walker-{limbs + 1}-flipped": _mirrored(_walker((limbs + 1) // 2, limbs // 2)) for limbs in range(1, 7)}
    found |= {f"cheetah-{back + front + 1}-{name}": _cheetah(back, front) for name, back, front in _CHEETAHS}
    found |= {f"humanoid2d-{9 - len(lost)}-{name}": _humanoid(lost) for name, lost in _HUMANOIDS.items()}
    varied = list(found)[:: max(1, len(found) // VARIANTS)][:VARIANTS]
    return found | {f"{name}-varied": vary(found[name], seed) for seed, name in enumerate(varied)}


VARIANTS = 20
"""Bodies of which there is a second one with limbs of other lengths."""


def _mirrored(body: Body) -> Body:
    """The same body facing backwards: its feet point back and its knees bend the other way."""
    limbs = (
        dataclasses.replace(
            limb,
            at=(-limb.at[0], limb.at[1]),
            end=(-limb.end[0], limb.end[1]),
            limits=(-limb.limits[1], -limb.limits[0]),
        )
        for limb in body.limbs
    )
    return dataclasses.replace(body, limbs=tuple(limbs))


def vary(body: Body, seed: int) -> Body:
    """The same body with each limb 0.7 to 1.3 times as long, its joints moved to match.

    Args:
        body: to change.
        seed: of the factors.
    """
    rng, factors = random.Random(seed), {"torso": 1.0}
    limbs = []
    for limb in body.limbs:
        factors[limb.name] = rng.uniform(0.7, 1.3)
        at, end = _scaled(limb.at, factors[limb.parent]), _scaled(limb.end, factors[limb.name])
        limbs.append(dataclasses.replace(limb, at=at, end=end))
    return dataclasses.replace(body, limbs=tuple(limbs))


def _scaled(point: Point, factor: float) -> Point:
    return point[0] * factor, point[1] * factor


def _radians(low: float, high: float) -> tuple[float, float]:
    return math.radians(low), math.radians(high)


def _chain(first: Point, limbs: list[Limb], count: int) -> tuple[Limb, ...]:
    """The first ``count`` of some limbs, each hung on the end of the one before it; the first on the torso."""
    chain: list[Limb] = []
    for limb in limbs[:count]:
        parent, at = (chain[-1].name, chain[-1].end) if chain else ("torso", first)
        chain.append(dataclasses.replace(limb, parent=parent, at=at))
    return tuple(chain)


def _limb(name: str, end: Point, radius: float, limits: tuple[float, float], gear: float, **joint: float) -> Limb:
    return Limb(
        name=name, parent="", at=(0.0, 0.0), end=end, radius=radius, limits=_radians(*limits), gear=gear, **joint
    )


def _hopper(joints: int) -> Body:
    leg = [
        _limb("thigh", (0, -0.45), 0.05, (-150, 0), 200, damping=1.0),
        _limb("leg", (0, -0.5), 0.04, (-150, 0), 200, damping=1.0),
        _limb("lower_leg", (0, -0.3), 0.04, (-45, 45), 200, damping=1.0),
        _limb("foot", (0.26, 0), 0.06, (-45, 45), 200, damping=1.0),
    ]
    limbs = _chain((0, -0.2), leg, joints)
    return Body(torso=((0, -0.2), (0, 0.2)), radius=0.05, limbs=limbs, timestep=0.002, frame_skip=4)


def _walker(right: int, left: int) -> Body:
    def leg(side: str) -> list[Limb]:
        return [
            _limb(f"{side}_thigh", (0, -0.45), 0.05, (-150, 0), 100),
            _limb(f"{side}_leg", (0, -0.5), 0.04, (-150, 0), 100),
            _limb(f"{side}_foot", (0.2, 0), 0.06, (-45, 45), 100),
        ]

    limbs = (*_chain((0, -0.2), leg("right"), right), *_chain((0, -0.2), leg("left"), left))
    return Body(torso=((0, -0.2), (0, 0.2)), radius=0.05, limbs=limbs, timestep=0.002, frame_skip=4)


_CHEETAHS = (
    ("back", 1, 0), ("front", 0, 1), ("back", 2, 0), ("balanced", 1, 1), ("front", 0, 2), ("allback", 3, 0),
    ("allfront", 0, 3), ("back", 2, 1), ("front", 1, 2), ("back", 3, 1), ("balanced", 2, 2), ("front", 1, 3),
    ("back", 3, 2), ("front", 2, 3),
)  # fmt: skip
"""Name, joints of the back leg, joints of the front leg."""


def _cheetah(back: int, front: int) -> Body:
    back_leg = [
        _limb("bthigh", (0.16, -0.24), 0.046, (-30, 60), 120, damping=6, stiffness=240),
        _limb("bshin", (-0.28, -0.11), 0.046, (-45, 45), 90, damping=4.5, stiffness=180),
        _limb("bfoot", (0.05, -0.18), 0.046, (-23, 45), 60, damping=3, stiffness=120),
    ]
    front_leg = [
        _limb("fthigh", (-0.14, -0.23), 0.046, (-57, 40), 120, damping=4.5, stiffness=180),
        _limb("fshin", (0.12, -0.17), 0.046, (-70, 50), 60, damping=3, stiffness=120),
        _limb("ffoot", (-0.04, -0.13), 0.046, (-28, 28), 30, damping=1.5, stiffness=60),
    ]
    limbs = (*_chain((-0.5, 0), back_leg, back), *_chain((0.5, 0), front_leg, front))
    return Body(torso=((-0.5, 0), (0.5, 0)), radius=0.046, limbs=limbs, timestep=0.01, frame_skip=5)


_HUMANOIDS: dict[str, tuple[str, ...]] = {
    "left_arm": ("left_upper_arm", "left_lower_arm"),
    "left_leg": ("left_thigh", "left_shin"),
    "lower_arms": ("left_lower_arm", "right_lower_arm"),
    "right_arm": ("right_upper_arm", "right_lower_arm"),
    "right_leg": ("right_thigh", "right_shin"),
    "left_knee": ("left_shin",),
    "right_knee": ("right_shin",),
    "full": (),
}
"""What a humanoid lacks, by name."""


def _humanoid(lost: tuple[str, ...]) -> Body:
    limbs: list[Limb] = []
    for side in ("right", "left"):
        leg = [
            _limb(f"{side}_thigh", (0, -0.34), 0.06, (-110, 20), 100, damping=1),
            _limb(f"{side}_shin", (0, -0.4), 0.05, (0, 160), 100, damping=1),
        ]
        arm = [
            _limb(f"{side}_upper_arm", (0, -0.25), 0.04, (-85, 60), 25, damping=1),
            _limb(f"{side}_lower_arm", (0, -0.25), 0.031, (-90, 50), 25, damping=1),
        ]
        limbs += [*_chain((0, -0.25), leg, 2), *_chain((0, 0.2), arm, 2)]
    kept = tuple(limb for limb in limbs if limb.name not in lost)
    return Body(torso=((0, -0.25), (0, 0.25)), radius=0.07, limbs=kept, timestep=0.003, frame_skip=5)
