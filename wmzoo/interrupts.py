"""Ends that are asked for: Ctrl-C, and what means the same."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

TERMINATING = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def handled(numbers: Sequence[int], handler: Any) -> Iterator[None]:
    """Have signals handled in another way meanwhile.

    Args:
        numbers: of the signals.
        handler: a function, or ``signal.SIG_IGN``, which processes that are started meanwhile inherit.
    """
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, earlier in zip(numbers, before, strict=True):
            signal.signal(number, earlier)


@contextlib.contextmanager
def terminated_is_interrupted() -> Iterator[None]:
    """Take the request of a batch system to end, or a closed terminal, for Ctrl-C."""
    # A process that nohup started keeps on ignoring the closed terminal.
    wanted = [number for number in TERMINATING if signal.getsignal(number) is not signal.SIG_IGN]
    with handled(wanted, signal.default_int_handler):
        yield


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Hold an interrupt back until the block has ended; a second one does not wait.

    For a block that must not be left amid what it does: a database's transaction that is left open locks out everybody.
    """
    held: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if held:
            signal.default_int_handler(number, frame)
        held.append(number)

    # Other threads are never interrupted, and what is no interrupt, or is held back already, is left alone.
    asking = (signal.SIGINT, *TERMINATING) if threading.current_thread() is threading.main_thread() else ()
    try:
        with handled([n for n in asking if signal.getsignal(n) is signal.default_int_handler], hold):
            yield
    finally:
        if held:
            raise KeyboardInterrupt
