"""Minari data sets (HDF5 or Arrow), Farama's format.

Source: minari 0.5 (Farama Foundation)
One more observation than actions; rewards follow. Parts of dictionary observations are joined in the order of their
names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wmzoo.data.recordings import Recording, Skipped
from wmzoo.data.sources import below
from wmzoo.trajectories import Episode

FOREIGN = True


def files(path: Path) -> list[Path]:
    """The ``main_data.hdf5`` and ``part-*.arrow`` files at or below a path."""
    return below(path, "main_data.hdf5", "part-*.arrow")


def read(path: Path) -> Iterator[Recording | Skipped]:
    """The episodes of one file."""
    arrow = path.suffix == ".arrow"
    about = path.parent.parent if arrow else path.parent
    *outer, last = _dataset(about / "metadata.json", about).split("/")
    episodes = _arrow(path) if arrow else _hdf5(path)
    for place, observation, action, rewards, terminations, truncations in episodes:
        states, names = _joined(observation, "s")
        actions, action_names = _joined(action, "a")
        if len(states) != len(rewards) + 1:
            yield Skipped(f"{path}, {place}", f"{len(states)} observations for {len(rewards)} rewards")
            continue
        episode = Episode(
            observations=states,
            actions=actions,
            rewards=rewards,
            terminated=bool(terminations[-1]),
            truncated=bool(truncations[-1]),
        )
        yield Recording(
            environment=outer[-1] if outer else last,
            level=last,
            component="minari",
            names=(*names, "reward", *action_names),
            episode=episode,
        )


def _dataset(metadata: Path, folder: Path) -> str:
    """The data set's name, from its metadata or its place."""
    if metadata.is_file():
        name = json.loads(metadata.read_text()).get("dataset_id")
        if isinstance(name, str) and name:
            return name
    return "/".join(folder.parts[-3:-1])


Found = tuple[str, Any, Any, np.ndarray, np.ndarray, np.ndarray]


def _hdf5(path: Path) -> Iterator[Found]:
    with h5py.File(path, "r") as file:
        for place in sorted(file, key=lambda name: int(name.rpartition("_")[2])):
            group = file[place]
            ends = (group[name][()] for name in ("rewards", "terminations", "truncations"))
            yield (place, _values(group["observations"]), _values(group["actions"]), *ends)


def _values(item: Any) -> Any:
    return {name: _values(item[name]) for name in sorted(item)} if isinstance(item, h5py.Group) else item[()]


def _arrow(path: Path) -> Iterator[Found]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
        steps = len(table) - 1  # the last row holds the final observation alone
        observation = _column(table["observations"].combine_chunks())
        action = _cut(_column(table["actions"].combine_chunks()), steps)
        ends = (table[name].combine_chunks()[:steps].to_numpy(zero_copy_only=False) for name in _ENDS)
        yield ("rows", observation, action, *ends)


_ENDS = ("rewards", "terminations", "truncations")


def _column(array: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_struct(array.type):
        return {f.name: _column(array.field(f.name)) for f in sorted(array.type, key=lambda f: f.name)}
    if pa.types.is_fixed_size_list(array.type):
        width = array.type.list_size
        values = array.values[array.offset * width : (array.offset + len(array)) * width]
        return values.to_numpy(zero_copy_only=False).reshape(len(array), width)
    return array.to_numpy(zero_copy_only=False)


def _cut(values: Any, rows: int) -> Any:
    return {name: _cut(item, rows) for name, item in values.items()} if isinstance(values, dict) else values[:rows]


def _joined(values: Any, prefix: str) -> tuple[np.ndarray, list[str]]:
    """Nested arrays as one ``[L, k]``, with a name for each column."""
    if not isinstance(values, dict):
        flat = values.reshape(len(values), -1)
        return flat, [f"{prefix}{i}" for i in range(flat.shape[1])]
    parts = [_joined(item, f"{name}:") for name, item in values.items()]
    return np.concatenate([array for array, _ in parts], 1), [name for _, names in parts for name in names]
