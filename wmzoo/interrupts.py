"""Ends that are asked for: Ctrl-C, and what means the same."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


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
