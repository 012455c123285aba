"""What takes long to measure and depends on no model, kept in files beside the corpus."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wmzoo.collect.collector import versions
from wmzoo.collect.policies import Policy
from wmzoo.data.store import Corpus
from wmzoo.errors import WmzooError
from wmzoo.files import write_json


def folder_of(corpus: Corpus) -> Path:
    """Where the measurements of a corpus's environments are kept."""
    return Path(corpus.path).parent / "measured"


def remember(
    folder: Path, name: str, determined: Mapping[str, Any], measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What was measured before under the same conditions, or what is measured now.

    Args:
        folder: of the files.
        name: of the measurement, for people.
        determined: everything that the result depends on, beside the versions of the packages; plain JSON.
        measure: measures it; gives plain JSON.

    Raises:
        WmzooError: the folder can't be written.
    """
    text = json.dumps([name, determined, versions()], sort_keys=True)
    path = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        found = measure()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WmzooError(f"{folder}: can't be written ({error.strerror or error}); make room for it.") from error
    write_json(path, found)
    return found


def digest(policy: Policy) -> str:
    """What tells policies apart."""
    sha = hashlib.sha256(f"{policy.nonlinearity} {policy.distribution}".encode())
    for weight, bias in policy.layers():
        sha.update(weight.tobytes() + bias.tobytes())
    return sha.hexdigest()
