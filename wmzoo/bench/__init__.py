"""``wmzoo bench``: what the parts of the zoo take on this machine, beside the least possible and plain ways."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from wmzoo.errors import WmzooError

if TYPE_CHECKING:
    from wmzoo.bench.rows import Row

PARTS = ("start", "data", "memory", "evaluation", "attention", "rollout", "train", "batches")
MODULES = {"attention": "growth"}


def run(part: str, overrides: Sequence[str] = (), uri: str = "sqlite:///mlflow.db", quiet: bool = False) -> list[Row]:
    """Measure one part, or all of them by their default settings; keep the figures in MLflow.

    Args:
        part: one of ``PARTS``; empty for all.
        overrides: ``key=value`` settings of the part.
        uri: MLflow tracking URI; nothing is kept if it is empty.
        quiet: show no bars.

    Raises:
        WmzooError: a setting is wrong, or settings are given for no part.
    """
    import torch

    from wmzoo import heap
    from wmzoo.bench.machine import Machine
    from wmzoo.recipe import settings_of
    from wmzoo.training import choose_device

    if overrides and not part:
        raise WmzooError(f"{overrides[0]}: settings belong to a part, such as `wmzoo bench train {overrides[0]}`.")
    heap.keep_pages()
    rows: list[Row] = []
    settings: dict[str, Any] = {}
    machines: dict[torch.device, Machine] = {}
    for name in [part] if part else PARTS:
        module = import_module(f"wmzoo.bench.{MODULES.get(name, name)}")
        config = settings_of(module.Config, overrides)
        device = choose_device(getattr(config, "device", "cpu"))
        rows += module.bench(config, machines.setdefault(device, Machine(device)), quiet)
        settings |= {f"{name}.{key}": value for key, value in vars(config).items()}
    if uri:
        _log(part or "all", settings, rows, uri)
    return rows


def _log(part: str, settings: dict[str, Any], rows: Sequence[Row], uri: str) -> None:
    import torch

    from wmzoo import tracking

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    about = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__, **settings}
    metrics: dict[str, float] = {}
    for row in rows:
        name = re.sub(r"[^a-z0-9_.]+", "_", row.what.lower()).strip("_")
        found = {"ours": row.ours, "of_floor": row.of_floor, "of_reference": row.of_reference}
        metrics |= {f"{name}/{key}": float(value) for key, value in found.items() if value is not None}
    tracking.log_bench(uri, f"{part} {time.strftime('%Y-%m-%d %H:%M')}", about, metrics)
