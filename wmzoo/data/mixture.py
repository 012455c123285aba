"""How often each set is drawn in training: a component by its weight, then its environments alike, then their sets.

Paper: Yin et al. 2025 (arXiv 2502.01366), appendix A.3 and table 3; the weights of its released loader
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from wmzoo.data.store import Corpus, TrajectorySet
from wmzoo.errors import WmzooError, nearest


def check_mixture(corpus: Corpus, items: Sequence[TrajectorySet], mixture: Mapping[str, float]) -> None:
    """Refuse a mixture that does not name the components of the chosen sets, or names any that the corpus lacks.

    What it says of components that the corpus has and the recipe leaves out is not used, so that leaving one out
    takes one setting.

    Args:
        corpus: opened.
        items: the chosen sets.
        mixture: weight by component.

    Raises:
        WmzooError: with every mistake found.
    """
    there = {item.component for item in corpus.sets.values()}
    problems = [
        f'data.mixture: {corpus.path} has no component "{name}". {nearest(name, filter(None, there))}'
        for name in mixture
        if name not in there
    ]
    unnamed = dict.fromkeys(f'"{item.component}"' for item in items if item.component not in mixture)
    if unnamed:
        problems.append(
            f"data.mixture: does not say how often to draw {', '.join(unnamed)}; give a weight above 0, or leave it "
            "out by data.exclude."
        )
    if problems:
        raise WmzooError(*problems)


def set_weights(items: Sequence[TrajectorySet], own: Sequence[float], mixture: Mapping[str, float]) -> list[float]:
    """How often each set is drawn, relative to the others.

    Args:
        items: the sets.
        own: weight of each set: among all, or, in a mixture, among those of its environment.
        mixture: weight by component; the environments of a component share it equally, those apart whose sets all
            weigh 0. Empty if the sets are drawn by their own weights.

    Returns:
        One weight a set; they need not sum to 1.

    Raises:
        WmzooError: nothing of a component, or nothing at all, is left to draw.
    """
    totals: defaultdict[tuple[str, str], float] = defaultdict(float)
    for item, weight in zip(items, own, strict=True):
        totals[item.component, item.environment] += weight
    environments = Counter(component for (component, _), total in totals.items() if total > 0)
    missing = {item.component for item in items} - set(environments) if mixture else set()
    if missing or not environments:
        what = f"component {', '.join(sorted(missing))}" if missing else "the chosen sets"
        raise WmzooError(f"data.weights: 0 for every set of {what}; leave sets out by data.exclude instead.")
    if not mixture:
        return list(own)
    return [
        mixture[item.component] / environments[item.component] * weight / totals[item.component, item.environment]
        if weight
        else 0.0
        for item, weight in zip(items, own, strict=True)
    ]
