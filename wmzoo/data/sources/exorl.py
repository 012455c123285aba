"""ExORL episodes of the DeepMind Control Suite (one .npz each).

Paper: Yarats et al. 2022 (arXiv 2201.13425)
The action and the reward of a row led to its state; those of row 0 are dummies. The folders name the domain and the
algorithm: ``<domain>/<algorithm>/buffer/episode_*.npz``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wmzoo.data.recordings import Recording, Skipped, arrived, plain_names
from wmzoo.data.sources import below


def files(path: Path) -> list[Path]:
    """The ``episode_*.npz`` files at or below a path."""
    return below(path, "episode_*.npz")


def read(path: Path) -> Iterator[Recording | Skipped]:
    """The one episode of a file."""
    folders = [part for part in path.parts[:-1] if part != "buffer"]
    environment, level = folders[-2:] if len(folders) > 1 else ["exorl", "exorl"]
    yield Recording(environment=environment, level=level, component="exorl", **episode_of(path))


def episode_of(path: Path) -> dict:
    """Names and episode of a file of that alignment."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in ("observation", "action", "reward", "discount") if name in file}
    over = "discount" in arrays and float(arrays["discount"].reshape(-1)[-1]) == 0
    episode = arrived(arrays["observation"], arrays["action"], arrays["reward"], over, not over)
    return {"names": plain_names(episode.observations.shape[1], episode.actions.shape[1]), "episode": episode}
