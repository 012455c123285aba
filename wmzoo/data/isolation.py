"""Reading a file in a process of its own, where a library may crash, hang or spoil memory on a damaged one."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Read = Callable[[Path], Iterator[Any]]

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["h5py", "wmzoo.data.recordings"])  # so that each process starts in milliseconds
PATIENCE = 120.0
"""Seconds to wait for one episode."""


def isolated(read: Read, path: Path) -> Iterator[Any]:
    """What ``read(path)`` yields, read elsewhere.

    Args:
        read: defined at the top of a module.
        path: of the file.

    Raises:
        OSError: the process crashed, or gave nothing for so long that it must hang.
        Exception: whatever ``read`` raises.
    """
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_send, args=(read, path, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        while True:
            if not ours.poll(PATIENCE):
                raise OSError(f"nothing came of it for {PATIENCE:.0f} s")
            try:
                item = ours.recv()
            except EOFError:
                raise OSError("reading it crashed, so it must be damaged") from None
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        process.kill()
        process.join()
        ours.close()


def _send(read: Read, path: Path, to: Connection) -> None:
    """Send the items, then None, or the error that ended them. Ctrl-C is for the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for item in read(path):
            to.send(item)
        to.send(None)
    except BrokenPipeError:
        pass
    except Exception as error:  # noqa: BLE001
        to.send(error)
