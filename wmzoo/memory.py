"""What a sequence backbone keeps of the rows that it has read: keys and values, in buffers that never grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

Put = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(eq=False)
class Memory:
    """The buffers of one backbone; each is allocated once, when its layer first writes.

    Attributes:
        places: most places of a sequence.
        filled: places written by whoever went on last.
        buffers: keys and values of each layer, ``[2, N, places, H, d]``.
    """

    places: int
    filled: int = 0
    buffers: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Past:
    """The first ``length`` places of a memory.

    Whoever goes on from a past first writes behind it in place; whoever goes on from the same past later gets a copy,
    so that imagination may branch.
    """

    memory: Memory
    length: int = 0

    def begin(self) -> Past:
        """The same past, free to be written behind."""
        return self if self.memory.filled == self.length else self._copy(lambda kept: kept)

    def put(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write keys and values ``[N, L, H, d]`` of new places behind; those of all, ``[N, length + L, H, d]``."""
        if layer not in self.memory.buffers:
            count, _, heads, size = keys.shape
            self.memory.buffers[layer] = keys.new_empty(2, count, self.memory.places, heads, size)
        buffer, end = self.memory.buffers[layer], self.length + keys.shape[1]
        buffer[0, :, self.length : end] = keys
        buffer[1, :, self.length : end] = values
        return buffer[0, :, :end], buffer[1, :, :end]

    def putter(self, layer: int) -> Put:
        """:meth:`put` for one layer."""
        return lambda keys, values: self.put(layer, keys, values)

    def behind(self, places: int) -> Past:
        """The past with so many more places, which have been put but may be written over."""
        return Past(self.memory, self.length + places)

    def keep(self) -> Past:
        """The same past, not to be written over."""
        self.memory.filled = self.length
        return self

    def take(self, rows: Tensor, batch: int) -> Past:
        """The past of chosen trajectories ``[S]`` of the ``batch``, each perhaps more than once."""
        return self._copy(lambda kept: kept.unflatten(1, (batch, -1))[:, rows].flatten(1, 2))

    def _copy(self, change: Callable[[Tensor], Tensor]) -> Past:
        made = Memory(self.memory.places)
        for layer, buffer in self.memory.buffers.items():
            kept = change(buffer[:, :, : self.length])
            made.buffers[layer] = kept.new_empty(*kept.shape[:2], made.places, *kept.shape[3:])
            made.buffers[layer][:, :, : self.length] = kept
        return Past(made, self.length).keep()
