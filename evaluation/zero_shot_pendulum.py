"""Zero-shot: pendulums of gravities never trained on, from histories of growing length.

Version 1. Trained on gravities of 8 to 12 m/s2, tested on 6.5 to 7.5 (Yin et al. 2025, section 5.1, appendix B.2 and
figure 4a). What is measured, and how: :mod:`wmzoo.evaluation.zero_shot`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wmzoo.data.store import Corpus
from wmzoo.evaluation import zero_shot
from wmzoo.evaluation.boards import describe, summary
from wmzoo.evaluation.zero_shot import Config, Family, compare
from wmzoo.model import WorldModel

__all__ = ["PROTOCOL", "Config", "compare", "describe", "evaluate", "summary"]

PROTOCOL = "zero_shot/pendulum-gravity/v1"


def evaluate(
    model: WorldModel, corpus: Corpus, manifest: Mapping[str, Any], config: Config, progress: bool = True
) -> dict[str, Any]:
    """Score a model on held-out gravities, see :func:`wmzoo.evaluation.zero_shot.evaluate`."""
    family = Family(
        protocol=PROTOCOL, component="pendulum-gravity", parameter="gravity [m/s²]", value=lambda name: float(name[-6:])
    )
    return zero_shot.evaluate(family, model, corpus, manifest, config, progress)
