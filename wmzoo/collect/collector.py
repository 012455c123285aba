"""Collecting a corpus: episodes of behaviours in simulators, the same bytes on any number of processes or machines.

A set is cut into parts of ``PART_TRANSITIONS``, and what an episode holds depends on the corpus's seed, its set, its
part and its number in it alone. Each episode is on the disk before the next begins, so that whatever stops a
collection costs the episodes under way, and a repeated call goes on after the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wmzoo import __version__
from wmzoo.collect import pool, quick
from wmzoo.collect.data_recipe import CollectRecipe, check, read
from wmzoo.collect.environments import ENVIRONMENTS
from wmzoo.collect.ladder import SHIPPED, Ladder, load_ladder
from wmzoo.collect.levels import LADDER_LEVELS, QUICK_LEVELS, Behaviour, behaviours_of, buffer_share, turn
from wmzoo.collect.making import Layout, layout, make_gymnasium
from wmzoo.collect.pool import Tell
from wmzoo.data.growing import Growing
from wmzoo.data.store import TrajectorySet, cost_path, make_set, open_corpus, write_corpus
from wmzoo.errors import WmzooError
from wmzoo.files import write_json
from wmzoo.progress import bar
from wmzoo.trajectories import Episode, episode_rows

if TYPE_CHECKING:
    import gymnasium

PART_TRANSITIONS = 50_000
"""Transitions of a part: some seconds of work, what one process takes at a time."""

EPISODES = 10_000_000
"""Numbers of episodes kept free for each part."""


__all__ = ["CollectRecipe", "Shard", "check", "collect", "play", "read"]


@dataclass(frozen=True)
class Shard:
    """One of several machines' share of a recipe's sets.

    Attributes:
        number: from 1.
        count: of shards.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``3/16``.

        Raises:
            WmzooError: it is not of that form, or out of range.
        """
        number, _, count = text.partition("/")
        if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
            raise WmzooError(f'--shard: "{text}" is not one of N shards; write 3/16 for the third of sixteen.')
        return cls(int(number), int(count))

    def path(self, corpus: Path) -> Path:
        """Where this shard's part of a corpus is written."""
        if self.count == 1:
            return corpus
        return corpus.with_name(f"{corpus.stem}.shard-{self.number}-of-{self.count}{corpus.suffix}")


def collect(wanted: CollectRecipe, quiet: bool = False, workers: int = 1, shard: Shard | None = None) -> Path:
    """Collect a corpus; what an earlier call finished before it was stopped is used again.

    Beside the corpus, ``<corpus>.cost.json`` says how many seconds of one core each set took.

    Args:
        wanted: what to collect.
        quiet: show no progress.
        workers: processes.
        shard: collect a share of the sets alone, into a file of its own.

    Returns:
        The path of the corpus.

    Raises:
        WmzooError: the file holds another recipe's corpus, there is no room or no right to write it, the policies
            can't be read, or another process is collecting it.
    """
    shard = shard or Shard()
    path = shard.path(Path(wanted.corpus))
    ladders = _ladders(wanted)
    about = {"recipe": _determinants(wanted, ladders), "name": wanted.name, "versions": versions()}
    keys = sorted(wanted.keys)[shard.number - 1 :: shard.count]
    if not keys:
        raise WmzooError(f"--shard: the recipe has {len(wanted.keys)} sets, too few for shard {shard.number}.")
    if path.exists():
        _require_same(path, about, [f"{environment}/{level}" for environment, level in keys])
        if not quiet:
            print(f"{path}: already collected by this recipe; nothing to do.", file=sys.stderr)
        return path
    folder = path.with_name(path.name + ".parts")
    with _alone(folder):
        jobs = [_Job(wanted, environment, level, ladders.get(environment), folder) for environment, level in keys]
        _train(wanted, jobs, workers, quiet)
        _play(wanted, jobs, workers, quiet)
        # One set at a time is read back and written, so that memory stays small.
        write_corpus(path, (job.join() for job in jobs), about)
        write_json(cost_path(path), {"seconds": {job.key: job.seconds() for job in jobs}})
    shutil.rmtree(folder, ignore_errors=True)
    return path


def _ladders(wanted: CollectRecipe) -> dict[str, Ladder]:
    """The ladders that the levels need, by environment."""
    if not set(wanted.levels) & set(LADDER_LEVELS):
        return {}
    return {name: load_ladder(name, Path(wanted.policies or SHIPPED)) for name in wanted.chosen}


def versions() -> dict[str, str]:
    """The versions of what determines the content of a corpus."""
    packages = ("mujoco", "gymnasium", "dm_control", "numpy")
    return {"wmzoo": __version__, **{name: version(name) for name in packages}}


def _determinants(wanted: CollectRecipe, ladders: dict[str, Ladder]) -> dict[str, Any]:
    """The settings that the content depends on, with a digest of the policies in place of their folder."""
    settings = dataclasses.asdict(wanted)
    del settings["corpus"], settings["name"]
    settings["policies"] = {name: ladder.digest() for name, ladder in ladders.items()}
    return json.loads(json.dumps(settings))


def _require_same(path: Path, about: dict[str, Any], keys: Sequence[str]) -> None:
    corpus = open_corpus(path)
    there = corpus.about.get("recipe", {})
    if not isinstance(there, dict):
        there = {}
    different = [key for key, value in about["recipe"].items() if there.get(key) != value]
    if different:
        raise WmzooError(
            f"{path}: already holds a corpus of another recipe (different: {', '.join(different)}); "
            "choose another place by corpus=PATH, or delete it."
        )
    missing = [key for key in keys if key not in corpus.sets]
    if missing:
        raise WmzooError(
            f"{path}: lacks {len(missing)} of {len(keys)} sets, {missing[0]} first; merge all shards, or delete it."
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep the folder of unfinished parts for this process, which finds out here whether it may write at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise WmzooError(
            f"{folder}: can't be written ({error.strerror or error}); choose another place by corpus=PATH."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WmzooError(
                f"{folder}: another process is collecting this corpus; wait for it, or choose corpus=PATH."
            ) from error
        yield


def _sequence(seed: int, name: str, *numbers: int) -> np.random.SeedSequence:
    """Random numbers of one seed that differ from name to name."""
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.SeedSequence([seed, key, *numbers])


class _Job:
    """The collection of one set."""

    def __init__(self, wanted: CollectRecipe, environment: str, level: str, ladder: Ladder | None, folder: Path):
        self.wanted, self.environment, self.level, self.folder = wanted, environment, level, folder
        self.key = f"{environment}/{level}"
        self.known = ENVIRONMENTS[environment]
        self.ladder = ladder if level in LADDER_LEVELS else None
        self.trained = level in QUICK_LEVELS
        determined = {
            "key": self.key,
            **self.settings,
            "versions": versions(),
            "policies": self.ladder.digest() if self.ladder else "",
            "part": PART_TRANSITIONS,
        }
        digest = hashlib.sha256(json.dumps(determined, sort_keys=True).encode()).hexdigest()[:12]
        self.name = f"{environment}-{level}-{digest}"

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe's, as far as a set's content depends on them."""
        return {name: getattr(self.wanted, name) for name in ("seed", "steps", "training", "episode")}

    @property
    def bought(self) -> int:
        """Transitions that are taken from the buffer of training."""
        return round(self.wanted.steps * buffer_share(self.level))

    @property
    def played(self) -> int:
        """Transitions that behaviours play."""
        return self.wanted.steps - self.bought

    @property
    def parts(self) -> int:
        """Number of parts that are played."""
        return -(-self.played // PART_TRANSITIONS)

    @property
    def limit(self) -> int:
        """Transitions after which an episode is truncated."""
        return min(self.known.steps, self.wanted.episode or self.known.steps)

    def growing(self, part: int) -> Growing:
        """The files of a part; the one after those that are played is the buffer's."""
        return Growing(self.folder / f"{self.name}-{part:04d}", len(layout(self.environment).names))

    def random(self, episode: int) -> tuple[np.random.Generator, int]:
        """The actions' generator and the reset's seed, from the corpus seed, the set's key and the episode alone."""
        actions, reset = _sequence(self.wanted.seed, self.key, episode).spawn(2)
        return np.random.default_rng(actions), int(reset.generate_state(1)[0])

    @property
    def quick_path(self) -> Path:
        """Where the policies of a short training are kept, for all levels of the environment."""
        training = f"{self.wanted.seed}-{self.wanted.training}"
        return self.folder / f"{self.environment}-{training}.npz"

    @functools.cached_property
    def behaviours(self) -> tuple[Behaviour, ...]:
        """Who plays."""
        found = quick.load_quick(self.quick_path) if self.trained else None
        return behaviours_of(self.level, self.ladder, found)

    def note(self, name: str, seconds: float) -> None:
        """Add to the seconds of one core that the set took."""
        with (self.folder / f"{self.name}-{name}.seconds").open("a") as file:
            file.write(f"{seconds}\n")

    def seconds(self) -> float:
        """Of one core, that the set took so far."""
        files = self.folder.glob(f"{self.name}-*.seconds")
        return round(sum(float(line) for path in files for line in path.read_text().split()), 2)

    def join(self) -> TrajectorySet:
        """Read the finished parts back and join them to a set."""
        parts = [self.growing(index) for index in range(self.parts + bool(self.bought))]
        rows = [r for part in parts for r in np.split(part.rows(), np.cumsum(part.records["length"])[:-1])]
        episodes = np.concatenate([part.records["episode"] for part in parts])
        # A cut episode says nothing of its behaviour's return.
        cut = episodes["truncated"] & (np.array([len(r) for r in rows]) <= self.limit)
        mean = float(episodes["return"][~cut | cut.all()].mean(dtype=np.float64))
        columns = layout(self.environment)
        return make_set(
            self.environment,
            self.level,
            columns.names,
            columns.states,
            columns.dt,
            rows,
            episodes,
            self._about(len(rows), mean),
            component=self.known.component,
            bodies=columns.bodies,
        )

    def _about(self, episodes: int, mean: float) -> dict[str, Any]:
        """What a set says of how it was made."""
        score = self.known.score(mean)
        behaviours = [behaviour.to_json() for behaviour in self.behaviours]
        return {
            **self.settings,
            "environment": self.environment,
            "level": self.level,
            "versions": versions(),
            "behaviours": behaviours + [{"name": "buffer", "kind": "buffer"}] * bool(self.bought),
            "episodes": episodes,
            "return_mean": round(mean, 2),
            **({} if score is None else {"score": score}),
        }


# --- training the policies that no ladder gives ----------------------------------------------------------------


def _train(wanted: CollectRecipe, jobs: Sequence[_Job], workers: int, quiet: bool) -> None:
    """Train the policies of every environment that a level needs them of."""
    groups: dict[str, list[_Job]] = {}
    for job in jobs:
        if job.trained:
            groups.setdefault(job.environment, []).append(job)
    tasks = [group for group in groups.values() if not _is_trained(group)]
    if not tasks:
        return
    done = len(groups) - len(tasks)
    with bar(f"train policies for {wanted.name}", len(groups), done, quiet, "environments") as report:

        def tell(units: int) -> None:
            nonlocal done
            done += units
            report(done, "")

        pool.run(_train_task, tasks, workers, tell)


def _is_trained(group: Sequence[_Job]) -> bool:
    """Whether the policies are there, and the buffer of every set that takes from it."""
    return quick.load_quick(group[0].quick_path) is not None and all(
        job.growing(job.parts).transitions == job.bought for job in group
    )


def _train_task(group: Sequence[_Job], tell: Tell) -> None:
    """Train in one environment, and put what its sets take from the buffer into their files."""
    began = time.process_time()
    first = group[0]
    seed = int(_sequence(first.wanted.seed, first.environment).generate_state(1)[0])
    policies, episodes = quick.train_quick(first.environment, seed, first.wanted.training, first.limit)
    policies.save(first.quick_path)
    for job in group:
        if job.bought:
            _buy(job, episodes)
        job.note("training", (time.process_time() - began) / len(group))
    tell(1)


def _buy(job: _Job, episodes: Sequence[Episode]) -> None:
    """Take episodes of training, evenly spaced over it, up to the transitions that a set wants."""
    file = job.growing(job.parts)
    lengths = np.array([len(episode.actions) for episode in episodes])
    for index in _spaced(lengths, job.bought)[file.episodes :]:
        most = job.bought - file.transitions
        if most > 0:
            _add(file, _cut(episodes[index], most), len(job.behaviours), int(index))


def _spaced(lengths: np.ndarray, wanted: int) -> np.ndarray:
    """Indices of episodes, in order and each once, spread over all, that have so many transitions or just more."""
    order = np.argsort(_bit_reversed(len(lengths)), kind="stable")
    count = int(np.searchsorted(np.cumsum(lengths[order]), wanted)) + 1
    return np.sort(order[:count])


def _bit_reversed(count: int) -> np.ndarray:
    """``[count]`` numbers whose smallest ones are spread evenly (van der Corput's sequence in base 2)."""
    bits = max(count - 1, 1).bit_length()
    return np.array([int(f"{i:0{bits}b}"[::-1], 2) for i in range(count)])


def _cut(episode: Episode, most: int) -> Episode:
    """The beginning of an episode, of at most so many transitions."""
    if len(episode.actions) <= most:
        return episode
    return Episode(
        observations=episode.observations[: most + 1],
        actions=episode.actions[:most],
        rewards=episode.rewards[:most],
        truncated=True,
    )


def _add(file: Growing, episode: Episode, behaviour: int, seed: int) -> None:
    total = float(episode.rewards.sum())
    file.add(episode_rows(episode), (total, episode.terminated, episode.truncated, behaviour, seed))


# --- playing ---------------------------------------------------------------------------------------------------


def _play(wanted: CollectRecipe, jobs: Sequence[_Job], workers: int, quiet: bool) -> None:
    """Play the parts of all sets."""
    done = sum(job.bought for job in jobs)
    with bar(f"collect {wanted.name}", wanted.steps * len(jobs), done, quiet) as report:

        def tell(units: int) -> None:
            nonlocal done
            done += units
            report(done, "")

        pool.run(_play_task, [(job, part) for job in jobs for part in range(job.parts)], workers, tell)


def _play_task(task: tuple[_Job, int], tell: Tell) -> None:
    """Play one part of a set, from where an earlier call stopped."""
    job, part = task
    began, file = time.process_time(), job.growing(part)
    start, stop = part * PART_TRANSITIONS, min((part + 1) * PART_TRANSITIONS, job.played)
    tell(file.transitions)
    if start + file.transitions >= stop:
        return
    gym = make_gymnasium(job.environment)
    try:
        while start + file.transitions < stop:
            done = start + file.transitions
            who = turn(job.behaviours, done, job.played)
            rng, reset_seed = job.random(part * EPISODES + file.episodes)
            most = min(job.limit, stop - done)
            episode = play(gym, job.behaviours[who], layout(job.environment), rng, reset_seed, most)
            _add(file, episode, who, reset_seed)
            tell(len(episode.actions))
    finally:
        gym.close()
        job.note(f"{part:04d}", time.process_time() - began)


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
    act = behaviour.begin(columns, rng)
    terminated = truncated = False
    while not (terminated or truncated):
        actions.append(act(observation))
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
