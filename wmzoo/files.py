"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wmzoo.errors import WmzooError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file under another name beside it, then put it in its place.

    Args:
        path: the file; its folder is made if need be.

    Yields:
        The path to write to.

    Raises:
        WmzooError: the folder cannot be written, or the disk is full; nothing is left then.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        reason = error.strerror or error
        raise WmzooError(f"{path}: can't be written ({reason}); free some space or choose another folder.") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def require_room(path: Path, size: int) -> None:
    """Make sure that a file can grow by so many bytes, for writers that a failing write would crash.

    Raises:
        OSError: the disk or the largest size of a file leaves no room.
    """
    room = shutil.disk_usage(path.parent).free
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if largest != resource.RLIM_INFINITY:
        room = min(room, largest - (path.stat().st_size if path.exists() else 0))
    if room < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_json(path: Path, value: Any) -> None:
    """Write plain values to a file."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=1))


def read_json(path: Path) -> Any:
    """Read plain values from a file.

    Raises:
        WmzooError: missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WmzooError(f"{path}: can't be read ({error}); it is missing or damaged, make it again.") from error
