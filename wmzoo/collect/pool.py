"""Calling a function for many tasks in worker processes, with progress, clean interruption and no orphans."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from threadpoolctl import threadpool_limits

from wmzoo.errors import WmzooError

Tell = Callable[[int], None]
"""What a task calls with the units of work that it has just done; it ends the task if the others were stopped."""


class _Stopped(Exception):
    """The tasks were interrupted."""


def run(function: Callable[[Any, Tell], None], tasks: Sequence[Any], workers: int, tell: Tell) -> None:
    """Call ``function(task, tell)`` for every task, in any order, and wait for all.

    Args:
        function: defined at the top of a module; what it does must depend on the task alone.
        tasks: anything that can be sent to another process.
        workers: processes; 1 stays in this one.
        tell: is called here with the units that tasks tell of.

    Raises:
        WmzooError: a task's own, or a worker was killed.
    """
    if workers == 1 or len(tasks) < 2:
        with threadpool_limits(1):  # sums in one order, on any number of cores
            for task in tasks:
                function(task, tell)
        return
    context = multiprocessing.get_context("spawn")
    told, stop = context.Queue(), context.Event()
    pool = ProcessPoolExecutor(min(workers, len(tasks)), context, initializer=_begin, initargs=(told, stop))
    try:
        futures = [pool.submit(_call, function, task) for task in tasks]
        _wait(futures, told, tell)
    except BrokenProcessPool as error:
        raise WmzooError("a worker process was killed, perhaps for memory; repeat the command to go on.") from error
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _wait(futures: Sequence[Future[None]], told: Any, tell: Tell) -> None:
    """Pass on what workers tell until all tasks are done, or one has failed."""
    while not all(future.done() for future in futures):
        try:
            tell(told.get(timeout=0.1))
        except queue.Empty:
            failed = [future for future in futures if future.done() and future.exception()]
            if failed:
                failed[0].result()
    for future in futures:
        future.result()
    while not told.empty():
        tell(told.get())


_TOLD: Any = None
_STOP: Any = None


def _begin(told: Any, stop: Any) -> None:
    """Set a worker up: one thread, deaf to Ctrl-C, which the main process handles, and dead when that dies."""
    global _TOLD, _STOP
    _TOLD, _STOP = told, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(function: Callable[[Any, Tell], None], task: Any) -> None:
    function(task, _tell)


def _tell(units: int) -> None:
    if _STOP.is_set():
        raise _Stopped
    _TOLD.put(units)
