"""What a benchmark finds: rows of ours, of the least that this machine could take, and of a plain way of doing it."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.table import Table

from wmzoo.progress import console

CPU_S, SECONDS, MB = "cpu s", "s", "MB"
RATE, TOKENS = RATES = ("windows/s", "tokens/s")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured figure.

    Attributes:
        what: was measured.
        unit: ``cpu s`` (processor seconds of all threads), ``s``, ``windows/s``, ``tokens/s`` or ``MB``.
        ours: the median of what was measured.
        least, most: of what was measured.
        floor: the least (of a rate, the most) that this machine allows; None where there is none.
        why: how the floor was found.
        reference: the same by a plain way; None if there is none.
        way: what the plain way is.
        released: the same by the released program, measured elsewhere; None if it has none.
    """

    what: str
    unit: str
    ours: float
    least: float
    most: float
    floor: float | None = None
    why: str = ""
    reference: float | None = None
    way: str = ""
    released: float | None = None

    @property
    def of_floor(self) -> float | None:
        """How many times the floor it is; 1 is as good as the machine allows, and more is worse."""
        return None if not self.floor else self._times(self.ours, self.floor)

    @property
    def of_reference(self) -> float | None:
        """How many times better than the plain way it is."""
        return None if not self.reference else self._times(self.reference, self.ours)

    @property
    def of_released(self) -> float | None:
        """Which share of the released program's figure it is."""
        return None if not self.released else self.ours / self.released

    def _times(self, more: float, less: float) -> float:
        return less / more if self.unit in RATES else more / less

    def plain(self) -> dict[str, Any]:
        """JSON of it, with the ratios."""
        ratios = {"of_floor": self.of_floor, "of_reference": self.of_reference, "of_released": self.of_released}
        return {**asdict(self), **ratios}


@dataclass(frozen=True)
class Measured:
    """What repeated work took: processor seconds on a CPU, seconds on the clock on CUDA, one entry a repeat."""

    seconds: tuple[float, ...]

    def row(self, what: str, unit: str = CPU_S, count: float = 1.0, **others: Any) -> Row:
        """As a row of seconds for each of ``count``, or of so many a second."""
        values = [count / s if unit in RATES else s / count for s in self.seconds]
        return Row(what=what, unit=unit, ours=statistics.median(values), least=min(values), most=max(values), **others)


def measure(work: Callable[[], Any], repeats: int, device: torch.device | str = "cpu", warm: bool = True) -> Measured:
    """Do some work several times.

    Args:
        work: to do.
        repeats: how often it is measured.
        device: that it runs on; CUDA's queue is waited for, and timed by the clock.
        warm: do it once before, unmeasured.
    """
    cuda = torch.device(device).type == "cuda"
    clock, wait = (time.perf_counter, torch.cuda.synchronize) if cuda else (time.process_time, lambda: None)
    found = []
    for number in range(repeats + warm):
        wait()
        began = clock()
        work()
        wait()
        if number >= warm:
            found.append(clock() - began)
    return Measured(tuple(found))


def print_rows(rows: Sequence[Row], as_json: bool = False) -> None:
    """Print a table of rows, or JSON."""
    if as_json:
        print(json.dumps([row.plain() for row in rows], indent=1))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("what", overflow="fold")
    for name in ("ours", "least to most", "floor (times)", "plain way (better by)", "of released"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        spread = "" if row.least == row.most else f"{_number(row.least)} to {_number(row.most)}"
        beside = (_beside(row.floor, row.of_floor), _beside(row.reference, row.of_reference))
        share = "" if row.of_released is None else f"{row.of_released:.0%} of {_number(row.released)}"
        table.add_row(row.what, f"{_number(row.ours)} {row.unit}", spread, *beside, share)
    screen = console()
    screen.print(table)
    for label, texts in (("Floor", [r.why for r in rows]), ("Plain way", [r.way for r in rows])):
        told = list(dict.fromkeys(text for text in texts if text))
        if told:
            screen.print(f"{label}: {'; '.join(told)}.", style="dim", highlight=False)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _beside(value: float | None, times: float | None) -> str:
    """Another figure, and how ours relates to it."""
    return "" if times is None else f"{_number(value)} ({times:.3g} x)"
