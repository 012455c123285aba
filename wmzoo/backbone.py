"""What every backbone is: tokens in, head parameters of the next row out, with a member axis for ensembles."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor, nn

from wmzoo.memory import Past
from wmzoo.recipe import setting
from wmzoo.trajectories import PADDING, Span

if TYPE_CHECKING:
    from wmzoo.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """What every backbone can be told: how many of it to train, and which to trust."""

    members: int = setting(1, "independent copies, trained together", symbol="E", low=1)
    elites: int = setting(1, "members with the least validation loss, whose even mixture predicts", low=1)
    bootstrap: bool = setting(True, "each member sees its own resampling of the training rows, if there are several")

    def problems(self, recipe: Recipe) -> Iterator[tuple[str, str]]:
        """Settings that can't go together, as (name, sentence)."""
        if self.elites > self.members:
            yield "elites", f"{self.elites} elites can't be chosen from {self.members} members; lower it."


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the real tokens are.

    Attributes:
        role: ``[B, M]`` int64.
        place: ``[B, M]`` int64, which column of its environment each is.
        valid: ``[B, T]`` bool, false for rows padded at the left.
        dense: true when nothing is padded.
        kernel: attention kernel, one of ``wmzoo.attention.KERNELS``.
        spans: empty, unless the batch is packed: each of its windows is then one column, ``M`` is 1, and so many
            of them one after another belong together (:class:`wmzoo.trajectories.Packed`).
    """

    role: Tensor
    place: Tensor
    valid: Tensor
    dense: bool
    kernel: str
    spans: tuple[Span, ...] = ()

    @property
    def variate_mask(self) -> Tensor:
        """``[B, M]`` bool, true for real variates."""
        return self.role != PADDING

    def positions(self, count_padding: bool = False) -> Tensor:
        """``[B, T]`` place of each row.

        Args:
            count_padding: count from the first row of the window, as the released TrajWorld code does, and not from
                the first real one, so that padding changes nothing.
        """
        rows = torch.ones_like(self.valid) if count_padding else self.valid
        return (rows.cumsum(1) - 1).clamp_min(0)


class Backbone(nn.Module):
    """Base of all backbones.

    A subclass takes ``(config, features, outputs)``: its config, the token features ``K`` and the head parameters
    ``P`` of each predicted variate.

    Attributes:
        autoregressive: the variates of the next row are decoded one after another (it has ``start``, ``extend`` and
            ``cells``).
        cached: it can read a window row by row (it has ``memory`` and ``advance``).
        looks_back: most rows that a prediction depends on, the last ones; None if it depends on all.
        batched: the module holds all members itself and puts ``E`` first; otherwise copies are made of it.
        packs: which padding is wasted work for it, so that windows are packed in training: that of ``columns``, of all
            ``cells``, or none.
        multiple: windows are padded to a multiple of so many columns.
        columns: most columns that it takes.
        predicted: most columns that it predicts.
    """

    autoregressive = False
    cached = False
    looks_back: int | None = None
    batched = False
    packs = ""
    multiple = 1
    columns: int
    predicted: int

    def forward(self, tokens: Tensor, layout: Layout) -> Tensor:
        """Head parameters of the next row.

        Args:
            tokens: ``[B, T, M, K]``.
            layout: where the real tokens are.

        Returns:
            ``[B, T, M, P]`` (``[E, B, T, M, P]`` if batched); row ``t`` holds the parameters of row ``t + 1``, from
            rows up to ``t`` and, if autoregressive, the variates before it in row ``t + 1`` itself. Columns that
            are not states or the reward are meaningless.
        """
        raise TypeError(f"{type(self).__name__} does not define forward.")

    def packed(self, tokens: Tensor, layout: Layout) -> Tensor:
        """:meth:`forward` of a packed batch, for backbones that pack; here, windows of one width after another.

        Args:
            tokens: ``[N, T, 1, K]``, a window for each column.
            layout: of them, with spans.

        Returns:
            ``[N, T, 1, P]``; where ``forward`` is not asked for the last row, it is meaningless.
        """
        found, start = [], 0
        for width, group in itertools.groupby(span.width for span in layout.spans):
            own = slice(start, start := start + width * len(list(group)))
            role, place = (rearrange(x[own], "(b m) 1 -> b m", m=width) for x in (layout.role, layout.place))
            part = Layout(role, place, layout.valid[own][::width], layout.dense, layout.kernel)
            out = self(rearrange(tokens[own], "(b m) t 1 k -> b t m k", m=width), part)
            found.append(rearrange(out, "b t m p -> (b m) t 1 p"))
        return torch.cat(found)

    def memory(self, rows: int, columns: int) -> Past:
        """An empty memory of fixed size, for windows of at most so many rows and columns."""
        raise TypeError(f"{type(self).__name__} does not define memory.")

    def advance(self, tokens: Tensor, layout: Layout, past: Past) -> tuple[Tensor, Past]:
        """The head parameters of the last rows alone, from what was kept of the rows before them.

        Args:
            tokens: ``[B, t, M, K]`` of the last ``t`` rows.
            layout: of all ``T`` rows.
            past: of the first ``T - t`` rows.

        Returns:
            ``[B, t, M, P]``, and the past of all rows.
        """
        raise TypeError(f"{type(self).__name__} does not define advance.")

    def keep(self, tokens: Tensor, layout: Layout, past: Past) -> Past:
        """The past of all rows, where nobody asks for parameters; as :meth:`advance`, perhaps for less work."""
        return self.advance(tokens, layout, past)[1]

    def penalty(self) -> Tensor:
        """A regulariser that the loss takes in: none."""
        return torch.zeros(())

    def fits(self, columns: int, predicted: int) -> str:
        """Why an environment is too wide for this backbone; empty if it is not.

        Args:
            columns: its variates, ``M``.
            predicted: its predicted variates, ``J``.
        """
        if columns > self.columns:
            return f"{columns} variates, but the backbone has room for {self.columns}; raise max_variates."
        return ""


class Members(nn.Module):
    """Independent copies of a backbone behind one call.

    Args:
        build: the backbone's class.
        config: its settings, with ``members``.
        features: ``K``.
        outputs: ``P``.
    """

    def __init__(self, build: Any, config: BackboneConfig, features: int, outputs: int):
        super().__init__()
        count = 1 if build.batched else config.members
        self.copies = nn.ModuleList([build(config, features, outputs) for _ in range(count)])
        self.batched = bool(build.batched)

    @property
    def first(self) -> Backbone:
        """The first copy, to ask what all have in common."""
        return self.copies[0]  # type: ignore[return-value]

    def forward(self, tokens: Tensor, layout: Layout, chosen: list[int]) -> Tensor:
        """Head parameters of the chosen members, ``[E, B, T, M, P]``."""
        if self.batched:
            return self.copies[0](tokens, layout)[chosen]
        if layout.spans:
            return torch.stack([self.each(i).packed(tokens, layout) for i in chosen])
        return torch.stack([self.copies[i](tokens, layout) for i in chosen])

    def each(self, member: int) -> Any:
        """One member's own backbone."""
        return self.copies[member]

    def penalty(self) -> Tensor:
        """The regularisers of all copies."""
        return torch.stack([copy.penalty() for copy in self.copies]).sum()  # type: ignore[operator]


def bootstrap_weights(rows: Tensor, members: int, seed: int) -> Tensor:
    """How often each member's own resampling of the training rows holds each row.

    A resampling with replacement holds a row Poisson(1) times (Oza and Russell 2001, online bagging); the count is
    a hash of the row, the member and the seed, so that it is the same whenever the row is met.

    Args:
        rows: ``[B, T]`` int64 names of rows.
        members: ``E``.
        seed: of the resampling.

    Returns:
        ``[E, B, T]`` float32 counts.
    """
    member = torch.arange(1, members + 1, device=rows.device)[:, None, None]
    salt = (seed + 1) * 0x5851F42D4C957F2D & 0x7FFFFFFFFFFFFFFF
    mixed = rows[None] * 0x2545F4914F6CDD1D + member * 0x1F123BB5DEADBEEF + salt  # int64 wraps, as a hash may
    for factor in (0x3F58476D1CE4E5B9, 0x14D049BB133111EB):
        mixed = (mixed ^ ((mixed >> 30) & 0x3FFFFFFFF)) * factor
    uniform = ((mixed >> 31) & 0x7FFFFFFF).double() / 2**31
    return torch.searchsorted(_poisson_steps(rows.device), uniform).float()


@functools.cache
def _poisson_steps(device: torch.device) -> Tensor:
    """``[12]`` the distribution function of Poisson(1), which no training step need compute again."""
    return torch.distributions.Poisson(1.0).log_prob(torch.arange(12.0)).exp().double().cumsum(0).to(device)
