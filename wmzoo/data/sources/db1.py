"""DB-1's expert episodes (one .npy for the states, actions and rewards of each).

Source: Wen et al. 2022, BDM-DB1
``<environment>/{observations,actions,rewards}/<i>.npy``; rewards follow, and the final state is not stored, so that the
last action and reward of each episode are dropped. Dictionary observations have a folder for each part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wmzoo.data.recordings import Recording, Skipped, followed


def files(path: Path) -> list[Path]:
    """The files of actions at or below a path, one an episode."""
    if path.is_file():
        return [path]
    return sorted(found for found in path.rglob("actions/*.npy") if found.stem.isdigit())


def read(path: Path) -> Iterator[Recording | Skipped]:
    """The episode of a file of actions, with its states and rewards beside it."""
    folder = path.parent.parent
    actions, rewards = _load(path), _load(folder / "rewards" / path.name)
    states, names = _states(folder / "observations", path.name)
    if len(actions) < 2:
        yield Skipped(str(path), f"an episode of {len(actions)} steps without its final state")
        return
    if not len(actions) == len(states) == len(rewards):
        yield Skipped(str(path), f"{len(states)} states, {len(actions)} actions and {len(rewards)} rewards")
        return
    episode = followed(states, actions, rewards, None, False, True)
    yield Recording(
        environment=folder.name,
        level="db1",
        component="db1",
        names=(*names, "reward", *(f"a{i}" for i in range(actions.shape[1]))),
        episode=episode,
    )


def _states(folder: Path, name: str) -> tuple[np.ndarray, list[str]]:
    """States ``[L, m]`` with their names, joined over the parts of a dictionary."""
    if (folder / name).is_file():
        whole = _load(folder / name)
        return whole, [f"s{i}" for i in range(whole.shape[1])]
    parts = {part.name: _load(part / name) for part in sorted(folder.iterdir()) if (part / name).is_file()}
    if not parts:
        raise ValueError(f"no observations beside it ({folder / name})")
    flat = {key: part.reshape(len(part), -1) for key, part in parts.items()}
    return np.concatenate(list(flat.values()), 1), [f"{k}:{i}" for k, p in flat.items() for i in range(p.shape[1])]


def _load(path: Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)
