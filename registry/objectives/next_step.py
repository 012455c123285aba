"""Predict each next row from the true rows before it: the states and the reward, never the actions.

Paper: Yin et al. 2025, TrajWorld (arXiv 2502.01366), equation 6, as the masked mean that its released code takes
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wmzoo.backbone import bootstrap_weights
from wmzoo.model import Loss, WorldModel
from wmzoo.trajectories import REWARD, STATE, Window


@dataclass(frozen=True, kw_only=True)
class Config:
    """Next-step prediction has no settings."""


class NextStep(nn.Module):
    """Teacher-forced one-step prediction."""

    def __init__(self, config: Config):
        super().__init__()

    def forward(self, model: WorldModel, window: Window, rows: int | None = None) -> Loss:
        """The loss of a batch of windows.

        The mean over a window's predicted columns, then over all predicted rows, then over members; the named terms
        are summed over their own columns instead.

        Args:
            model: to train.
            window: ``[B, T, M]``; row ``t`` predicts row ``t + 1`` where row ``t`` is valid.
            rows: predicted rows to divide by, if this is a part of a larger batch; counted here if None.
        """
        wanted = window.columns.predicted  # [B, J]
        columns = window.columns.take(slice(window.columns.width))
        values = window.values[:, :, : window.columns.width]
        raw = model.parameters_of(window)[..., :-1, : window.columns.width, :]
        cells = model.head.loss(raw, values[:, :-1], values[:, 1:], columns)  # [E, B, T-1, J]
        weight = window.valid[:, :-1].float() / (rows or window.valid[:, :-1].sum())
        weights = weight * self._bootstrap(model, window, len(cells))  # [E, B, T-1]
        cells = torch.where((window.valid[:, :-1, None] & wanted[:, None])[None], cells, 0.0)
        windows = (weights * (cells.sum(-1) / wanted.sum(1)[:, None])).sum(2)  # [E, B]
        terms = {
            name: (weights * (cells * (columns.role == role)[:, None]).sum(-1)).sum((1, 2)).mean().detach()
            for name, role in (("state", STATE), ("reward", REWARD))
        }
        penalty = model.head.penalty() * (1.0 if rows is None else window.valid[:, :-1].sum() / rows)
        return Loss(
            total=windows.sum(1).mean() + penalty,
            terms=terms,
            windows=windows.mean(0).detach(),
            members=windows.sum(1).detach(),
        )

    def _bootstrap(self, model: WorldModel, window: Window, members: int) -> Tensor | float:
        """``[E, B, T-1]`` how often each member's resampling holds each row; 1 where nothing is resampled."""
        if not (model.training and members > 1 and model.recipe.model.backbone.config.bootstrap) or window.row is None:
            return 1.0
        length = window.valid.shape[1]
        rows = window.row[:, None] - torch.arange(length - 1, 0, -1, device=window.row.device)
        source = torch.zeros_like(rows) if window.source is None else window.source[:, None] << 40
        return bootstrap_weights(rows + source, members, model.recipe.seed)
