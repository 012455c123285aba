"""The seal of a corpus file: a hash of all but its rows, at its end, so that damage is found before HDF5 reads it.

HDF5 may crash or hang on a damaged file. The rows are most of a corpus, and each set has a hash of its own; the rest is
little, and is hashed whenever a corpus is opened. A sealed file ends with::

    {"rows": [[offset, bytes], ...], "sha256": "..."}   JSON, the places of the rows and the hash of the rest
    32 bytes   SHA-256 of that JSON
    8 bytes    length of that JSON, little-endian
    8 bytes    MARK

HDF5 takes no notice of what comes after its own end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from wmzoo.errors import WmzooError

MARK = b"wmzoo\r\n\x1a"
TAIL = 32 + 8 + len(MARK)
CHUNK = 1 << 20


def seal(path: Path, rows: Iterable[tuple[int, int]]) -> None:
    """Append the seal to a file.

    Args:
        path: of a file without one.
        rows: offset and length in bytes of each stretch of rows.
    """
    places = sorted((int(offset), int(size)) for offset, size in rows)
    with path.open("r+b") as file:
        text = json.dumps({"rows": places, "sha256": _rest(file, places, file.seek(0, 2))}).encode()
        file.seek(0, 2)
        file.write(text + hashlib.sha256(text).digest() + len(text).to_bytes(8, "little") + MARK)


def check_seal(path: Path) -> int:
    """Check that all but the rows of a file is as it was sealed.

    Returns:
        Bytes that the file has without its seal.

    Raises:
        WmzooError: it has no seal, or has changed since.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - TAIL, 0))
        tail = file.read()
        if not tail.endswith(MARK):
            raise WmzooError(f"{path}: not a wmzoo corpus, or cut short; collect or import it again.")
        length = int.from_bytes(tail[32:40], "little")
        end = size - TAIL - length
        if end >= 0:
            file.seek(end)
            text = file.read(length)
            if hashlib.sha256(text).digest() == tail[:32]:
                told = json.loads(text)
                if _rest(file, told["rows"], end) == told["sha256"]:
                    return end
    raise WmzooError(f"{path}: has changed since it was written; collect or import it again.")


def _rest(file: BinaryIO, rows: Iterable[tuple[int, int]], end: int) -> str:
    """SHA-256 of a file up to ``end``, without the stretches of rows."""
    sha, place = hashlib.sha256(), 0
    for offset, size in [*rows, (end, 0)]:
        file.seek(place)
        for start in range(place, offset, CHUNK):
            sha.update(file.read(min(CHUNK, offset - start)))
        place = offset + size
    return sha.hexdigest()
