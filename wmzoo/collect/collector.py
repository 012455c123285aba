"""Collecting a corpus: episodes of behaviours in simulators, reproducible set by set, resumed after a kill."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from wmzoo import __version__, recipe
from wmzoo.collect.ladder import SHIPPED, Ladder, load_ladder
from wmzoo.collect.levels import LEVELS, Behaviour, behaviours_of, turn
from wmzoo.collect.parts import Part, Parts
from wmzoo.collect.simulators import ENVIRONMENTS, EPISODE_STEPS, Layout, layout, make_gymnasium
from wmzoo.data.store import EPISODE, TrajectorySet, make_set, open_corpus, write_corpus
from wmzoo.errors import WmzooError
from wmzoo.progress import Report, bar
from wmzoo.trajectories import Episode, episode_rows

if TYPE_CHECKING:
    import gymnasium

PART_TRANSITIONS = 50_000
"""Transitions after which a part of a set is kept: some seconds of work, the most that a kill can lose."""


@dataclass(frozen=True, kw_only=True)
class CollectRecipe:
    """A data recipe: what a corpus holds."""

    name: str = recipe.setting(help="of the corpus")
    corpus: str = recipe.setting(help="path of the HDF5 file to make")
    seed: int = recipe.setting(0, "of first states and actions", low=0)
    steps: int = recipe.setting(help="transitions of each set", low=1)
    environments: tuple[str, ...] = recipe.setting(help="which simulators", choices=tuple(ENVIRONMENTS))
    levels: tuple[str, ...] = recipe.setting(help="which behaviours", choices=LEVELS)
    policies: str | None = recipe.setting(
        None, "folder of policies, made by `wmzoo data policies`; the shipped if null"
    )

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Environment and level of each set."""
        return [(environment, level) for environment in self.environments for level in self.levels]


def read(name: str | Path, overrides: Sequence[str] = ()) -> CollectRecipe:
    """Read and check a data recipe.

    Args:
        name: its name or path.
        overrides: ``key=value`` settings.

    Raises:
        WmzooError: with every mistake found.
    """
    return check(recipe.read(name, overrides, recipe.data_names()))


def check(source: recipe.Source) -> CollectRecipe:
    """Turn a data recipe as written into a checked one.

    Raises:
        WmzooError: with every mistake found, each with its place.
    """
    problems: list[str] = []

    def report(path: str, message: str) -> None:
        problems.append(f"{source.place(path)}: {path}: {message}")

    checked = recipe.build_config(CollectRecipe, source.values, "", report)
    for key in ("environments", "levels"):
        names = source.values.get(key)
        if isinstance(names, list) and (not names or len(names) != len(set(map(str, names)))):
            report(key, "name at least one, and each once.")
    if problems:
        raise WmzooError(*problems)
    return checked


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
            Console(stderr=True).print(f"{path}: already collected by this recipe; nothing to do.", highlight=False)
        return path
    parts = Parts(folder=path.with_name(path.name + ".parts"))
    with bar(f"collect {wanted.name}", wanted.steps * len(wanted.keys), quiet=quiet) as report:
        write_corpus(path, _sets(wanted, ladders, parts, report), about)
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


def _sets(wanted: CollectRecipe, ladders: dict[str, Ladder], parts: Parts, report: Report) -> Iterator[TrajectorySet]:
    """Each set as it is finished, so that only one is in memory."""
    for index, (environment, level) in enumerate(wanted.keys):
        job = _Job(wanted, environment, level, ladders[environment])
        begun = index * wanted.steps

        def set_report(done: int, text: str, begun: int = begun) -> None:
            report(begun + done, text)

        yield job.run(parts, set_report)


class _Job:
    """The collection of one set."""

    def __init__(self, wanted: CollectRecipe, environment: str, level: str, ladder: Ladder):
        self.environment, self.level = environment, level
        self.seed, self.steps = wanted.seed, wanted.steps
        self.behaviours = behaviours_of(level, ladder)
        self.layout = layout(environment)
        key = {"environment": environment, "level": level, "seed": self.seed, "steps": self.steps}
        self.about = {**key, "versions": versions(), "behaviours": [b.to_json() for b in self.behaviours]}
        determined = json.dumps({**self.about, "policies": ladder.digest(), "part": PART_TRANSITIONS}, sort_keys=True)
        self.part_name = f"{environment}-{level}-{hashlib.sha256(determined.encode()).hexdigest()[:12]}"

    def run(self, parts: Parts, report: Report) -> TrajectorySet:
        """Collect what is missing and join the parts."""
        gym, done = make_gymnasium(self.environment), 0
        rows: list[np.ndarray] = []
        episodes: list[np.ndarray] = []
        while done < self.steps:
            index = len(episodes)
            part = parts.load(self.part_name, index)
            if part is None:
                part = self._part(gym, len(rows), done, min(done + PART_TRANSITIONS, self.steps), report)
                parts.save(self.part_name, index, part)
            rows += part.rows
            episodes.append(part.episodes)
            done += part.transitions
            report(done, f"{self.environment}/{self.level}")
        gym.close()
        return self._join(rows, np.concatenate(episodes))

    def _part(self, gym: gymnasium.Env, first: int, done: int, until: int, report: Report) -> Part:
        """Play episodes, number ``first`` the first, until at least ``until`` transitions are done."""
        rows: list[np.ndarray] = []
        records = []
        while done < until:
            who = turn(self.behaviours, done, self.steps)
            rng, reset_seed = self._random(first + len(rows))
            episode = play(gym, self.behaviours[who], self.layout, rng, reset_seed, self.steps - done)
            done += len(episode.actions)
            rows.append(episode_rows(episode))
            records.append((episode.rewards.sum(), episode.terminated, episode.truncated, who, reset_seed))
            report(done, f"{self.environment}/{self.level}")
        return Part(rows=rows, episodes=np.array(records, EPISODE))

    def _random(self, episode: int) -> tuple[np.random.Generator, int]:
        """The actions' generator and the reset's seed, from the corpus seed, the set's key and the episode alone."""
        key = hashlib.sha256(f"{self.environment}/{self.level}".encode()).digest()
        sequence = np.random.SeedSequence([self.seed, int.from_bytes(key[:8], "big"), episode])
        return np.random.default_rng(sequence), int(sequence.generate_state(1)[0])

    def _join(self, rows: list[np.ndarray], episodes: np.ndarray) -> TrajectorySet:
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
