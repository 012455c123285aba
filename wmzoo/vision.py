"""timm, also where torchvision's native operators are missing."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch

_library: torch.library.Library | None = None


def import_timm() -> ModuleType:
    """Import timm.

    timm imports torchvision, whose wheels for Linux hold CUDA operators alone: with a CPU build of torch it fails to
    find its own schemas. Declaring the two that it looks up at import is enough; nothing here calls them.
    """
    global _library
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    timm = importlib.import_module("timm")
    importlib.import_module("timm.optim")
    return timm
