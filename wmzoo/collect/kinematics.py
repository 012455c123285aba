"""What each observed value is: found by moving the joints of a MuJoCo model and looking at what changes.

A value that equals the position or the velocity of a joint, or the position's sine or cosine, takes the joint's name
and belongs to the joint's body; the activation of an actuator belongs to what it moves, and a touch to its sensor's
body. Any other value belongs to the lowest body that all joints which move it have in common above them: the hand for
the position of a hand, the torso for a speed of the whole body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Observe = Callable[[np.ndarray, np.ndarray, np.ndarray], Mapping[str, np.ndarray]]
"""From positions ``[nq]``, velocities ``[nv]`` and activations of actuators ``[na]`` to the observation by key."""

STEP = 1e-4
"""How far joints are moved [rad, m]; large beside rounding, small beside what an observation clips."""


@dataclass(frozen=True)
class Column:
    """Name of a column, and the path of bodies from the root to the one that it belongs to (empty if unknown)."""

    name: str
    body: str


def describe_states(model: Any, observe: Observe, unnamed: Sequence[str] = ()) -> list[Column]:
    """The columns of an environment's observation.

    Args:
        model: a ``mujoco.MjModel``.
        observe: the environment's observation of a state of the physics.
        unnamed: names of the values that are no joint's own, in order; key and index if there are none.

    Returns:
        ``[m]`` columns in the order of the observation.
    """
    probe = _Probe(model, observe)
    spare = iter(unnamed)
    found = []
    for key, values in probe.base.items():
        for index in range(np.size(values)):
            joint = probe.joint_value(key, index)
            if joint is not None:
                found.append(joint)
            else:
                fallback = key if np.size(values) == 1 else f"{key}.{index}"
                found.append(Column(next(spare, fallback), probe.body_of(key, index)))
    return found


def describe_actions(model: Any) -> list[Column]:
    """The columns of the actions ``[n]``: the actuators and the bodies that they move."""
    found = []
    for a in range(model.nu):
        joints = _joints_of(model, a)
        name = model.actuator(a).name or (model.joint(joints[0]).name if joints else str(a))
        found.append(Column(f"action:{name}", _moved_by(model, a)))
    return found


def _moved_by(model: Any, actuator: int) -> str:
    return "/".join(_common([_path(model, model.jnt_bodyid[j]) for j in _joints_of(model, actuator)]))


def _joints_of(model: Any, actuator: int) -> list[int]:
    """The joints that an actuator pulls at, directly or by a tendon."""
    import mujoco

    kind, target = model.actuator_trntype[actuator], int(model.actuator_trnid[actuator, 0])
    if kind == mujoco.mjtTrn.mjTRN_JOINT:
        return [target]
    if kind == mujoco.mjtTrn.mjTRN_TENDON:
        wraps = range(model.tendon_adr[target], model.tendon_adr[target] + model.tendon_num[target])
        return [int(model.wrap_objid[w]) for w in wraps if model.wrap_type[w] == mujoco.mjtWrap.mjWRAP_JOINT]
    return []


class _Probe:
    """Observations of a random state of the physics, and of its neighbours along each degree of freedom."""

    def __init__(self, model: Any, observe: Observe):
        import mujoco

        self.model = model
        rng = np.random.default_rng(0)
        position, velocity = np.array(model.qpos0), rng.normal(0, 0.01, model.nv)
        mujoco.mj_integratePos(model, position, rng.normal(0, 0.1, model.nv), 1.0)
        self.position, self.velocity = position, velocity
        self.activation = rng.uniform(-0.5, 0.5, model.na)
        self.base = _copied(observe(position, velocity, self.activation))
        self.moved = [_copied(observe(*state)) for state in self._neighbours()]

    def _neighbours(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Each degree of freedom moved, then each made faster."""
        import mujoco

        for dof in range(self.model.nv):
            position, direction = self.position.copy(), np.zeros(self.model.nv)
            direction[dof] = 1.0
            mujoco.mj_integratePos(self.model, position, direction, STEP)
            yield position, self.velocity, self.activation
        for dof in range(self.model.nv):
            velocity = self.velocity.copy()
            velocity[dof] += STEP
            yield self.position, velocity, self.activation

    def joint_value(self, key: str, index: int) -> Column | None:
        """The joint whose position, velocity, sine or cosine a value is, if it is one."""
        value, model = np.ravel(self.base[key])[index], self.model
        candidates = {
            "qpos": self.position,
            "qvel": self.velocity,
            "sin": np.sin(self.position),
            "cos": np.cos(self.position),
        }
        for what, values in candidates.items():
            matches = np.flatnonzero(np.abs(values - value) < 1e-10)
            if len(matches) == 1 and self._responds(key, index).any():
                addresses = model.jnt_dofadr if what == "qvel" else model.jnt_qposadr
                joint = int(np.searchsorted(addresses, matches[0], side="right")) - 1
                offset, single = int(matches[0] - addresses[joint]), model.jnt_type[joint] >= 2
                name = f"{what}:{model.joint(joint).name}" + ("" if single else f".{offset}")
                return Column(name, "/".join(_path(model, model.jnt_bodyid[joint])))
        return None

    def body_of(self, key: str, index: int) -> str:
        """The lowest body above or at all joints that move a value; at the end of a chain if they form one."""
        responds = self._responds(key, index)
        dofs = np.flatnonzero(responds[: self.model.nv] | responds[self.model.nv :])
        if not len(dofs):
            return self._unmoved(key, index)
        paths = sorted({_path(self.model, self.model.dof_bodyid[d]) for d in dofs}, key=len)
        chain = all(paths[-1][: len(path)] == path for path in paths)
        return "/".join(paths[-1] if chain else _common(paths))

    def _unmoved(self, key: str, index: int) -> str:
        """The body of a value that no joint moves: an activation, or one of as many touches as there are sensors."""
        import mujoco

        model, value = self.model, np.ravel(self.base[key])[index]
        activations = np.flatnonzero(np.abs(self.activation - value) < 1e-10)
        if len(activations):
            return _moved_by(model, int(np.searchsorted(model.actuator_actadr, activations[0])))
        touches = np.flatnonzero(model.sensor_type == mujoco.mjtSensor.mjSENS_TOUCH)
        if key == "touch" and len(touches) == np.size(self.base[key]):
            return "/".join(_path(model, model.site_bodyid[model.sensor_objid[touches[index]]]))
        return ""

    def _responds(self, key: str, index: int) -> np.ndarray:
        """Which of the ``2 nv`` neighbours observe another value."""
        base = np.ravel(self.base[key])[index]
        return np.array([abs(np.ravel(moved[key])[index] - base) > 1e-9 for moved in self.moved])


def _copied(observation: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key: np.array(value, np.float64) for key, value in observation.items()}


def _path(model: Any, body: int) -> tuple[str, ...]:
    """The names of the bodies from the root to one, without the world."""
    names: list[str] = []
    while body > 0:
        names.append(model.body(body).name or str(body))
        body = int(model.body_parentid[body])
    return tuple(reversed(names))


def _common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The longest beginning that all paths share."""
    shared: list[str] = []
    for level in zip(*paths, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return tuple(shared)
