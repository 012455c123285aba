"""What a cell's run folder tells of it, and the claim on it; any number of processes may look.

Beside what training writes, the folder holds ``job.json`` (the resolved recipe and the run above), ``claim.lock``,
``progress.json``, ``log.txt`` and, after a failure, ``failure.json``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wmzoo.evaluation import file_name
from wmzoo.files import read_json, write_json

LOCK, JOB, PROGRESS, LOG, FAILURE = "claim.lock", "job.json", "progress.json", "log.txt", "failure.json"
SAY_EVERY = 0.5  # seconds between two notes of progress


@contextlib.contextmanager
def claim(folder: Path) -> Iterator[bool]:
    """Claim a cell; whether it could be.

    The claim is a lock of the operating system on a file: it ends with the process that holds it, however that ends,
    and holds between machines on a file system that shares locks (NFS 4, Lustre, GPFS).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def claimed(folder: Path) -> bool:
    """Whether a living process works on the cell."""
    if not (folder / LOCK).is_file():
        return False
    with claim(folder) as free:
        return not free


def trained(folder: Path) -> bool:
    """Whether the cell's training is finished."""
    return (folder / "run.json").is_file() and read_json(folder / "run.json")["status"] == "finished"


def result_file(folder: Path, protocol: str) -> Path:
    """Where the result of a protocol lies."""
    return folder / f"{file_name(protocol)}.json"


def missing(folder: Path, wanted: dict[str, Any]) -> list[str]:
    """The protocols by which the cell is not evaluated yet.

    Args:
        folder: of its run.
        wanted: the settings of each protocol; None stands for any.
    """
    paths = {protocol: result_file(folder, protocol) for protocol in wanted}
    return [
        protocol
        for protocol, path in paths.items()
        if not path.is_file() or wanted[protocol] not in (None, read_json(path)["settings"])
    ]


def done(folder: Path, wanted: dict[str, Any]) -> bool:
    """Whether the cell is trained, and evaluated as wanted."""
    return trained(folder) and not missing(folder, wanted)


class Notes:
    """Writes a running cell's progress into its folder, at most twice a second.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path):
        self.path, self.last = folder / PROGRESS, 0.0
        self.began = time.time()

    def __call__(self, title: str, done: int, total: int, text: str) -> None:
        """Note how far a job of the cell is."""
        now = time.monotonic()
        if now - self.last > SAY_EVERY or done in (0, total):
            self.last = now
            told = {"title": title, "done": done, "total": total, "text": text, "began": self.began}
            write_json(self.path, {**told, "host": socket.gethostname(), "process": os.getpid()})


def progress(folder: Path, since: float) -> dict[str, Any] | None:
    """The last note of a cell's process that began after a time, if there is one."""
    path = folder / PROGRESS
    note: dict[str, Any] = read_json(path) if path.is_file() else {}
    return note if note and note["began"] >= since else None


def began(folder: Path) -> float:
    """When the last process of a cell began, by the clock of its machine; 0 if none did."""
    note = progress(folder, 0.0)
    return float(note["began"]) if note else 0.0


def fail(folder: Path, words: str) -> None:
    """Note that the cell failed."""
    write_json(folder / FAILURE, {"time": time.time(), "host": socket.gethostname(), "words": words})


def failure(folder: Path, since: float) -> str:
    """The last words of a failure after a time, noted by whichever process; empty if there was none."""
    path = folder / FAILURE
    note: dict[str, Any] = read_json(path) if path.is_file() else {}
    return str(note["words"]) if note and note["time"] >= since else ""


def last_words(folder: Path) -> str:
    """The last line of the cell's log."""
    path = folder / LOG
    lines = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
    return lines[-1].removeprefix("wmzoo: ").strip() if lines else "it left no word"
