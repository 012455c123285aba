"""What a sequence backbone keeps of the rows that it has read: keys and values, in buffers that never grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

Put = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor | None]]


@dataclass(eq=False)
class Memory:
    """The buffers of one backbone; each is allocated once, when its layer first writes.

    Attributes:
        places: most places of a sequence.
        filled: places written by whoever went on last.
        buffers: keys and values of each layer, ``[2, N, H, places, d]``: so laid out, a head's products need no copy.
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

    def put(
        self, layer: int, keys: Tensor, values: Tensor, real: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Write behind.

        Args:
            layer: whose buffer.
            keys, values: ``[N, L, H, d]`` of new places.
            real: ``[N, length + L]`` bool, false for padding among all places; None if there is none.

        Returns:
            Keys and values ``[N, P, H, d]`` and which are real, ``[N, P]`` or ``[1, P]`` or None. Of a single new place
            they are those of the whole buffer, the rest of it not being real: products of one shape, without a copy.
        """
        if layer not in self.memory.buffers:
            count, _, heads, size = keys.shape
            self.memory.buffers[layer] = keys.new_zeros(2, count, heads, self.memory.places, size)
        buffer, end = self.memory.buffers[layer], self.length + keys.shape[1]
        buffer[0, :, :, self.length : end] = keys.transpose(1, 2)
        buffer[1, :, :, self.length : end] = values.transpose(1, 2)
        if keys.shape[1] == 1:
            real, end = self._among_all(real, end, keys.device), self.memory.places
        return buffer[0, :, :, :end].transpose(1, 2), buffer[1, :, :, :end].transpose(1, 2), real

    def _among_all(self, real: Tensor | None, end: int, device: torch.device) -> Tensor:
        """``[N, places]`` or ``[1, places]`` bool, the real places of the buffer."""
        if real is None:
            return (torch.arange(self.memory.places, device=device) < end)[None]
        return torch.nn.functional.pad(real, (0, self.memory.places - end))

    def putter(self, layer: int) -> Put:
        """:meth:`put` for one layer."""
        return lambda keys, values, real: self.put(layer, keys, values, real)

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

    def overwrite(self, rows: Tensor, other: Past, batch: int) -> Past:
        """The same past with the trajectories ``rows`` ``[R]`` of the ``batch`` replaced by those of another one.

        It is written over in place, so whoever branched off before must not go on; the other is as long.
        """
        past = self.begin()
        for layer, buffer in past.memory.buffers.items():
            if self.length:
                theirs = other.memory.buffers[layer].unflatten(1, (len(rows), -1))
                mine = buffer.unflatten(1, (batch, -1))
                mine[:, rows, :, :, : self.length] = theirs[:, :, :, :, : self.length]
        return past.keep()

    def _copy(self, change: Callable[[Tensor], Tensor]) -> Past:
        made = Memory(self.memory.places)
        for layer, buffer in self.memory.buffers.items():
            kept = change(buffer[:, :, :, : self.length])
            made.buffers[layer] = torch.nn.functional.pad(kept, (0, 0, 0, made.places - self.length))
        return Past(made, self.length).keep()
