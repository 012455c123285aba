"""Writers of foreign formats, as their makers' programs write them: the same episodes in every alignment."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from wmzoo.trajectories import Episode


def _terminals(episodes: Sequence[Episode]) -> np.ndarray:
    return np.concatenate([np.arange(len(e.actions)) == len(e.actions) - 1 for e in episodes]).astype(bool)


def _flags(episodes: Sequence[Episode], name: str) -> np.ndarray:
    owner = np.concatenate([np.full(len(e.actions), getattr(e, name)) for e in episodes])
    return _terminals(episodes) & owner


def d4rl(folder: Path, episodes: Sequence[Episode]) -> Path:
    """Flat arrays; rewards follow; the next states beside them."""
    path = folder / "toy_medium_replay-v2.hdf5"
    with h5py.File(path, "w") as file:
        file["observations"] = np.concatenate([e.observations[:-1] for e in episodes])
        file["next_observations"] = np.concatenate([e.observations[1:] for e in episodes])
        file["actions"] = np.concatenate([e.actions for e in episodes])
        file["rewards"] = np.concatenate([e.rewards for e in episodes])[:, None]
        file["terminals"], file["timeouts"] = (_flags(episodes, n) for n in ("terminated", "truncated"))
    return path


def minari(folder: Path, episodes: Sequence[Episode]) -> Path:
    """One group an episode, with one more observation."""
    place = folder / "toy" / "toy-v0" / "data"
    place.mkdir(parents=True)
    (place / "metadata.json").write_text(json.dumps({"dataset_id": "mujoco/toy/medium-v0"}))
    with h5py.File(place / "main_data.hdf5", "w") as file:
        for i, e in enumerate(episodes):
            group = file.create_group(f"episode_{i}")
            group["observations"], group["actions"], group["rewards"] = e.observations, e.actions, e.rewards
            last = np.arange(len(e.actions)) == len(e.actions) - 1
            group["terminations"], group["truncations"] = last & e.terminated, last & e.truncated
    return folder / "toy"


def _arrived(e: Episode) -> dict[str, np.ndarray]:
    """Rows whose action and reward led to their state."""
    action = np.concatenate([np.zeros_like(e.actions[:1]), e.actions]).astype("f4")
    reward = np.concatenate([[0.0], e.rewards]).astype("f4")[:, None]
    discount = np.ones(len(reward), "f4")
    discount[-1] = 1.0 - e.terminated
    return {"observation": e.observations.astype("f4"), "action": action, "reward": reward, "discount": discount}


def exorl(folder: Path, episodes: Sequence[Episode]) -> Path:
    """One file an episode."""
    place = folder / "datasets" / "toy" / "proto" / "buffer"
    place.mkdir(parents=True)
    for i, e in enumerate(episodes):
        np.savez_compressed(place / f"episode_{i:06d}_{len(e.actions)}.npz", **_arrived(e))
    return folder / "datasets"


def unitraj(folder: Path, episodes: Sequence[Episode]) -> Path:
    """As ExORL, in the folders of the release, with the ranges beside them."""
    place = folder / "modular-rl" / "toy_3-v2"
    place.mkdir(parents=True)
    np.savez(place / "max_min_values.npz", max=np.ones(3), min=np.zeros(3))
    for i, e in enumerate(episodes):
        np.savez(place / f"episode_{i:06d}_{len(e.actions)}.npz", **_arrived(e))
    return folder / "modular-rl"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _feature(values: np.ndarray) -> bytes:
    return _field(2, _field(1, np.asarray(values, "<f4").tobytes()))


def rl_unplugged(folder: Path, episodes: Sequence[Episode]) -> Path:
    """One record an episode; the reward came with the state, the action is taken there."""
    place = folder / "dm_control_suite_episodes" / "toy"
    place.mkdir(parents=True)
    with gzip.open(place / "train-00000-of-00100", "wb") as file:
        for e in episodes:
            half = e.observations.shape[1] // 2
            parts = {"observation/a": e.observations[:, :half], "observation/b": e.observations[:, half:]}
            parts |= {"action": np.concatenate([e.actions, np.zeros_like(e.actions[:1])])}
            parts |= {"reward": np.concatenate([[0.0], e.rewards])}
            parts |= {"discount": np.append(np.ones(len(e.actions)), 1.0 - e.terminated)}
            features = b"".join(_field(1, _field(1, k.encode()) + _field(2, _feature(v))) for k, v in parts.items())
            record = _field(1, features)
            file.write(struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0))
    return folder / "dm_control_suite_episodes"


def jat(folder: Path, episodes: Sequence[Episode]) -> Path:
    """One row an episode, without its final state."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    place = folder / "mujoco-toy"
    place.mkdir()
    wide = {n: pa.list_(pa.list_(pa.float32(), getattr(episodes[0], n).shape[1])) for n in ("observations", "actions")}
    columns = {
        "continuous_observations": pa.array([e.observations[:-1].tolist() for e in episodes], wide["observations"]),
        "continuous_actions": pa.array([e.actions.tolist() for e in episodes], wide["actions"]),
        "rewards": pa.array([e.rewards.tolist() for e in episodes], pa.list_(pa.float32())),
    }
    parquet.write_table(pa.table(columns), place / "train-00000-of-00001-0.parquet")
    return place


def db1(folder: Path, episodes: Sequence[Episode]) -> Path:
    """Three files an episode, without its final state."""
    for i, e in enumerate(episodes):
        arrays = {"observations": e.observations[:-1], "actions": e.actions, "rewards": e.rewards[:, None]}
        for name, array in arrays.items():
            (folder / "toy" / name).mkdir(parents=True, exist_ok=True)
            np.save(folder / "toy" / name / f"{i}.npy", array.astype("f4"))
    return folder / "toy"


def tdmpc2(folder: Path, episodes: Sequence[Episode]) -> Path:
    """Episodes of one length, padded to the widest task; those of task 7 have three states and one action."""
    rows = [_arrived(e) for e in episodes]
    length = len(rows[0]["action"])
    obs, action = torch.zeros(len(rows), length, 24), torch.zeros(len(rows), length, 6)
    for i, row in enumerate(rows):
        obs[i, :, :3], action[i, :, :1] = torch.from_numpy(row["observation"]), torch.from_numpy(row["action"])
    reward = torch.from_numpy(np.stack([row["reward"][:, 0] for row in rows]))
    action[:, 0], reward[:, 0] = torch.nan, torch.nan
    path = folder / "chunk_0.pt"
    task = torch.full((len(rows), length), 7)
    torch.save({"obs": obs, "action": action, "reward": reward, "task": task}, path)
    return path


def macaw(folder: Path, episodes: Sequence[Episode]) -> Path:
    """Each trajectory last step first."""
    path = folder / "buffers_walker_param_train_3_sub_task_0.hdf5"

    def turned(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([array[::-1] for array in arrays])

    with h5py.File(path, "w") as file:
        file["obs"], file["next_obs"] = (
            turned([e.observations[s] for e in episodes]) for s in (slice(-1), slice(1, None))
        )
        file["actions"] = turned([e.actions for e in episodes])
        file["rewards"] = turned([e.rewards for e in episodes])[:, None]
        file["terminals"] = turned([np.arange(len(e.actions)) == len(e.actions) - 1 for e in episodes])[:, None]
        powers = [0.99 ** np.arange(len(e.actions), 0, -1) for e in episodes]
        file["terminal_discounts"] = turned(powers)[:, None].astype("f4")
        file["discount_factor"] = 0.99
    return path


def npz(folder: Path, episodes: Sequence[Episode]) -> Path:
    """A user's own files."""
    place = folder / "toy"
    place.mkdir()
    for i, e in enumerate(episodes):
        arrays = {"observations": e.observations, "actions": e.actions, "rewards": e.rewards}
        np.savez(place / f"{i}.npz", **arrays, terminated=e.terminated, truncated=e.truncated, dt=0.05)
    return place


WRITERS = {f.__name__: f for f in (d4rl, minari, exorl, unitraj, rl_unplugged, jat, db1, tdmpc2, macaw, npz)}
WITHOUT_FINAL_STATE = ("jat", "db1")
EXPECTED = {  # the set that the episodes land in
    "d4rl": "toy/medium-replay", "minari": "toy/medium-v0", "exorl": "toy/proto", "unitraj": "toy_3-v2/modular-rl",
    "rl_unplugged": "toy/rl_unplugged", "jat": "mujoco-toy/jat", "db1": "toy/db1", "tdmpc2": "pendulum-swingup/tdmpc2",
    "macaw": "walker2d-params/task3", "npz": "toy/own",
}  # fmt: skip
COMPONENTS = {  # the parts of a mixture that they belong to, where those are not the formats themselves
    "unitraj": "modular-rl", "npz": "own",
}  # fmt: skip
