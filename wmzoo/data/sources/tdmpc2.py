"""TD-MPC2's offline data sets (PyTorch files of a TensorDict), read without PyTorch's loader.

Paper: Hansen et al. 2024 (arXiv 2310.16828)
The action and the reward of a row led to its state; those of row 0 are dummies. States and actions are padded with
zeros to the widest task and are cut back to the true widths. The arrays stay on disk and are read episode by episode.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wmzoo.data.recordings import Recording, Skipped, arrived, plain_names
from wmzoo.data.sources import below
from wmzoo.unpickle import Call, Reader, Refused

# Name, states and actions of the 30 tasks, in the order of their numbers.
TASKS = (
    ("walker-stand", 24, 6), ("walker-walk", 24, 6), ("walker-run", 24, 6), ("cheetah-run", 17, 6),
    ("reacher-easy", 6, 2), ("reacher-hard", 6, 2), ("acrobot-swingup", 6, 1), ("pendulum-swingup", 3, 1),
    ("cartpole-balance", 5, 1), ("cartpole-balance-sparse", 5, 1), ("cartpole-swingup", 5, 1),
    ("cartpole-swingup-sparse", 5, 1), ("cup-catch", 8, 2), ("finger-spin", 9, 2), ("finger-turn-easy", 12, 2),
    ("finger-turn-hard", 12, 2), ("fish-swim", 24, 5), ("hopper-stand", 15, 4), ("hopper-hop", 15, 4),
    ("walker-walk-backwards", 24, 6), ("walker-run-backwards", 24, 6), ("cheetah-run-backwards", 17, 6),
    ("cheetah-run-front", 17, 6), ("cheetah-run-back", 17, 6), ("cheetah-jump", 17, 6),
    ("hopper-hop-backwards", 15, 4), ("reacher-three-easy", 8, 3), ("reacher-three-hard", 8, 3), ("cup-spin", 8, 2),
    ("pendulum-spin", 3, 1),
)  # fmt: skip


def files(path: Path) -> list[Path]:
    """The ``.pt`` files at or below a path."""
    return below(path, "*.pt")


def read(path: Path) -> Iterator[Recording | Skipped]:
    """The episodes of one file."""
    arrays = _arrays(path)
    missing = [name for name in ("obs", "action", "reward", "task") if name not in arrays]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    for index in range(len(arrays["obs"])):
        place, task = f"{path}, episode {index}", int(arrays["task"][index].reshape(-1)[0])
        if not 0 <= task < len(TASKS):
            yield Skipped(place, f"task {task} is not one of the {len(TASKS)} known ones")
            continue
        name, m, n = TASKS[task]
        states, actions, rewards = (arrays[key][index] for key in ("obs", "action", "reward"))
        if states.shape[1] < m or actions.shape[1] < n or np.any(states[:, m:]) or np.any(actions[1:, n:]):
            yield Skipped(place, f"its padding is not that of {name} ({m} states, {n} actions)")
            continue
        over = "terminated" in arrays and bool(arrays["terminated"][index].reshape(-1)[-1])
        episode = arrived(states[:, :m], actions[:, :n], rewards, over, not over)
        yield Recording(environment=name, level="tdmpc2", component="tdmpc2", names=plain_names(m, n), episode=episode)


@dataclass(frozen=True)
class _Storage:
    """Where a tensor's numbers lie: an entry of the archive."""

    dtype: str
    key: str


class _Tree:
    """Stands in for a TensorDict: whatever it is made of, the tensors in it are found."""

    def __init__(self, *parts: Any):
        self.parts: list[Any] = list(parts)

    def __setstate__(self, state: Any) -> None:
        self.parts.append(state)


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage: Any, offset: int, shape: Any, strides: Any, *about: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise Refused("a tensor without a storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "LongStorage": "<i8", "IntStorage": "<i4", "BoolStorage": "?"}
GLOBALS: dict[tuple[str, str], Any] = {("torch", name): name for name in DTYPES}
GLOBALS["torch", "Size"] = Call(lambda shape: tuple(shape))
GLOBALS["torch", "device"] = Call(lambda *names: None)
GLOBALS["torch._utils", "_rebuild_tensor_v2"] = Call(_tensor)
GLOBALS["collections", "OrderedDict"] = Call(lambda *items: dict(*items))
GLOBALS["tensordict._reductions", "_make_td"] = Call(lambda kind, state: _Tree(state))
for _module in ("tensordict._td", "tensordict.tensordict", "tensordict"):
    GLOBALS[_module, "TensorDict"] = _Tree


def _storage(pid: Any) -> _Storage:
    """A reference to an entry of the archive."""
    kind, storage, key, *_ = pid
    if kind != "storage" or storage not in DTYPES:
        raise Refused(f"a storage of type {storage}")
    return _Storage(DTYPES[storage], str(key))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The named tensors of a file, mapped from disk."""
    with zipfile.ZipFile(path) as archive:
        inside = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if inside is None:
            raise ValueError("not a PyTorch archive")
        with archive.open(inside) as file:
            try:
                tree = Reader(file, GLOBALS, _storage).load()
            except Refused as error:
                raise ValueError(str(error)) from error
        root = inside.removesuffix("data.pkl")
        found = dict(_tensors(tree))
        return {name: _mapped(path, archive.getinfo(f"{root}data/{t.storage.key}"), t) for name, t in found.items()}


def _tensors(tree: Any) -> Iterator[tuple[str, _Tensor]]:
    """The tensors by name, however deep they lie."""
    if isinstance(tree, dict):
        for name, item in tree.items():
            if isinstance(item, _Tensor):
                yield str(name), item
            else:
                yield from _tensors(item)
    elif isinstance(tree, _Tree | list | tuple):
        for item in tree.parts if isinstance(tree, _Tree) else tree:
            yield from _tensors(item)


def _mapped(path: Path, entry: zipfile.ZipInfo, tensor: _Tensor) -> np.ndarray:
    """A tensor as an array over the bytes of an uncompressed entry."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("a compressed tensor")
    # Read through the map below, its numbers would escape the archive's own check.
    with zipfile.ZipFile(path) as archive, archive.open(entry) as content:
        while content.read(1 << 24):
            pass
    with path.open("rb") as file:
        file.seek(entry.header_offset + 26)  # lengths of the name and of the extra field, which differ from the index's
        name, extra = struct.unpack("<HH", file.read(4))
    dtype = np.dtype(tensor.storage.dtype)
    count = entry.file_size // dtype.itemsize
    flat = np.memmap(path, dtype, "r", entry.header_offset + 30 + name + extra, (count,))
    reach = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if min((*tensor.shape, *tensor.strides, tensor.offset, 0)) < 0 or 0 in tensor.shape or reach >= count:
        raise ValueError("a tensor that is larger than its storage")
    strides = tuple(s * dtype.itemsize for s in tensor.strides)
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)
