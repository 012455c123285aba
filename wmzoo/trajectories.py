"""The words of the zoo: variates, episodes and windows, and the letters used for their shapes.

``B`` windows in a batch, ``T`` rows (steps) in a window, ``M`` variates (state dims + 1 reward + action dims),
``J`` predicted variates (state dims + 1 reward, always the first columns), ``K`` token features, ``D`` width,
``E`` ensemble members (1 when there is no ensemble), ``S`` samples, ``L`` transitions in an episode,
``m`` state dims, ``n`` action dims, ``P`` head parameters per predicted variate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

STATE, REWARD, ACTION, PADDING = 0, 1, 2, 3
ROLE_NAMES = ("state", "reward", "action", "padding")
TERMINATED = "terminated"  # a last state column that is 1 where an episode terminates, if a model is to learn that


def roles_of(states: int, actions: int) -> np.ndarray:
    """The roles ``[M]`` int64 of that many states, then the reward, then that many actions."""
    return np.asarray([STATE] * states + [REWARD] + [ACTION] * actions, np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Variates:
    """The columns of one environment: states, then the reward, then actions.

    Attributes:
        names: one name a column, ``[M]``.
        roles: ``STATE``, ``REWARD`` or ``ACTION`` a column, ``[M]`` int64.
        low, high, mean, std: statistics of the *training* episodes in physical units, each ``[M]`` float32.
        dt: the control interval in seconds.
    """

    names: tuple[str, ...]
    roles: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    dt: float

    def __post_init__(self) -> None:
        count = len(self.names)
        for name in ("roles", "low", "high", "mean", "std"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}; {count} names need ({count},).")
        if not np.array_equal(self.roles, roles_of(self.states, self.actions)):
            raise ValueError("The columns must be states, then one reward, then actions.")

    @property
    def states(self) -> int:
        """Number of state dims, ``m``."""
        return int((self.roles == STATE).sum())

    @property
    def actions(self) -> int:
        """Number of action dims, ``n``."""
        return int((self.roles == ACTION).sum())

    @property
    def predicted(self) -> int:
        """Number of predicted columns, ``J = m + 1``: the states and the reward."""
        return self.states + 1

    @property
    def terminated(self) -> bool:
        """Whether the last state column says that an episode terminates (``data.terminated`` of a recipe)."""
        return self.names[: self.states][-1:] == (TERMINATED,)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, for a checkpoint."""
        fields = {name: getattr(self, name).tolist() for name in ("roles", "low", "high", "mean", "std")}
        return {"names": list(self.names), "dt": self.dt, **fields}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Variates:
        """The inverse of :meth:`to_json`."""
        arrays = {name: np.asarray(data[name], np.float32) for name in ("low", "high", "mean", "std")}
        roles = np.asarray(data["roles"], np.int64)
        return cls(names=tuple(data["names"]), roles=roles, dt=float(data["dt"]), **arrays)


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One episode in Gymnasium's convention: ``rewards[t]`` and ``observations[t+1]`` follow ``actions[t]``.

    Attributes:
        observations: ``[L+1, m]``; actions: ``[L, n]``; rewards: ``[L]``, all in physical units.
        terminated, truncated: how it ended.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool = False
    truncated: bool = False

    def __post_init__(self) -> None:
        length = len(self.actions)
        if length < 1:
            raise ValueError("An episode needs at least one transition (two rows).")
        if len(self.observations) != length + 1 or self.rewards.shape != (length,):
            raise ValueError(
                f"An episode of {length} actions needs {length + 1} observations and {length} rewards; "
                f"got {len(self.observations)} and {self.rewards.shape}."
            )


def episode_rows(episode: Episode) -> np.ndarray:
    """Align an episode into rows ``(s_t, r_t, a_t)``; the one place where states, rewards and actions are paired.

    ``r_t`` is the reward received on *arriving* in ``s_t``, so ``r_0 = 0``; the last row's action is 0.

    Returns:
        ``[L+1, M]`` float32, columns states, reward, actions.
    """
    length, actions = episode.actions.shape
    reward = np.concatenate([[0.0], episode.rewards])[:, None]
    action = np.concatenate([episode.actions, np.zeros((1, actions))])
    return np.concatenate([episode.observations, reward, action], axis=1).astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """The :class:`Variates` of every window in a batch as tensors, padded to a common ``M``.

    Attributes:
        role: ``[B, M]`` int64; padded columns have role ``PADDING``.
        place: ``[B, M]`` int64, which column of its environment each is, from 0 on.
        low, high, mean, std: ``[B, M]`` float32; padded columns have 0, 1, 0, 1.
        width: ``J``, the most states and reward of any window, a plain number so that nobody waits for a device.
    """

    role: Tensor
    place: Tensor
    low: Tensor
    high: Tensor
    mean: Tensor
    std: Tensor
    width: int

    @property
    def mask(self) -> Tensor:
        """``[B, M]`` bool, true for real variates."""
        return self.role != PADDING

    @property
    def scale(self) -> Tensor:
        """``[B, M]`` standard deviations, with 1 for variates that never change in training."""
        return torch.where(self.std > 1e-6, self.std, 1.0)

    @property
    def predicted(self) -> Tensor:
        """``[B, J]`` bool, true for the states and the reward of each window."""
        return self.role[:, : self.width] <= REWARD

    def take(self, chosen: slice) -> Columns:
        """Some of the columns, of all windows."""
        return self.map(lambda x: x[:, chosen])

    def every_row(self) -> Columns:
        """The same as ``[B, 1, M]``, to go with ``[B, T, M]`` values."""
        return self.map(lambda x: x[:, None])

    def map(self, function: Callable[[Tensor], Tensor]) -> Columns:
        """The same with every tensor changed alike: moved, indexed or reshaped."""
        names = ("role", "place", "low", "high", "mean", "std")
        return Columns(width=self.width, **{name: function(getattr(self, name)) for name in names})


def columns_of(variates: Sequence[Variates]) -> Columns:
    """Stack the variates of ``B`` windows, padding the narrower ones on the right.

    Args:
        variates: one entry a window; repeated entries are cheap.
    """
    width = max(len(v.names) for v in variates)
    unique = {id(v): v for v in variates}
    order = {key: i for i, key in enumerate(unique)}
    index = [order[id(v)] for v in variates]
    fields = {"role": ("roles", PADDING), "low": ("low", 0.0), "high": ("high", 1.0), "mean": ("mean", 0.0)}
    fields["std"] = ("std", 1.0)
    stacked = {}
    for name, (source, fill) in fields.items():
        rows = np.full((len(unique), width), fill, getattr(variates[0], source).dtype)
        for row, v in zip(rows, unique.values(), strict=True):
            row[: len(v.names)] = getattr(v, source)
        stacked[name] = torch.from_numpy(rows[index])  # NumPy is faster than torch on so little
    stacked["place"] = torch.arange(width).expand(len(index), -1)
    return Columns(width=max(v.predicted for v in unique.values()), **stacked)


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """A batch of windows of rows ``(s_t, r_t, a_t)``.

    Attributes:
        values: ``[B, T, M]`` float32, physical units; 0 where padded.
        valid: ``[B, T]`` bool, false for the padded rows at the left.
        columns: roles and training statistics of the columns, ``[B, M]`` each.
        row: ``[B]`` int64, the corpus row of each window's last row (for provenance and bootstrapping), or None.
        source: ``[B]`` int64, which data set each window came from, or None.
        dense: true when nothing is padded, so that kernels may skip their masks.
        packed: the same without padding, if somebody has packed it (:func:`pack`).
    """

    values: Tensor
    valid: Tensor
    columns: Columns
    row: Tensor | None = None
    source: Tensor | None = None
    dense: bool = False
    packed: Packed | None = None

    @property
    def variate_mask(self) -> Tensor:
        """``[B, M]`` bool, true for real variates."""
        return self.columns.mask

    def __len__(self) -> int:
        return self.values.shape[0]

    def to(self, device: torch.device | str) -> Window:
        """The same on another device."""
        packed = None if self.packed is None else self.packed.to(device)
        return dataclasses.replace(self._map(lambda x: moved(x, device)), packed=packed)

    def index(self, rows: Any) -> Window:
        """The chosen windows of the batch (any index that a tensor takes for its first axis)."""
        return self._map(lambda x: x[rows])

    def until(self, rows: int) -> Window:
        """The first ``rows`` rows of every window (negative counts from the end)."""
        return dataclasses.replace(self, values=self.values[:, :rows], valid=self.valid[:, :rows], packed=None)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Window:
        return Window(
            values=function(self.values),
            valid=function(self.valid),
            columns=self.columns.map(function),
            row=None if self.row is None else function(self.row),
            source=None if self.source is None else function(self.source),
            dense=self.dense,
        )


def moved(x: Tensor, device: torch.device | str) -> Tensor:
    """The same on another device; a copy to CUDA does not wait for what the device has to do first."""
    return x.to(device, non_blocking=torch.device(device).type == "cuda")


def pad_columns(window: Window, multiple: int) -> Window:
    """The window with padding at the right of its columns, up to the next multiple of a number."""
    lacking = -window.values.shape[2] % multiple
    if not lacking:
        return window
    old = window.columns
    fills = {"role": PADDING, "low": 0.0, "high": 1.0, "mean": 0.0, "std": 1.0}
    new = {name: torch.nn.functional.pad(getattr(old, name), (0, lacking), value=fill) for name, fill in fills.items()}
    new["place"] = torch.arange(old.place.shape[1] + lacking, device=old.place.device).expand_as(new["role"])
    values = torch.nn.functional.pad(window.values, (0, lacking))
    return dataclasses.replace(window, values=values, columns=Columns(width=old.width, **new), dense=False)


class Span(NamedTuple):
    """What a packed window takes up: the padded rows at its left, which stay, and its columns."""

    padded: int
    width: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Packed:
    """The real columns of a batch of windows one after another, so that narrow windows need no padding.

    Attributes:
        window: ``[N, T, 1]``, each column as a window of one variate; its ``columns.place`` tells which one.
        spans: of the ``B`` windows in the order in which their columns follow one another, narrow ones first. Plain
            numbers, so that nobody waits for a device.
        owner: ``[N]`` int64, which window of the batch each column belongs to.
    """

    window: Window
    spans: tuple[Span, ...]
    owner: Tensor

    def to(self, device: torch.device | str) -> Packed:
        """The same on another device."""
        return dataclasses.replace(self, window=self.window.to(device), owner=moved(self.owner, device))

    def spread(self, cells: Tensor, columns: int) -> Tensor:
        """Numbers ``[E, N, R, 1]`` of packed columns as ``[E, B, R, J]`` of the first columns; 0 where padded."""
        widest = max(self.spans[-1].width, columns)
        padded = cells.new_zeros(len(cells), len(self.spans), widest, cells.shape[2])
        padded[:, self.owner, self.window.columns.place[:, 0]] = cells[..., 0]
        return padded[:, :, :columns].transpose(2, 3)


def pack(window: Window) -> Packed:
    """Take the padding out of a batch's columns.

    Best done before the window is moved to a device: what is padded is looked up here.
    """
    widths = window.variate_mask.sum(1).cpu().numpy()
    padded = (~window.valid).sum(1).cpu().numpy()
    order = np.lexsort((padded, widths))
    spans = tuple(Span(int(padded[b]), int(widths[b])) for b in order)
    owner = torch.from_numpy(np.repeat(order, widths[order])).to(window.values.device)
    place = torch.from_numpy(np.concatenate([np.arange(span.width) for span in spans])).to(window.values.device)
    apart = Window(
        values=window.values[owner, :, place][:, :, None],
        valid=window.valid[owner],
        columns=dataclasses.replace(window.columns.map(lambda x: x[owner, place][:, None]), width=1),
        dense=not padded.any(),
    )
    return Packed(window=apart, spans=spans, owner=owner)


def window_of(
    values: Tensor | np.ndarray, variates: Variates | Sequence[Variates], valid: Tensor | None = None
) -> Window:
    """Make a window from rows in physical units.

    Args:
        values: ``[B, T, M]`` rows ``(s_t, r_t, a_t)``, physical units. The column ``terminated``, if the variates
            have it, may be left out where nothing has terminated.
        variates: of all windows, or one entry a window.
        valid: ``[B, T]`` bool; all true if left out.

    Raises:
        ValueError: the number of columns is not that of the variates.
    """
    values = torch.as_tensor(values, dtype=torch.float32)
    listed = [variates] * len(values) if isinstance(variates, Variates) else list(variates)
    columns = columns_of(listed)
    if values.ndim == 3 and values.shape[2] == columns.role.shape[1] - 1 and all(v.terminated for v in listed):
        place = columns.width - 2
        values = torch.cat([values[..., :place], torch.zeros_like(values[..., :1]), values[..., place:]], 2)
    if values.ndim != 3 or values.shape[2] != columns.role.shape[1]:
        raise ValueError(f"Expected [B, T, {columns.role.shape[1]}] values, got {tuple(values.shape)}.")
    valid = torch.ones(values.shape[:2], dtype=torch.bool) if valid is None else valid
    dense = bool(valid.all()) and bool(columns.mask.all())
    return Window(values=values, valid=valid, columns=columns, dense=dense)


def first_row(states: Tensor | np.ndarray, variates: Variates) -> Window:
    """The windows of trajectories that begin in the given states: one row each, reward 0, its action open.

    Args:
        states: ``[B, m]``, physical units; a learned ``terminated`` may be left out, see :func:`window_of`.
        variates: of the environment.

    Raises:
        ValueError: the number of states is not that of the variates.
    """
    states = torch.as_tensor(states, dtype=torch.float32)
    if states.ndim != 2 or variates.states - states.shape[1] not in (0, int(variates.terminated)):
        raise ValueError(f"Expected [B, {variates.states}] states, got {tuple(states.shape)}.")
    return window_of(torch.nn.functional.pad(states, (0, variates.actions + 1))[:, None], variates)
