"""Zero-shot: pendulums of gravities never trained on, from histories of growing length.

Version 1. Trained on gravities of 8 to 12 m/s2, tested on 6.5 to 7.5 (Yin et al. 2025, section 5.1, appendix B.2 and
figure 4a).
The next row is predicted from the last 1, 2, ... 19 rows, always the same next rows: with one row, which is without
history, nothing tells the parameters. Errors are absolute, in deviations over the environments trained on, and, as in
the figure, squared. Beside them stand unseen episodes of some environments that were trained on, and the floors: the
last value, the mean of the history, and a ridge regression on all environments trained on. Ranges of those held out are
the widest of those trained on.
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
