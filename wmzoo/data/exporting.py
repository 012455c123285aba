"""``wmzoo data export``: sets of a corpus as Minari data sets, so that others can use them.

Source of the format: minari 0.5 (Farama Foundation), HDF5.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from wmzoo import __version__
from wmzoo.data.store import TrajectorySet, open_corpus
from wmzoo.data.subset import choose_sets
from wmzoo.errors import WmzooError, nearest
from wmzoo.progress import bar

FORMATS = ("minari",)
MINARI = "0.5.4"  # version of the format


def export(path: str, form: str, to: Path, sets: Sequence[str] = ("*",), quiet: bool = False) -> list[Path]:
    """Write sets of a corpus in another format.

    Args:
        path: of the corpus.
        form: ``minari``: one data set ``wmzoo/<environment>/<level>-v0`` for each set, below ``to``; point Minari
            there by ``MINARI_DATASETS_PATH``.
        to: folder.
        sets: patterns of the sets.
        quiet: show no bar.

    Returns:
        The folders of the data sets.

    Raises:
        WmzooError: no such format or set, a corpus that can't be read, or a data set that is there already.
    """
    if form not in FORMATS:
        raise WmzooError(f'--as: unknown format "{form}". {nearest(form, FORMATS)}')
    items = choose_sets(open_corpus(path), sets, places=("--sets", "exclude", "components"))
    folders = [to / "wmzoo" / item.environment / f"{item.level}-v0" for item in items]
    there = [folder for folder in folders if folder.exists()]
    if there:
        raise WmzooError(
            *(f"{folder}: is there already; choose another place by --to, or delete it." for folder in there)
        )
    with bar("export minari", len(items), quiet=quiet, unit="sets") as report:
        for index, (item, folder) in enumerate(zip(items, folders, strict=True)):
            _write(item, folder)
            report(index + 1, item.key)
    return folders


def _write(item: TrajectorySet, folder: Path) -> None:
    """One data set; its folder appears whole or not at all."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "data").mkdir(parents=True)
        with h5py.File(partial / "data" / "main_data.hdf5", "w") as file:
            for index in range(len(item.lengths)):
                _episode(file.create_group(f"episode_{index}"), item, index)
        (partial / "data" / "metadata.json").write_text(json.dumps(_metadata(item)))
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise WmzooError(f"{folder}: can't be written ({error.strerror or error}); choose another folder.") from error


def _episode(group: h5py.Group, item: TrajectorySet, index: int) -> None:
    rows, steps = item.rows(index), int(item.lengths[index]) - 1
    rewards, last = rows[1:, item.states].astype(np.float64), np.arange(steps) == steps - 1
    group["observations"], group["actions"] = rows[:, : item.states], rows[:-1, item.states + 1 :]
    group["rewards"] = rewards
    group["terminations"] = last & bool(item.episodes["terminated"][index])
    group["truncations"] = last & bool(item.episodes["truncated"][index])
    group.attrs.update({"id": index, "total_steps": steps, "seed": int(item.episodes["seed"][index])})
    sums = {name: float(getattr(rewards, name)()) for name in ("sum", "mean", "std", "max", "min")}
    group.attrs.update({f"rewards_{name}": value for name, value in sums.items()})


def _metadata(item: TrajectorySet) -> dict[str, Any]:
    steps = item.transitions
    actions = np.asarray(item.data[:, item.states + 1 :])
    return {
        "total_episodes": len(item.lengths),
        "total_steps": int(steps),
        "data_format": "hdf5",
        "observation_space": json.dumps(_box(item.states, -np.inf, np.inf)),
        "action_space": json.dumps(_box(item.actions, actions.min(0), actions.max(0))),
        "dataset_id": f"wmzoo/{item.environment}/{item.level}-v0",
        "algorithm_name": item.level,
        "author": ["wmzoo"],
        "description": f"{item.key}, exported by wmzoo {__version__}; columns {', '.join(item.names)}",
        "minari_version": MINARI,
    }


def _box(width: int, low: Any, high: Any) -> dict[str, Any]:
    """A space of real numbers; of actions, the box that the data fill."""
    ends = {
        name: np.broadcast_to(value, width).astype(float).tolist() for name, value in (("low", low), ("high", high))
    }
    return {"type": "Box", "dtype": "float32", "shape": [width], **ends}
