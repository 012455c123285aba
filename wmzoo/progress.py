"""What is printed: tables that keep their columns, and progress bars, which are plain lines outside of a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Report = Callable[[int, str], None]
Listener = Callable[[str, int, int, str], None]
"""What is called with a job's title, the steps done, the steps in all and a short text."""

LISTENER: ContextVar[Listener | None] = ContextVar("LISTENER", default=None)
PLAIN_SECONDS = 10.0
FILE_WIDTH = 140  # of tables that go into a file or a pipe


def console() -> Console:
    """Standard output: as wide as the terminal, and wide enough for every table where there is none."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=FILE_WIDTH)


@contextlib.contextmanager
def bar(title: str, total: int, start: int = 0, quiet: bool = False, unit: str = "steps") -> Iterator[Report]:
    """Show how far a job is, its rate and the time left.

    Args:
        title: of the job.
        total: steps in all.
        start: steps that were done before.
        quiet: show nothing.
        unit: what is counted.

    Yields:
        A function of the steps done so far and a short text, such as the loss.
    """
    listener = LISTENER.get()
    with _shown(title, total, start, quiet, unit) as shown:
        if listener is None:
            yield shown
            return
        listener(title, start, total, "")

        def report(done: int, text: str) -> None:
            shown(done, text)
            listener(title, done, total, text)

        yield report


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a function of all progress that is shown meanwhile."""
    token = LISTENER.set(listener)
    try:
        yield
    finally:
        LISTENER.reset(token)


@contextlib.contextmanager
def _shown(title: str, total: int, start: int, quiet: bool, unit: str) -> Iterator[Report]:
    errors = Console(stderr=True)
    began = time.perf_counter()

    def rate(done: int) -> str:
        return f"{(done - start) / max(time.perf_counter() - began, 1e-9):.1f} {unit}/s"

    if quiet:
        yield lambda done, text: None
    elif not errors.is_terminal:
        yield _plain(errors, title, total, rate)
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, TimeRemainingColumn(), console=errors) as progress:
            task = progress.add_task(title, total=total, completed=start, note="")
            yield lambda done, text: progress.update(task, completed=done, note=f"{rate(done)} {text}")


def _plain(errors: Console, title: str, total: int, rate: Callable[[int], str]) -> Report:
    """For logs: a line every few seconds, and one at the end."""
    last, said = time.perf_counter(), (0, "")

    def report(done: int, text: str) -> None:
        nonlocal last, said
        if (time.perf_counter() - last > PLAIN_SECONDS or done == total) and (done, text) != said:
            last, said = time.perf_counter(), (done, text)
            errors.print(f"{title}: {done}/{total}, {rate(done)} {text}", highlight=False)

    return report
