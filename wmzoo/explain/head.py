"""The geometry of a categorical head: do neighbouring bins have neighbouring weights?

A cross-entropy over bins knows nothing of their order; a head whose weights lie on a curve in the order of the bins has
learned it (Yin et al. 2025, section 5.5 and figure 8b).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

if TYPE_CHECKING:
    from wmzoo.explain import Shown
    from wmzoo.model import WorldModel

SHUFFLES = 1000


def measure(shown: Shown, seed: int) -> dict[str, Any]:
    """The t-SNE of the head's weights and how well it keeps the bins in order, or why there is none.

    Returns:
        ``points`` ``[bins, 2]``, ``position`` along their curve, ``rank_correlation`` of that with the bin (its size),
        what 95 % of shuffled bins stay below (``chance``), the same correlation along the curve of the weights
        themselves, by their angles, which t-SNE may tear (``rank_correlation_weights``), and the share of bins whose
        nearest other weights are those of a neighbouring bin (``neighbours``).
    """
    weights = weights_of(shown.model)
    if weights is None:
        name = shown.model.recipe.model
        return {"none": f"{name.backbone.name} with a {name.head.name} head has no weights for each bin to draw."}
    from scipy.spatial.distance import cdist

    points = embed(weights, seed)
    position = along(cdist(points, points))
    rng = np.random.default_rng(seed)
    chance = [_correlation(rng.permutation(len(points)), position) for _ in range(SHUFFLES)]
    return {
        "points": points.tolist(),
        "position": position.tolist(),
        "rank_correlation": _correlation(np.arange(len(points)), position),
        "rank_correlation_weights": _correlation(np.arange(len(points)), along(cdist(weights, weights, "cosine"))),
        "chance": float(np.quantile(chance, 0.95)),
        "neighbours": neighbours(weights),
    }


def weights_of(model: WorldModel) -> np.ndarray | None:
    """``[bins, D]`` weights that all variates share; None if there are none."""
    layer = getattr(model.backbone.first, "head", None)
    bins = getattr(model.head.config, "bins", None)
    if not isinstance(layer, nn.Linear) or layer.out_features != bins:
        return None
    return layer.weight.detach().cpu().numpy().astype(np.float64)


def embed(weights: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton 2008) of ``[bins, D]`` to ``[bins, 2]``."""
    from sklearn.manifold import TSNE  # slow to import

    perplexity = min(30.0, (len(weights) - 1) / 3)
    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(weights), np.float64)


def along(distances: np.ndarray) -> np.ndarray:
    """The position ``[N]`` of points along the curve that they lie on, from 0, by their distances ``[N, N]``.

    The curve is the longest path of their minimum spanning tree, and the position of a point beside it is that of the
    place where its branch leaves it. Nothing is known of the order that the points should have.
    """
    from scipy.sparse.csgraph import minimum_spanning_tree, shortest_path

    # Points on top of each other would count as not joined.
    far = shortest_path(minimum_spanning_tree(np.maximum(distances, 1e-12)), directed=False)
    start, end = np.unravel_index(far.argmax(), far.shape)
    return np.asarray((far[start] + far[start, end] - far[end]) / 2)


def neighbours(weights: np.ndarray) -> float:
    """The share of bins whose nearest other weights, by their angle, are those of a bin beside it."""
    unit = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -np.inf)
    return float((np.abs(alike.argmax(1) - np.arange(len(weights))) == 1).mean())


def _correlation(bins: np.ndarray, position: np.ndarray) -> float:
    """The size of Spearman's rank correlation; the curve has no direction."""
    from scipy.stats import spearmanr

    return float(abs(spearmanr(bins, position).statistic))


def describe(found: Mapping[str, Any]) -> str:
    """The numbers in a sentence."""
    return (
        f"head: rank correlation of bins with their place along the curve of the weights "
        f"{found['rank_correlation_weights']:.3f}, along that of the t-SNE, which may be torn, "
        f"{found['rank_correlation']:.3f} (shuffled: below {found['chance']:.2f} in 95 % of cases); "
        f"{found['neighbours']:.0%} of bins are nearest to a neighbour."
    )
