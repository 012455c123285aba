"""Predict each next row from the true rows before it: the states and the reward, never the actions.

Paper: Yin et al. 2025, TrajWorld (arXiv 2502.01366), equation 6, as the masked mean that its released code takes
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wmzoo.backbone import bootstrap_weights
from wmzoo.model import Loss, WorldModel
from wmzoo.recipe import setting
from wmzoo.trajectories import REWARD, STATE, Span, Window


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of next-step prediction."""

    first_row: bool = setting(False, "train the first row's cells too, if its variates are decoded one by one")
    members: str = setting("mean", "the loss of an ensemble is its members' mean or sum", choices=("mean", "sum"))


OFFICIAL = {"first_row": True, "members": "sum"}


class NextStep(nn.Module):
    """Teacher-forced one-step prediction."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config

    def forward(self, model: WorldModel, window: Window, rows: int | None = None) -> Loss:
        """The loss of a batch of windows.

        The mean over a window's predicted columns, then over all predicted rows, then over members; the named terms
        are summed over their own columns instead.

        Args:
            model: to train.
            window: ``[B, T, M]``; row ``t`` predicts row ``t + 1`` where row ``t`` is valid.
            rows: predicted rows to divide by, if this is a part of a larger batch; counted here if None.
        """
        weight, columns = self.weights(model, window), window.columns.take(slice(window.columns.width))
        cells, wanted = self._cells(model, window), window.columns.predicted  # [E, B, R, J], [B, J]
        share = 1.0 if rows is None else weight.sum() / rows
        weights = self._bootstrap(model, window, cells) * weight / (rows or weight.sum())  # [E, B, R]
        cells = torch.where((weight > 0)[..., None] & wanted[:, None], cells, 0.0)
        terms = {
            name: (weights * (cells * (columns.role == role)[:, None]).sum(-1)).sum((1, 2)).mean().detach()
            for name, role in (("state", STATE), ("reward", REWARD))
        }
        windows = (weights * (cells.sum(-1) / wanted.sum(1)[:, None])).sum(2)  # [E, B]
        members = windows.sum(1)
        total = members.mean() if self.config.members == "mean" else members.sum()
        penalty = model.head.penalty(columns) + model.backbone.penalty()
        return Loss(
            total=total + penalty * share,
            terms=terms,
            windows=windows.mean(0).detach(),
            members=members.detach(),
        )

    def weights(self, model: WorldModel, window: Window) -> Tensor:
        """``[B, R]`` 1 for each predicted row, 0 for padding: rows 1 on, or, with the first row, all."""
        inputs = window.valid[:, :-1].float()  # a row is predicted where the row before it is real
        return torch.cat([window.valid[:, :1].float(), inputs], 1) if self.starts_early(model) else inputs

    def starts_early(self, model: WorldModel) -> bool:
        """Whether the first row's cells are trained."""
        return self.config.first_row and model.autoregressive

    def _cells(self, model: WorldModel, window: Window) -> Tensor:
        """The loss ``[E, B, R, J]`` of the cells of all rows; where nothing is predicted, any number."""
        packed = model.packed(window).packed
        if packed is None:
            cells = self._losses(model, window, ())
        else:
            cells = packed.spread(self._losses(model, packed.window, packed.spans), window.columns.width)
        if self.starts_early(model):
            first = torch.zeros_like(cells[0, 0], dtype=torch.bool)
            first[0, 0] = True  # nothing comes before it that could predict it; it counts all the same
            cells = cells.masked_fill(first, 0.0)
        return cells

    def _losses(self, model: WorldModel, window: Window, spans: tuple[Span, ...]) -> Tensor:
        """The same of a window as it is, which may be a packed one."""
        count = window.columns.width
        columns, values = window.columns.take(slice(count)), window.values[:, :, :count]
        if self.starts_early(model):
            raw = model.parameters_of(window, spans, own=True)[..., :count, :]
            return model.head.loss(raw, torch.cat([values[:, :1], values[:, :-1]], 1), values, columns)
        raw = model.following(window, spans)[..., :count, :]
        return model.head.loss(raw, values[:, :-1], values[:, 1:], columns)

    def _bootstrap(self, model: WorldModel, window: Window, cells: Tensor) -> Tensor | float:
        """``[E, B, R]`` how often each member's resampling holds each row; 1 where nothing is resampled."""
        members, _, count, _ = cells.shape
        if not (model.training and members > 1 and model.recipe.model.backbone.config.bootstrap) or window.row is None:
            return 1.0
        # A transition is named by the row it starts from; that of a window's first row lies one row further back.
        rows = window.row[:, None] - torch.arange(count, 0, -1, device=window.row.device)
        source = torch.zeros_like(rows) if window.source is None else window.source[:, None] << 40
        return bootstrap_weights(rows + source, members, model.recipe.seed)
