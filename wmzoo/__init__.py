"""wmzoo: world models for control, built from recipes and compared with the same evaluations.

The heavy parts load when they are first used, so that ``import wmzoo`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from wmzoo.checkpoint import load
    from wmzoo.model import WorldModel, build
    from wmzoo.world_env import WorldModelEnv

_HOMES = {
    "build": ("wmzoo.model", "build"),
    "load": ("wmzoo.checkpoint", "load"),
    "WorldModel": ("wmzoo.model", "WorldModel"),
    "WorldModelEnv": ("wmzoo.world_env", "WorldModelEnv"),
}

__all__ = ["WorldModel", "WorldModelEnv", "build", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module wmzoo has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
