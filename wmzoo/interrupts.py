"""Ends that are asked for: Ctrl-C, and what means the same."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def terminated_is_interrupted() -> Iterator[None]:
    """Take the request of a batch system to end, or a closed terminal, for Ctrl-C."""
    # A process that nohup started keeps on ignoring the closed terminal.
    wanted = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = [signal.signal(number, signal.default_int_handler) for number in wanted]
    try:
        yield
    finally:
        for number, handler in zip(wanted, before, strict=True):
            signal.signal(number, handler)


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
    here = threading.current_thread() is threading.main_thread()
    wanted = [n for n in ASKING if here and signal.getsignal(n) is signal.default_int_handler]
    for number in wanted:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number in wanted:
            signal.signal(number, signal.default_int_handler)
        if held:
            raise KeyboardInterrupt
