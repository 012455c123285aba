"""One cell of a grid in a process of its own: ``python -m wmzoo.gridrun.cell FOLDER``.

Every engine runs this command, as the leader of a process group. Standard input is a pipe from whoever started it: when
it closes, that process is gone, and this one ends itself.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from wmzoo.files import read_json
from wmzoo.gridrun import state

CLAIMED = 75  # exit code: another process works on the cell; it may be tried later
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    """Train and evaluate the cell of a run's folder, as far as that is not done; the exit code."""
    folder = Path(arguments[0])
    for number in (signal.SIGINT, signal.SIGTERM):  # the first is ignored below a shell that put its job behind
        signal.signal(number, signal.default_int_handler)
    threading.Thread(target=_end_with_starter, daemon=True).start()
    with state.claim(folder) as mine:
        return _logged(folder) if mine else CLAIMED


def _end_with_starter() -> None:
    while os.read(0, 4096):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # the processes that load batches too
    os._exit(INTERRUPTED)


def _logged(folder: Path) -> int:
    """Run the cell with all that it prints in its log; note a failure before the claim ends."""
    log = os.open(folder / state.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}, process {os.getpid()}", flush=True)
    code, failed = INTERRUPTED, True
    from wmzoo.errors import WmzooError

    try:
        _run(folder)
        code, failed = 0, False
    except WmzooError as error:
        print(*(f"wmzoo: {problem}" for problem in error.problems), sep="\n", file=sys.stderr, flush=True)
        code = error.code
    except KeyboardInterrupt:
        failed = False
    finally:
        if failed:
            state.fail(folder, _words(folder))
    return code


def _words(folder: Path) -> str:
    """What the failure says: the error that passes through, else the last line of the log."""
    error = sys.exc_info()[1]
    return f"{type(error).__name__}: {error}" if error else state.last_words(folder)


def _run(folder: Path) -> None:
    job = read_json(folder / state.JOB)
    os.environ["OMP_NUM_THREADS"] = str(job["threads"])
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    notes = state.Notes(folder)
    notes("the start", 0, 1, "")  # the heavy imports take seconds
    from wmzoo import report, tracking, training
    from wmzoo.progress import listening
    from wmzoo.recipe import Source, check

    training.torch.set_num_threads(job["threads"])
    recipe = check(Source(job["recipe"], {}))
    with listening(notes), tracking.under(job["parent"]):
        if not state.trained(folder):
            training.train(recipe, resume=True)
        for protocol in state.missing(folder, job["protocols"]):
            report.print_evaluation(str(folder), protocol, like=recipe)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
