"""The table of environments, and what is read of each from its simulator."""

import subprocess
import sys
from collections import Counter

import mujoco
import numpy as np
import pytest

from wmzoo.collect.environments import ENVIRONMENTS, choose_environments, find_environment
from wmzoo.collect.kinematics import describe_actions, describe_states
from wmzoo.collect.making import layout, make_gymnasium
from wmzoo.collect.morphologies import bodies, compile_body
from wmzoo.errors import WmzooError

FAMILIES = ("pendulum-gravity", "walker2d-params")
SINGLE = [name for name, item in ENVIRONMENTS.items() if item.component not in FAMILIES]
SOME = [*SINGLE, "pendulum-gravity-10.034", "walker2d-params-47"]

# States and actions in UniTraj's release, by what the environment is called here.
UNITRAJ = {
    "gym-inverted_double_pendulum": (11, 1), "gym-inverted_pendulum": (4, 1), "gym-pusher": (23, 7),
    "gym-reacher": (11, 2), "gym-swimmer": (8, 2), "dmc-acrobot-swingup": (6, 1), "dmc-ball_in_cup-catch": (8, 2),
    "dmc-cartpole-swingup": (5, 1), "dmc-cheetah-run": (17, 6), "dmc-finger-spin": (9, 2),
    "dmc-finger-turn_easy": (12, 2), "dmc-fish-swim": (24, 5), "dmc-hopper-hop": (15, 4),
    "dmc-manipulator-bring_ball": (44, 5), "dmc-pendulum-swingup": (3, 1), "dmc-quadruped-run": (78, 12),
    "dmc-reacher-easy": (6, 2), "dmc-swimmer-swimmer6": (25, 5), "dmc-swimmer-swimmer15": (61, 14),
    "dmc-walker-walk": (24, 6), "modular-cheetah-2-back": (7, 1), "modular-cheetah-3-balanced": (9, 2),
    "modular-cheetah-4-allfront": (11, 3), "modular-cheetah-5-front": (13, 4), "modular-cheetah-6-back": (15, 5),
    "modular-hopper-3": (9, 2), "modular-hopper-5": (13, 4), "modular-humanoid2d-7-lower_arms": (17, 6),
    "modular-humanoid2d-8-left_knee": (19, 7), "modular-humanoid2d-9-full": (21, 8),
    "modular-walker-2-flipped": (7, 1), "modular-walker-5-main": (13, 4), "modular-walker-7-flipped": (17, 6),
}  # fmt: skip


@pytest.mark.parametrize("name", SOME)
def test_columns_come_from_the_simulator(name):
    columns, gym = layout(name), make_gymnasium(name)
    observation, _ = gym.reset(seed=0)
    assert observation.shape == gym.observation_space.shape == (columns.states,)
    assert len(columns.names) == len(set(columns.names)) == len(columns.bodies)
    assert len(columns.names) == columns.states + 1 + columns.actions <= 91
    assert columns.names[columns.states] == "reward" and columns.bodies[columns.states] == ""
    np.testing.assert_array_equal((columns.low, columns.high), (gym.action_space.low, gym.action_space.high))
    assert np.isfinite(columns.low).all() and (columns.low < columns.high).all() and columns.dt > 0
    assert all(columns.bodies[columns.states + 1 :])  # every action moves something
    assert columns.dt == getattr(gym.unwrapped, "dt", 1.0)
    if name in UNITRAJ:
        assert (columns.states, columns.actions) == UNITRAJ[name]
    gym.close()


def test_seeds_give_the_same_episodes():
    for name in ("dmc-cartpole-swingup", "dmc-fish-swim", "gym-reacher", "modular-walker-3-main"):
        gym, other = make_gymnasium(name), make_gymnasium(name)
        other.reset(seed=3)  # what came before changes nothing
        for env in (gym, other):
            env.reset(seed=5)
        action = np.full(gym.action_space.shape, 0.3)
        for _ in range(10):
            first, second = gym.step(action), other.step(action)
            np.testing.assert_array_equal(first[0], second[0])
            assert first[1:4] == second[1:4]


def test_known_names_and_intervals():
    assert layout("hopper").names[:2] == ("qpos:rootz", "qpos:rooty")
    assert layout("halfcheetah").names[-1].startswith("action:ffoot")
    assert [layout(n).dt for n in ("hopper", "halfcheetah", "walker2d")] == pytest.approx([0.008, 0.05, 0.008])
    assert layout("gym-pendulum").names == ("cos:pole", "sin:pole", "qvel:pole", "reward", "action:pole")
    cartpole = layout("dmc-cartpole-swingup")
    assert cartpole.names[:3] == ("qpos:slider", "cos:hinge_1", "sin:hinge_1")
    quadruped = dict(zip(layout("dmc-quadruped-walk").names, layout("dmc-quadruped-walk").bodies, strict=True))
    assert quadruped["qpos:ankle_back_left"] == "torso/hip_back_left/knee_back_left/ankle_back_left"
    assert quadruped["egocentric_state.32"].endswith("hip_front_left")  # the activation of an actuator there
    assert quadruped["torso_upright"] == "torso"
    assert layout("dmc-hopper-hop").bodies[13].endswith("foot")  # the touch of a toe


CHAIN = """<mujoco><worldbody>
  <body name="cart"><joint name="slide" type="slide" axis="1 0 0"/><geom size=".1" mass="1"/>
    <body name="arm"><joint name="swing" type="hinge" axis="0 1 0"/><geom size=".1" pos="0 0 .5" mass="1"/>
      <site name="tip" pos=".3 0 1"/></body>
    <body name="tail"><joint name="wag" type="hinge" axis="0 1 0"/><geom size=".1" pos="0 0 -.5" mass="1"/></body>
  </body>
  <body name="ball"><joint name="free" type="free"/><geom size=".1" mass="1"/></body>
</worldbody><actuator><motor joint="swing"/><general name="pull" joint="wag"/></actuator></mujoco>"""


def test_columns_are_found_by_moving_joints():
    model = mujoco.MjModel.from_xml_string(CHAIN)
    data = mujoco.MjData(model)

    def observe(position, velocity, activation):
        data.qpos[:], data.qvel[:] = position, velocity
        mujoco.mj_forward(model, data)
        return {
            "angles": np.array([np.sin(position[1]), position[2], velocity[1], position[4]]),
            "tip": data.site("tip").xpos,
            "mass": data.subtree_com[1],
            "clock": np.array(7.0),
            "height": position[4] ** 2,
        }

    found = describe_states(model, observe)
    assert [(column.name, column.body) for column in found] == [
        ("sin:swing", "cart/arm"),
        ("qpos:wag", "cart/tail"),
        ("qvel:swing", "cart/arm"),
        ("qpos:free.1", "ball"),
        ("tip.0", "cart/arm"),
        ("tip.1", ""),  # nothing moves the tip sideways
        ("tip.2", "cart/arm"),
        ("mass.0", "cart"),  # all three joints move it
        ("mass.1", ""),
        ("mass.2", "cart"),
        ("clock", ""),
        ("height", "ball"),
    ]
    assert [column.name for column in describe_states(model, observe, ["x", "y", "z"])][4:8] == [
        "x",
        "y",
        "z",
        "mass.0",
    ]
    actions = describe_actions(model)
    assert [(column.name, column.body) for column in actions] == [
        ("action:swing", "cart/arm"),
        ("action:pull", "cart/tail"),
    ]


@pytest.mark.parametrize("name", bodies())
def test_bodies_stand_on_the_ground_and_stay_finite(name):
    body = bodies()[name]
    model = compile_body(body)
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    mujoco.mj_forward(model, data)
    assert data.qpos[1] == body.height == data.body("torso").xpos[2]
    assert all(contact.dist > -1e-6 for contact in data.contact)
    for _ in range(200):
        data.ctrl[:] = rng.uniform(-1, 1, model.nu)
        mujoco.mj_step(model, data, body.frame_skip)
    assert np.isfinite(data.qpos).all() and np.abs(data.qvel).max() < 200 and not data.warning.number.any()


def test_varied_and_flipped_bodies_are_others():
    found = bodies()
    plain, varied = found["walker-4-main"], found["walker-4-main-varied"]
    lengths = [np.hypot(*limb.end) / np.hypot(*old.end) for limb, old in zip(varied.limbs, plain.limbs, strict=True)]
    assert min(lengths) > 0.7 and max(lengths) < 1.3 and np.std(lengths) > 0.05
    assert found["walker-4-flipped"].limbs[0].limits == (-plain.limbs[0].limits[1], -plain.limbs[0].limits[0])
    assert len(set(found.values())) == len(found) > 50


def test_there_are_enough_and_the_held_out_stay_out():
    pretraining = choose_environments(["gym-*", "dmc-*", "modular-*"])
    assert len(pretraining) >= 80
    everything = set(choose_environments(["*"]))
    held_out = {name for name, item in ENVIRONMENTS.items() if item.held_out}
    assert not everything & held_out and everything | held_out == set(ENVIRONMENTS)
    assert {"hopper", "halfcheetah", "walker2d", "dmc-cartpole-two_poles", "dmc-cartpole-three_poles"} < held_out
    assert choose_environments(["walker2d", "gym-ant"]) == ["walker2d", "gym-ant"]
    counts = Counter((item.component, item.held_out) for item in ENVIRONMENTS.values())
    assert [counts[component, out] for component in FAMILIES for out in (False, True)] == [60, 5, 45, 5]
    gravities = [dict(item.options)["g"] for n, item in ENVIRONMENTS.items() if n.startswith("pendulum-gravity")]
    assert min(gravities[:60]) == 8 and max(gravities[:60]) == 12
    assert min(gravities[60:]) == 6.5 and max(gravities[60:]) == 7.5
    for pattern, sentence in (("hal*", "held-out ones alone; name them in full"), ("dmz-*", "matches no environment")):
        with pytest.raises(WmzooError, match=sentence):
            choose_environments([pattern])


def test_families_differ_in_their_physics():
    light, heavy = (make_gymnasium(f"pendulum-gravity-{g}") for g in ("08.000", "12.000"))
    assert light.unwrapped.g == 8 and heavy.unwrapped.g == 12
    plain, scaled, again = (
        make_gymnasium(name).unwrapped.model for name in ("walker2d", "walker2d-params-03", "walker2d-params-03")
    )
    ratios = scaled.body_mass[1:] / plain.body_mass[1:]
    assert (ratios > 1.5**-3).all() and (ratios < 1.5**3).all() and np.std(np.log(ratios)) > 0.1
    np.testing.assert_array_equal(scaled.body_mass, again.body_mass)
    for field in ("body_inertia", "dof_damping", "geom_friction"):
        assert not np.array_equal(getattr(scaled, field), getattr(plain, field))
    np.testing.assert_allclose(scaled.body_subtreemass[0], scaled.body_mass.sum())  # constants follow


def test_time_limits():
    for name in ("halfcheetah", "gym-reacher", "gym-pendulum", "dmc-lqr-2_1", "modular-cheetah-2-back"):
        gym, steps = make_gymnasium(name), 0
        gym.reset(seed=0)
        truncated = False
        while not truncated:
            _, _, terminated, truncated, _ = gym.step(np.zeros(gym.action_space.shape))
            steps += 1
            assert not terminated
        assert steps == find_environment(name).steps


def test_listing_imports_nothing_heavy(tmp_path):
    code = (
        "import sys; from wmzoo.collect.environments import ENVIRONMENTS; assert len(ENVIRONMENTS) > 80; "
        "print(sorted({'torch', 'gymnasium', 'mujoco', 'h5py', 'dm_control', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, text=True).strip() == "[]"


@pytest.mark.parametrize("name", ["halfcheetah", "dmc-cheetah-run", "modular-hopper-3"])
def test_making_an_environment_is_silent(tmp_path, name):
    code = f"from wmzoo.collect.making import make_gymnasium; make_gymnasium({name!r}).reset(seed=0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
    assert not list(tmp_path.iterdir())


def test_scores_and_misspelled_names():
    hopper = ENVIRONMENTS["hopper"]
    low, high = hopper.reference
    assert (hopper.score(low), hopper.score(high)) == (0, 100)
    assert ENVIRONMENTS["gym-ant"].score(100) is None
    with pytest.raises(WmzooError, match='Did you mean "hopper"'):
        find_environment("hoper")
