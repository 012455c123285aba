"""Collecting a corpus: episodes of behaviours in simulators, reproducible set by set, resumed after a kill."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Generator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wmzoo import __version__
from wmzoo.collect.data_recipe import CollectRecipe, check, read
from wmzoo.collect.environments import ENVIRONMENTS, EPISODE_STEPS
from wmzoo.collect.ladder import SHIPPED, Ladder, load_ladder
from wmzoo.collect.levels import Behaviour, behaviours_of, turn
from wmzoo.collect.parts import Part, Parts
from wmzoo.collect.simulators import Layout, layout, make_gymnasium
from wmzoo.data.store import EPISODE, TrajectorySet, make_set, open_corpus, write_corpus
from wmzoo.errors import WmzooError
from wmzoo.progress import bar
from wmzoo.trajectories import Episode, episode_rows

if TYPE_CHECKING:
    import gymnasium

PART_TRANSITIONS = 50_000
"""Transitions after which a part of a set is kept: some seconds of work, the most that a kill can lose."""


__all__ = ["CollectRecipe", "check", "collect", "play", "read"]


def collect(wanted: CollectRecipe, quiet: bool = False) -> Path:
    """Collect a corpus; what an earlier call finished before it was stopped is used again.

    Args:
        wanted: what to collect.
        quiet: show no progress.

    Returns:
        The path of the corpus.

    Raises:
        WmzooError: the file holds another recipe's corpus, there is no room or no right to write it, or the policies
            can't be read.
    """
    path = Path(wanted.corpus)
    ladders = {name: load_ladder(name, Path(wanted.policies or SHIPPED)) for name in wanted.environments}
    about = {"recipe": _determinants(wanted, ladders), "name": wanted.name, "versions": versions()}
    if path.exists():
        _require_same(path, about)
        if not quiet:
            print(f"{path}: already collected by this recipe; nothing to do.", file=sys.stderr)
        return path
    parts = Parts(folder=path.with_name(path.name + ".parts"))
    parts.prepare()
    jobs = [_Job(wanted, environment, level, ladders[environment], parts) for environment, level in wanted.keys]
    with bar(f"collect {wanted.name}", wanted.steps * len(jobs), quiet=quiet) as report:
        for index, job in enumerate(jobs):
            for done in job.run():
                report(index * wanted.steps + done, job.key)
    # One set at a time is read back and written, so that memory stays small.
    write_corpus(path, (job.join() for job in jobs), about)
    parts.remove()
    return path


def versions() -> dict[str, str]:
    """The versions of what determines the content of a corpus."""
    return {"wmzoo": __version__, **{name: version(name) for name in ("mujoco", "gymnasium", "numpy")}}


def _determinants(wanted: CollectRecipe, ladders: dict[str, Ladder]) -> dict[str, Any]:
    """The settings that the content depends on, with a digest of the policies in place of their folder."""
    settings = dataclasses.asdict(wanted)
    del settings["corpus"], settings["name"]
    settings["policies"] = {name: ladder.digest() for name, ladder in ladders.items()}
    return json.loads(json.dumps(settings))


def _require_same(path: Path, about: dict[str, Any]) -> None:
    there = open_corpus(path).about.get("recipe", {})
    if not isinstance(there, dict):
        there = {}
    different = [key for key, value in about["recipe"].items() if there.get(key) != value]
    if different:
        raise WmzooError(
            f"{path}: already holds a corpus of another recipe (different: {', '.join(different)}); "
            "choose another place by corpus=PATH, or delete it."
        )


class _Job:
    """The collection of one set."""

    def __init__(self, wanted: CollectRecipe, environment: str, level: str, ladder: Ladder, parts: Parts):
        self.environment, self.level, self.key = environment, level, f"{environment}/{level}"
        self.seed, self.steps = wanted.seed, wanted.steps
        self.behaviours = behaviours_of(level, ladder)
        self.layout, self.parts = layout(environment), parts
        key = {"environment": environment, "level": level, "seed": self.seed, "steps": self.steps}
        self.about = {**key, "versions": versions(), "behaviours": [b.to_json() for b in self.behaviours]}
        determined = json.dumps({**self.about, "policies": ladder.digest(), "part": PART_TRANSITIONS}, sort_keys=True)
        self.part_name = f"{environment}-{level}-{hashlib.sha256(determined.encode()).hexdigest()[:12]}"

    def run(self) -> Iterator[int]:
        """Collect the parts that are missing, yielding the transitions done so far after each episode."""
        gym = make_gymnasium(self.environment)
        index = episodes = done = 0
        while done < self.steps:
            part = self.parts.load(self.part_name, index)
            if part is None:
                part = yield from self._part(gym, episodes, done)
                self.parts.save(self.part_name, index, part)
            index, episodes, done = index + 1, episodes + len(part.rows), done + part.transitions
            yield done
        gym.close()

    def _part(self, gym: gymnasium.Env, first: int, done: int) -> Generator[int, None, Part]:
        """Play episodes, number ``first`` the first, until there are enough for a part."""
        until = min(done + PART_TRANSITIONS, self.steps)
        rows: list[np.ndarray] = []
        records = []
        while done < until:
            who = turn(self.behaviours, done, self.steps)
            rng, reset_seed = self._random(first + len(rows))
            episode = play(gym, self.behaviours[who], self.layout, rng, reset_seed, self.steps - done)
            done += len(episode.actions)
            rows.append(episode_rows(episode))
            records.append((episode.rewards.sum(), episode.terminated, episode.truncated, who, reset_seed))
            yield done
        return Part(rows=rows, episodes=np.array(records, EPISODE))

    def _random(self, episode: int) -> tuple[np.random.Generator, int]:
        """The actions' generator and the reset's seed, from the corpus seed, the set's key and the episode alone."""
        key = hashlib.sha256(f"{self.environment}/{self.level}".encode()).digest()
        sequence = np.random.SeedSequence([self.seed, int.from_bytes(key[:8], "big"), episode])
        actions, reset = sequence.spawn(2)
        return np.random.default_rng(actions), int(reset.generate_state(1)[0])

    def join(self) -> TrajectorySet:
        """Read the finished parts back and join them to a set."""
        parts = self.parts.load_all(self.part_name)
        rows = [r for part in parts for r in part.rows]
        episodes = np.concatenate([part.episodes for part in parts])
        # The last episode may have been cut, which says nothing of its behaviour's return.
        cut = episodes["truncated"] & (np.array([len(r) for r in rows]) <= EPISODE_STEPS)
        mean = float(episodes["return"][~cut | cut.all()].mean())
        about = {
            **self.about,
            "episodes": len(rows),
            "return_mean": round(mean, 2),
            "score": round(ENVIRONMENTS[self.environment].score(mean), 2),
        }
        columns = self.layout
        return make_set(self.environment, self.level, columns.names, columns.states, columns.dt, rows, episodes, about)


def play(
    gym: gymnasium.Env,
    behaviour: Behaviour,
    columns: Layout,
    rng: np.random.Generator,
    reset_seed: int,
    most: int,
) -> Episode:
    """Play one episode.

    Args:
        gym: a Gymnasium environment with a time limit.
        behaviour: who acts.
        columns: of the environment.
        rng: draws the actions.
        reset_seed: of the first state.
        most: transitions after which the episode is cut, which counts as truncation.
    """
    observation, _ = gym.reset(seed=reset_seed)
    observations, actions, rewards = [observation], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        actions.append(behaviour.act(observation, columns, rng))
        # In double precision the stored single-precision action gives the same reward when it is replayed.
        observation, reward, terminated, truncated, _ = gym.step(actions[-1].astype(np.float64))
        observations.append(observation)
        rewards.append(float(reward))  # type: ignore[arg-type]
        truncated = truncated or (len(actions) >= most and not terminated)
    return Episode(
        observations=np.stack(observations),
        actions=np.stack(actions),
        rewards=np.asarray(rewards),
        terminated=bool(terminated),
        truncated=bool(truncated),
    )
