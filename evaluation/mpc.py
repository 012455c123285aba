"""Model-predictive control: a planner that searches the world model acts in the real simulator.

Version 1. In every step of every episode the planner imagines candidates from the real history and takes the first
action of what it finds best, by discounted imagined return, until the environment's own rule says that it ends. All
episodes are played in lockstep, so that their decisions are taken together. Beside the model, from the same first
states: the same planner on the true simulator (the ceiling), the proposal policy alone, and random actions. The
paper's horizons and noises (Yin et al. 2025, appendix B.5) are what a setting means that is left empty.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wmzoo import registry
from wmzoo.collect.environments import find_environment
from wmzoo.collect.ladder import SHIPPED, load_ladder
from wmzoo.collect.making import layout
from wmzoo.collect.policies import Policy
from wmzoo.collect.simulators import PlanarSimulator, Simulator, make_simulator
from wmzoo.data.store import Corpus
from wmzoo.errors import WmzooError, nearest
from wmzoo.evaluation import board_comparison, boards
from wmzoo.evaluation.board_rows import Board
from wmzoo.evaluation.boards import Column, describe, summary
from wmzoo.evaluation.comparison import Comparison
from wmzoo.evaluation.ranking import UNDEFINED, interval, resampled
from wmzoo.evaluation.records import RunRecord
from wmzoo.evaluation.remembered import digest, folder_of, remember
from wmzoo.evaluation.targets import find_policies
from wmzoo.model import WorldModel
from wmzoo.planning import Futures, Planner, Search
from wmzoo.progress import bar
from wmzoo.recipe import Choice, part, plain, setting
from wmzoo.terminations import AUTO, CHOICES, ending, observing
from wmzoo.trajectories import window_of

__all__ = ["PROTOCOL", "Config", "compare", "describe", "evaluate", "summary"]

PROTOCOL = "mpc/v1"
HORIZON, HORIZONS = 25, {"hopper": 50}
NOISES = {"hopper": 0.05, "walker2d": 0.2, "halfcheetah": 0.025}
"""Yin et al. (2025), appendix B.5; noise in units of the action limits."""
DRAWS = 1000

COLUMNS = (
    Column("return", "return", "high", "mean undiscounted return of an episode"),
    Column("score", "score", "high", "D4RL's normalised score, 0 random, 100 expert"),
    Column("steps", "steps", "high", "mean length of an episode"),
    Column("ms", "ms/decision", "low", "milliseconds a decision, of decisions taken together"),
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the protocol; results of different settings are not compared."""

    planner: Choice = part("planners", "proposal")
    env: str = setting("", "the environment; all that the run trained on if empty")
    candidates: int = setting(128, "futures imagined for a decision and round", symbol="S", low=2)
    horizon: int | None = setting(None, "steps of a future; 50 for hopper, else 25, if null", unit="steps", low=1)
    gamma: float = setting(0.995, "discount factor of imagined returns", low=0.0, high=1.0)
    history: bool = setting(True, "imagine from the real history, not only from the present state")
    ending: str = setting(AUTO, "when imagined episodes terminate: as learned, else by the rule", choices=CHOICES)
    clip: bool = setting(False, "clip imagined states and rewards to the training range; official models do anyway")
    policies: str = setting("", "folder of a ladder, or dope:FOLDER; the ladder that the package ships if empty")
    proposal: str = setting("", "name of the proposal policy; the ladder's medium one if empty")
    episodes: int = setting(10, "played", low=1)
    steps: int | None = setting(None, "most steps of an episode; the environment's own if null", low=1)
    seed: int = setting(0, "of first states and candidates", low=0)


def evaluate(
    model: WorldModel, corpus: Corpus, manifest: Mapping[str, Any], config: Config, progress: bool = True
) -> dict[str, Any]:
    """Control the environments that the run trained on.

    Args:
        model: put in evaluation mode here; used on the device that it is on.
        corpus: that the run trained on.
        manifest: of the run.
        config: of the protocol.
        progress: show bars.

    Returns:
        Plain JSON, see :mod:`wmzoo.evaluation.boards`; ``returns`` of each row, by episode.

    Raises:
        WmzooError: an unknown environment, policies that are missing or do not fit, or a model that diverges.
    """
    began, found = time.perf_counter(), {}
    for environment in _environments(corpus, manifest, config):
        ending(model, environment, config.ending)  # before anything that takes long
        task = _Task(environment, corpus, config, quiet=not progress)
        found[environment] = {**task.board(model.eval()), "manifest_hash": manifest["sha256"]}
    return boards.result(PROTOCOL, model, manifest, config, COLUMNS, found, time.perf_counter() - began)


def compare(records: Sequence[RunRecord], mixed: Sequence[str] = (), baseline: str = "") -> Comparison:
    """Compare runs, see :func:`wmzoo.evaluation.board_comparison.compare`."""
    return board_comparison.compare(records, mixed, "episodes", "returns of episodes", _draw, baseline)


def _draw(drawn: Sequence[Board], path: Path) -> None:
    from wmzoo.evaluation import board_figures  # matplotlib is slow to import

    board_figures.returns(drawn, path)


def _environments(corpus: Corpus, manifest: Mapping[str, Any], config: Config) -> list[str]:
    trained = sorted({corpus.sets[key].environment for key in manifest["sets"]})
    if not config.env:
        return trained
    if config.env.lower() not in trained:
        raise WmzooError(f'mpc.env: the run knows nothing of "{config.env}". {nearest(config.env, trained)}')
    return [config.env.lower()]


class _Task:
    """Control of one environment."""

    def __init__(self, name: str, corpus: Corpus, config: Config, quiet: bool):
        self.name, self.config, self.quiet, self.folder = name, config, quiet, folder_of(corpus)
        self.columns, self.known = layout(name), find_environment(name)
        self.steps = min(config.steps or self.known.steps, self.known.steps)
        self.horizon = config.horizon or HORIZONS.get(name, HORIZON)
        self.planner = _planner(config.planner, name)
        self.policy = self._proposal()

    def search(self, episodes: int) -> Search:
        """How widely to search for so many decisions at once."""
        return Search(episodes, self.config.candidates, self.horizon, self.columns.actions)

    @functools.cached_property
    def copies(self) -> PlanarSimulator:
        """Copies of the simulator for all candidates of all episodes."""
        count = self.config.episodes * self.config.candidates
        return PlanarSimulator(self.name, count, np.random.default_rng(0))

    def _proposal(self) -> Policy | None:
        """The proposal policy; only planners that propose must have one."""
        try:
            found = find_policies(self.name, self.config.policies)
        except WmzooError:
            if self.planner.proposes or self.config.policies:
                raise
            return None
        wanted = self.config.proposal or self._medium(list(found))
        if wanted not in found:
            raise WmzooError(f'mpc.proposal: no policy "{wanted}" of {self.name}. {nearest(wanted, found)}')
        return found[wanted]

    def _medium(self, names: list[str]) -> str:
        """The ladder's own choice; of DOPE's policies, the fourth worst, as the released code's example has it."""
        where = self.config.policies
        if where.startswith("dope:"):
            return names[min(3, len(names) - 1)]
        return load_ladder(self.name, Path(where) if where else SHIPPED).medium

    def board(self, model: WorldModel) -> dict[str, Any]:
        """All rows of the environment."""
        planner = self.config.planner.name
        rows = {"model": self._row(boards.MODEL, _planned(self, functools.partial(_Imagined, model)), model.name)}
        if self.known.rule is not None:
            ceiling = _planned(self, _Copies)
            rows[f"{planner} on the true simulator"] = self._remembered("ceiling", boards.CEILING, ceiling)
        if self.policy is not None:
            rows["proposal policy"] = self._remembered("proposal", boards.BASELINE, _following(self.policy))
        rows["random actions"] = self._remembered("random", boards.FLOOR, _following(None))
        plan = f"{planner}, {self.config.candidates} candidates, horizon {self.horizon}"
        return {"about": f"{plan}, {self.config.episodes} episodes of at most {self.steps} steps", "rows": rows}

    def _remembered(self, name: str, kind: str, actor: _Actor) -> dict[str, Any]:
        """A row that no model has a part in, measured once for all of them."""
        settings = {
            "policy": digest(self.policy) if self.policy else "",
            "noise": getattr(self.planner, "noise", None),
            "horizon": self.horizon,
            "most": self.steps,
            **{key: value for key, value in plain(self.config).items() if key not in ("history", "clip", "policies")},
        }
        return remember(self.folder, f"mpc-{name}-{self.name}", settings, lambda: self._row(kind, actor, name))

    def _row(self, kind: str, actor: _Actor, label: str) -> dict[str, Any]:
        """Play the episodes, and put what they gave into a row."""
        returns, lengths, seconds = self._play(actor, label)
        metrics = {
            "return": _interval(returns),
            "score": _interval(np.array([self.known.score(r) for r in returns], float)),
            "steps": _interval(lengths.astype(float)),
            "ms": _interval(np.array([1000 * seconds / lengths.sum()])),
        }
        return {"kind": kind, "metrics": metrics, "seconds": seconds, "returns": returns.tolist()}

    def _play(self, actor: _Actor, label: str) -> tuple[np.ndarray, np.ndarray, float]:
        """Returns ``[E]`` and lengths ``[E]`` of the episodes, and the seconds that all decisions took."""
        count, m = self.config.episodes, self.columns.states
        simulator = make_simulator(self.name, count, np.random.default_rng([self.config.seed, 0]))
        rng, plan = np.random.default_rng([self.config.seed, 1]), None
        history = np.zeros((count, self.steps + 1, len(self.columns.names)), np.float32)
        returns, lengths, seconds, active = np.zeros(count), np.zeros(count, int), 0.0, np.arange(count)
        history[:, 0, :m] = simulator.observe()
        with bar(f"{PROTOCOL} {label} in {self.name}", self.steps, quiet=self.quiet, unit="decisions") as report:
            for t in range(self.steps):
                began = time.perf_counter()
                actions, plan = actor(_Moment(simulator, active, history[active, : t + 1], rng), plan)
                seconds += time.perf_counter() - began
                rewards, terminated = simulator.step(actions, active)
                history[active, t, m + 1 :] = self.columns.scaled(actions)
                history[active, t + 1, :m] = simulator.observe()[active]
                history[active, t + 1, m] = rewards
                returns[active] += rewards
                lengths[active] += 1
                plan = None if plan is None else plan[~terminated]
                active = active[~terminated]
                report(t + 1, f"{len(active)} of {count} episodes go on")
                if not len(active):
                    break
        return returns, lengths, seconds


def _interval(values: np.ndarray) -> dict[str, Any]:
    """The mean over episodes with its bootstrap interval; None throughout where it is not defined."""
    if not np.isfinite(values).all():
        return dict(UNDEFINED)
    if len(values) == 1:
        return {**UNDEFINED, "value": float(values[0])}
    return interval(float(values.mean()), resampled(values[None], DRAWS).draws[:, 0])


@dataclass(frozen=True, eq=False)
class _Moment:
    """What one who acts is told.

    Attributes:
        simulator: of all episodes.
        active: ``[A]`` the copies that go on.
        history: ``[A, t, M]`` their rows so far.
        rng: draws.
    """

    simulator: Simulator
    active: np.ndarray
    history: np.ndarray
    rng: np.random.Generator


_Actor = Callable[[_Moment, Any], tuple[np.ndarray, Any]]
"""From a moment and the plan of the last one, ``[A, ...]`` or None, to actions ``[A, n]`` in units of the limits, and a
plan."""


def _following(policy: Policy | None) -> _Actor:
    """A policy, or uniformly random actions if there is none."""

    def act(now: _Moment, plan: None) -> tuple[np.ndarray, None]:
        if policy is None:
            return now.rng.uniform(-1, 1, (len(now.active), now.simulator.actions)).astype(np.float32), None
        return policy.act(now.simulator.observe()[now.active], now.rng), None

    return act


def _planned(task: _Task, futures: Callable[[_Task, _Moment], Futures]) -> _Actor:
    """A planner, in the futures that a task has at a moment, see :class:`_Imagined` and :class:`_Copies`."""

    def act(now: _Moment, plan: Any) -> tuple[np.ndarray, Any]:
        search = task.search(len(now.active))
        plan = task.planner.start(search) if plan is None else plan
        actions, plan = task.planner.decide(futures(task, now), search, plan, now.rng)
        return np.clip(actions, -1, 1).astype(np.float32), plan

    return act


class _Imagined:
    """Futures in a world model."""

    def __init__(self, model: WorldModel, task: _Task, now: _Moment):
        self.model, self.task, self.rng = model, task, now.rng
        rows = now.history[:, -model.context :] if task.config.history else now.history[:, -1:]
        self.window = window_of(rows, model.variates[task.name]).to(next(model.parameters()).device)

    def follow(self, actions: np.ndarray) -> np.ndarray:
        """See :class:`wmzoo.planning.Futures`."""
        flat = torch.from_numpy(self.task.columns.scaled(actions)).flatten(0, 1).to(self.window.values)
        return self._returns(flat)

    def propose(self, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`wmzoo.planning.Futures`."""
        taken = np.empty_like(noise)
        steps = iter(range(noise.shape[2]))
        policy = self.task.policy
        assert policy is not None

        def act(states: torch.Tensor) -> torch.Tensor:
            h = next(steps)
            chosen = policy.act(states.cpu().numpy(), self.rng).reshape(taken[:, :, h].shape) + noise[:, :, h]
            taken[:, :, h] = np.clip(chosen, -1, 1)
            return torch.from_numpy(self.task.columns.scaled(taken[:, :, h])).flatten(0, 1).to(states)

        return taken, self._returns(observing(act, self.model.variates[self.task.name]))

    def _returns(self, actions: Any) -> np.ndarray:
        task, config = self.task, self.task.config
        rolled = self.model.rollout(
            self.window,
            actions,
            task.horizon,
            trajectories=len(self.window) * config.candidates,
            clip=config.clip,
            ending=ending(self.model, task.name, config.ending),
        )
        return rolled.returns(config.gamma).cpu().numpy().reshape(-1, config.candidates)


class _Copies:
    """Futures in copies of the true simulator."""

    def __init__(self, task: _Task, now: _Moment):
        assert isinstance(now.simulator, PlanarSimulator)
        self.task, self.rng, self.present = task, now.rng, now.simulator.states[now.active]
        self.copies = task.copies

    def follow(self, actions: np.ndarray) -> np.ndarray:
        """See :class:`wmzoo.planning.Futures`."""
        return self._play(lambda h, alive: actions[:, :, h].reshape(-1, actions.shape[3])[alive])

    def propose(self, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`wmzoo.planning.Futures`."""
        taken, policy = np.zeros_like(noise), self.task.policy
        assert policy is not None
        flat, noises = taken.reshape(-1, *noise.shape[2:]), noise.reshape(-1, *noise.shape[2:])

        def act(h: int, alive: np.ndarray) -> np.ndarray:
            chosen = policy.act(self.copies.observe()[alive], self.rng) + noises[alive, h]
            flat[alive, h] = np.clip(chosen, -1, 1)
            return flat[alive, h]

        returns = self._play(act)
        return taken, returns

    def _play(self, act: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
        """Discounted returns ``[A, S]`` of all candidates from the present states."""
        count = self.task.config.candidates
        alive = np.arange(len(self.present) * count)
        self.copies.states[alive] = np.repeat(self.present, count, 0)
        returns = np.zeros(len(alive))
        for h in range(self.task.horizon):
            rewards, ended = self.copies.step(act(h, alive), alive)
            returns[alive] += self.task.config.gamma**h * rewards
            alive = alive[~ended]
            if not len(alive):
                break
        return returns.reshape(-1, count)


def _planner(chosen: Choice, environment: str) -> Planner:
    """The planner that a recipe names, with the paper's noise for the environment where none is given."""
    config = chosen.config
    if getattr(config, "noise", 0.0) is None:
        config = dataclasses.replace(config, noise=NOISES.get(environment))
    planner: Planner = registry.find("planners", chosen.name).build(config)
    return planner
