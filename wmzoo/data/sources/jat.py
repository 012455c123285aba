"""JAT's MuJoCo episodes (Parquet, one row an episode).

Paper: Gallouedec et al. 2024 (arXiv 2402.09844)
Rewards follow the state and action of their row. The final state is not stored, so that the last action and reward of
each episode are dropped, and how it ended is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from wmzoo.data.recordings import Recording, Skipped, followed, plain_names
from wmzoo.data.sources import below

EPISODES = 64  # read at once

FOREIGN = True


def files(path: Path) -> list[Path]:
    """The ``.parquet`` files at or below a path."""
    return below(path, "*.parquet")


def read(path: Path) -> Iterator[Recording | Skipped]:
    """The episodes of one file."""
    import pyarrow.parquet as parquet

    columns = ["continuous_observations", "continuous_actions", "rewards"]
    index = 0
    for batch in parquet.ParquetFile(path).iter_batches(EPISODES, columns=columns):
        observations, actions = _lists(batch.column(0)), _lists(batch.column(1))
        for states, taken, rewards in zip(observations, actions, _lists(batch.column(2)), strict=True):
            index += 1
            if len(states) < 2:
                yield Skipped(f"{path}, row {index - 1}", f"an episode of {len(states)} steps without its final state")
                continue
            episode = followed(states, taken, rewards, None, False, True)
            yield Recording(
                environment=path.parent.name,
                level="jat",
                component="jat",
                names=plain_names(states.shape[1], taken.shape[1]),
                episode=episode,
            )


def _lists(column: Any) -> Iterator[np.ndarray]:
    """Each row's list of numbers, or of lists of numbers of one width."""
    import pyarrow as pa

    offsets, inner = column.offsets.to_numpy(), column.values
    wide = pa.types.is_fixed_size_list(inner.type) or pa.types.is_list(inner.type)
    flat = (inner.flatten() if wide else inner).to_numpy(zero_copy_only=False)
    values = flat.reshape(len(inner), -1) if wide else flat
    for start, stop in zip(offsets, offsets[1:], strict=False):
        yield values[start:stop]
