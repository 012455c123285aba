"""Zero-shot: carts with two and three poles, pushed right or left after a short context.

Version 1. The bodies were never trained on. After ten steps of random actions the cart is pushed right or left all the
time, and the model imagines both futures (Yin et al. 2025, section 5.1, appendices B.2 and C.5, figures 4b, 13 and 14).
Imagined positions of the cart are compared with those of the true simulator, which played the same context twice.
Actions are repeated four times, as in the paper. Nothing of the scored episodes is known beforehand: ranges come from
other episodes of the same cart, whose pushes are as long and of any strength. Floors: the cart stays, it keeps its
speed, or its acceleration is a straight line of the action that is fitted to the ten steps of context.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wmzoo.collect.making import layout, make_gymnasium
from wmzoo.data.store import Corpus
from wmzoo.errors import WmzooError
from wmzoo.evaluation import board_comparison, boards
from wmzoo.evaluation.board_rows import Board
from wmzoo.evaluation.boards import Column, describe, summary
from wmzoo.evaluation.comparison import Comparison
from wmzoo.evaluation.ranking import interval
from wmzoo.evaluation.records import RunRecord
from wmzoo.model import WorldModel
from wmzoo.progress import bar
from wmzoo.recipe import setting
from wmzoo.trajectories import Episode, Variates, episode_rows, roles_of, window_of

__all__ = ["PROTOCOL", "Config", "compare", "describe", "evaluate", "summary"]

PROTOCOL = "zero_shot/cartpoles/v1"
READS_CORPUS = False  # the simulator plays all that is needed, and an imported model needs nothing else
ENVIRONMENTS = ("dmc-cartpole-two_poles", "dmc-cartpole-three_poles")
POSITION, SPEED = "qpos:slider", "qvel:slider"
PUSHES = {"right": 1.0, "left": -1.0}
DRAWS = 1000
"""Resamples for the intervals."""

COLUMNS = (
    Column(
        "position", "position", "low", "mean absolute error of the cart's position, over steps and both futures, in m"
    ),
    Column("last", "last step", "low", "the same of the last step, in m"),
    Column("separated", "right way", "high", "share of contexts where the cart pushed right ends right of the other"),
    Column("distance", "distance", "low", "mean absolute error of the distance of the two ends, over that distance"),
)

Array = NDArray[np.float64]
Rows = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the protocol; results of different settings are not compared."""

    context: int = setting(10, "steps before the pushes, of random actions", unit="steps", low=2)
    horizon: int = setting(10, "steps imagined", unit="steps", low=1)
    push: float = setting(0.5, "the action that pushes right; its opposite pushes left", low=0.0, high=1.0)
    repeat: int = setting(4, "control intervals of a step", low=1)
    episodes: int = setting(50, "contexts", low=2)
    ranges: int = setting(400, "other episodes, that ranges are measured on", low=2)


@dataclass(frozen=True, eq=False)
class _Played:
    """What the simulator did.

    Attributes:
        rows: ``[2, N, T, M]`` rows of all steps, pushed right and pushed left after the same context.
        variates: of the cart.
        dt: seconds of a step.
    """

    rows: Rows
    variates: Variates
    dt: float


def evaluate(
    model: WorldModel, corpus: Corpus | None, manifest: Mapping[str, Any], config: Config, progress: bool = True
) -> dict[str, Any]:
    """Imagine both futures of every context, with each cart.

    Args:
        model: put in evaluation mode here; used on the device that it is on.
        corpus: not read.
        manifest: of the run.
        config: of the protocol.
        progress: show a bar.

    Returns:
        Plain JSON, see :mod:`wmzoo.evaluation.boards`; a row has an ``example``: the positions of one context.

    Raises:
        WmzooError: the run was trained on one of the carts, or a cart is too wide for the model.
    """
    began = time.perf_counter()
    trained = {key.partition("/")[0] for key in manifest["sets"]} & set(ENVIRONMENTS)
    if trained:
        raise WmzooError(f"{PROTOCOL}: the run was trained on {min(trained)}, which is held out; data.exclude it.")
    found = {}
    with bar(f"{PROTOCOL} {model.name}", len(ENVIRONMENTS), quiet=not progress, unit="carts") as report:
        for done, name in enumerate(ENVIRONMENTS):
            report(done, name)
            found[name] = _board(model.eval(), name, config, manifest["sha256"])
    return boards.result(PROTOCOL, model, manifest, config, COLUMNS, found, time.perf_counter() - began)


def compare(records: Sequence[RunRecord], mixed: Sequence[str] = (), baseline: str = "") -> Comparison:
    """Compare runs, see :func:`wmzoo.evaluation.board_comparison.compare`."""
    return board_comparison.compare(
        records, mixed, "contexts", "true and imagined positions of the cart", _draw, baseline
    )


def _draw(drawn: Sequence[Board], path: Path) -> None:
    from wmzoo.evaluation import zero_shot_figures  # matplotlib is slow to import

    zero_shot_figures.pushes(drawn, path)


def _board(model: WorldModel, name: str, config: Config, manifest_hash: str) -> dict[str, Any]:
    played = play(name, config)
    model.use({**model.variates, name: played.variates})
    known = {boards.MODEL: lambda rows: _imagine(model, rows, played.variates, config), **_floors(played, config)}
    place = played.variates.names.index(POSITION)
    true = played.rows[:, :, config.context + 1 :, place].astype(np.float64)
    rows = {}
    for label, forecast in known.items():
        began = time.perf_counter()
        imagined = np.stack([forecast(one) for one in played.rows])
        kind = boards.MODEL if label == boards.MODEL else boards.FLOOR
        rows[label] = {"kind": kind, **_scored(imagined, true), "seconds": time.perf_counter() - began}
        rows[label]["example"] = {
            "context": played.rows[0, 0, : config.context + 1, place].tolist(),
            "true": {push: true[i, 0].tolist() for i, push in enumerate(PUSHES)},
            "imagined": {push: imagined[i, 0].tolist() for i, push in enumerate(PUSHES)},
        }
    about = f"{config.episodes} contexts of {config.context} steps, {config.horizon} steps ahead, {played.dt:g} s each"
    return {"about": about, "manifest_hash": manifest_hash, "rows": rows}


def _imagine(model: WorldModel, rows: Rows, variates: Variates, config: Config) -> Array:
    """``[N, H]`` positions that the model imagines along the true actions, after the context."""
    device = next(model.parameters()).device
    present = config.context + 1
    window = window_of(rows[:, :present], variates).to(device)
    actions = torch.from_numpy(rows[:, config.context : -1, variates.predicted :]).to(device)
    found = model.rollout(window, actions, config.horizon).values[:, :, variates.names.index(POSITION)]
    return found.cpu().numpy().astype(np.float64)


def _floors(played: _Played, config: Config) -> dict[str, Callable[[Rows], Array]]:
    """What needs no world model, from rows ``[N, T, M]`` to positions ``[N, H]``; rows after the context are unread."""
    names = played.variates.names
    x, v, steps = names.index(POSITION), names.index(SPEED), np.arange(1, config.horizon + 1)
    now = config.context

    def line(one: Rows) -> Array:
        """Change of speed = offset + slope x action, fitted to a context; positions by the trapezoidal rule."""
        seen, push = one[: now + 1].astype(np.float64), float(one[now, -1])
        inputs = np.stack([np.ones(now), seen[:-1, -1]], 1)
        fitted = np.linalg.lstsq(inputs, np.diff(seen[:, v]), rcond=None)[0]
        speeds = seen[-1, v] + np.arange(config.horizon + 1) * (fitted @ [1.0, push])
        return seen[-1, x] + played.dt * np.cumsum((speeds[1:] + speeds[:-1]) / 2)

    return {
        "last value": lambda rows: np.repeat(rows[:, now, x, None].astype(np.float64), len(steps), 1),
        "same speed": lambda rows: (
            rows[:, config.context, x, None] + played.dt * steps * rows[:, config.context, v, None]
        ),
        "line": lambda rows: np.stack([line(one) for one in rows]),
    }


def _scored(imagined: Array, true: Array) -> dict[str, Any]:
    """Metrics with intervals over contexts, and the errors that they are made of; positions are ``[2, N, H]``."""
    error = np.abs(imagined - true).mean(0)
    said, real = (positions[0, :, -1] - positions[1, :, -1] for positions in (imagined, true))
    each = np.stack([error.mean(1), error[:, -1], said * real > 0, np.abs(said - real), np.abs(real)], 1)
    taken = np.random.default_rng(0).multinomial(len(each), np.full(len(each), 1 / len(each)), DRAWS) / len(each)
    mean, drawn = each.mean(0), taken @ each
    found = {name: interval(float(mean[i]), drawn[:, i]) for i, name in enumerate(("position", "last", "separated"))}
    found["distance"] = interval(float(mean[3] / mean[4]), drawn[:, 3] / drawn[:, 4])
    return {"metrics": found, "values": each[:, 0].tolist()}


def play(name: str, config: Config) -> _Played:
    """Play every context twice, and other episodes for the ranges."""
    env, columns = make_gymnasium(name).unwrapped, layout(name)
    steps = config.context + config.horizon
    drawn = np.random.default_rng(0).uniform(-1, 1, (config.episodes + config.ranges, steps, columns.actions))
    contexts, others = drawn[: config.episodes], drawn[config.episodes :]
    # Pushes of any strength, each kept up to the end, so that the ranges hold the futures that are asked for.
    others[:, config.context :] = others[:, config.context, None]
    pushed = np.stack([contexts, contexts])
    for i, sign in enumerate(PUSHES.values()):
        pushed[i, :, config.context :] = sign * config.push
    rows = np.stack([[_rows(env, seed, taken, config.repeat) for seed, taken in enumerate(half)] for half in pushed])
    later = enumerate(others, config.episodes)
    measured = np.concatenate([_rows(env, seed, taken, config.repeat) for seed, taken in later])
    dt = columns.dt * config.repeat
    spread = {"low": measured.min(0), "high": measured.max(0), "mean": measured.mean(0), "std": measured.std(0)}
    roles = roles_of(columns.states, columns.actions)
    return _Played(rows, Variates(names=columns.names, roles=roles, dt=dt, **spread), dt)


def _rows(env: Any, seed: int, actions: Array, repeat: int) -> Rows:
    """``[L+1, M]`` rows of an episode; the reward of a step is the sum over its repeats."""
    observed, rewards = [env.reset(seed=seed)[0]], []
    for action in actions:
        results = [env.step(action) for _ in range(repeat)]
        observed.append(results[-1][0])
        rewards.append(sum(result[1] for result in results))
    rows = episode_rows(Episode(observations=np.array(observed), actions=actions, rewards=np.array(rewards)))
    return np.asarray(rows, np.float32)
