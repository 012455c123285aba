"""What this machine can do at the most: products of matrices, and copies of memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from wmzoo.bench.rows import measure

SIDES = ((2048, 1024, 1024), (4096, 256, 1024), (4096, 1024, 256))
"""Shapes of the products: a square one, and those of the paper's feed-forward layers. The fastest counts."""
COPIED = 1 << 26  # numbers, too many for any cache
REPEATS = 5


@dataclass(eq=False)
class Machine:
    """Rates of a device, each measured when it is first asked for.

    On a CPU they are rates of processor seconds, so that a floor does not depend on the number of threads.
    """

    device: torch.device
    _rates: dict[object, float] = field(default_factory=dict)

    def products(self, dtype: torch.dtype) -> float:
        """FLOPs a second of the fastest product of matrices in a type."""
        if dtype not in self._rates:
            self._rates[dtype] = max(self._product(*sides, dtype) for sides in SIDES)
        return self._rates[dtype]

    def copies(self) -> float:
        """Bytes a second that a copy reads and writes."""
        if "copy" not in self._rates:
            source = torch.zeros(COPIED, device=self.device)
            target = torch.empty_like(source)
            taken = measure(lambda: target.copy_(source), REPEATS, self.device).seconds
            self._rates["copy"] = 2 * source.nbytes / min(taken)
        return self._rates["copy"]

    def floor(self, flops: float, moved: float, dtype: torch.dtype) -> tuple[float, str]:
        """The least seconds that so many FLOPs and bytes take, and the words for it."""
        products, copies = flops / self.products(dtype), moved / self.copies()
        name = "bf16" if dtype == torch.bfloat16 else "fp32"
        why = (
            f"counted FLOPs at {self.products(dtype) / 1e9:.0f} GFLOP/s in {name}, or bytes that must be moved at "
            f"{self.copies() / 1e9:.1f} GB/s, whichever takes longer"
        )
        return max(products, copies), why

    def _product(self, rows: int, inner: int, columns: int, dtype: torch.dtype) -> float:
        left = torch.randn(rows, inner, device=self.device).to(dtype)
        right = torch.randn(inner, columns, device=self.device).to(dtype)
        taken = measure(lambda: left @ right, REPEATS, self.device).seconds
        return 2 * rows * inner * columns / min(taken)
