"""RL Unplugged episodes of the DeepMind Control Suite (TFRecord), read without TensorFlow.

Paper: Gulcehre et al. 2020 (arXiv 2006.13888)
One episode a record; the reward of a row came with its state, and its action is taken there. Columns are named by the
keys of the observation, in alphabetical order. The sister files of two-step slices hold no episodes and are refused.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from wmzoo.data.recordings import Recording, Skipped
from wmzoo.data.sources import below
from wmzoo.trajectories import Episode

LONGEST = 1 << 30  # bytes of a record; more than that is damage


def files(path: Path) -> list[Path]:
    """The ``train-*`` shards at or below a path."""
    return below(path, "train-*")


def read(path: Path) -> Iterator[Recording | Skipped]:
    """The episodes of one shard."""
    for index, example in enumerate(_examples(path)):
        place = f"{path}, record {index}"
        rewards = example["reward"]
        steps = len(rewards)
        if steps <= 2 or "episodic_reward" in example:
            yield Skipped(place, "a slice of two steps, not an episode; use the files of dm_control_suite_episodes")
            continue
        keys = sorted(key for key in example if key.startswith("observation/"))
        columns = {key: _rows(example[key], steps) for key in keys}
        actions = _rows(example["action"], steps)
        over = bool(example["discount"][-1] == 0)
        names = [f"{key.removeprefix('observation/')}:{i}" for key in keys for i in range(columns[key].shape[1])]
        yield Recording(
            environment=path.parent.name,
            level="rl_unplugged",
            component="rl_unplugged",
            names=(*names, "reward", *(f"a{i}" for i in range(actions.shape[1]))),
            episode=Episode(
                observations=np.concatenate(list(columns.values()), 1),
                actions=actions[:-1],
                rewards=rewards[1:],
                terminated=over,
                truncated=not over,
            ),
        )


def _rows(values: np.ndarray, steps: int) -> np.ndarray:
    if len(values) % steps:
        raise ValueError(f"{len(values)} values for {steps} steps")
    return values.reshape(steps, -1)


def _examples(path: Path) -> Iterator[dict[str, np.ndarray]]:
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    if zipped:  # its checksum comes last, so it is read through once before anything in it is believed
        with gzip.open(path, "rb") as file:
            while file.read(1 << 20):
                pass
    with gzip.open(path, "rb") if zipped else path.open("rb") as file:
        while header := file.read(12):  # length, and its checksum
            (length,) = struct.unpack("<Q", header[:8])
            yield _example(_exactly(file, length))
            _exactly(file, 4)  # the record's own checksum


def _exactly(file: BinaryIO | gzip.GzipFile, length: int) -> bytes:
    data = file.read(length) if length < LONGEST else b""
    if len(data) != length:
        raise ValueError("a record is cut short")
    return data


def _example(data: bytes) -> dict[str, np.ndarray]:
    """A ``tf.train.Example``: a map from names to lists of numbers."""
    found = {}
    for _, features in _fields(data):
        for _, entry in _fields(features):
            parts = dict(_fields(entry))
            found[parts[1].decode()] = _numbers(parts[2])
    return found


def _numbers(feature: bytes) -> np.ndarray:
    """A FloatList or an Int64List, packed or not."""
    for kind, content in _fields(feature):
        chunks = [value for number, value in _fields(content) if number == 1]
        if kind == 2:
            return np.frombuffer(b"".join(chunks), "<f4")
        if kind == 3:
            return np.array([v for c in chunks for v in _varints(c)], np.int64)
    return np.zeros(0, np.float32)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field of a protocol buffer's message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            start = at
            _, at = _varint(data, at)
            yield number, data[start:at]
            continue
        length, at = _varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
        if at + length > len(data):
            raise ValueError("a field is cut short")
        yield number, data[at : at + length]
        at += length


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value - (1 << 64) if value >> 63 else value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value & ((1 << 64) - 1), at
        if shift > 63:
            raise ValueError("a number is too long")
