"""Imagination: trajectories that a world model makes up, many at once, from a true history or from a first state.

**What is kept.** A model is trained on windows whose rows stand at places 0 to ``C - 1``, with ``C = model.context``
rows before the one that it predicts. A sequence backbone keeps what it computed of rows already read, and that depends
on where they stood, so the rows of a full window cannot move up by one. Instead two memories overlap: when the serving
one has ``C - C // 2`` rows, its heir begins and reads every further row too, at its own places from 0 on; when the
serving one is full, the heir takes over with the last ``C // 2`` rows. So no row is ever read a third time, no place
leaves the trained range, the buffers have a fixed size, and what is predicted is to rounding what the model says of
the same rows without any memory. Once the history is ``C`` rows long, a prediction sees between ``C // 2 + 1`` and
``C`` rows. Backbones without a memory are given the same rows, so that keeping is a matter of speed alone.

``compat: official`` follows the released code of Yin et al. (2025) instead: inputs clipped to the training range, and
a memory that is dropped every so many steps and filled afresh from the last rows (``wmzoo show compat``).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from wmzoo.binning import share_outside
from wmzoo.errors import WmzooError, nearest
from wmzoo.memory import Past
from wmzoo.predictions import Prediction
from wmzoo.trajectories import REWARD, Window

if TYPE_CHECKING:
    from wmzoo.model import WorldModel
    from wmzoo.terminations import Ending, Policy

ENSEMBLES = ("mixture", "trajectory", "step")
PRECISIONS = ("fp32", "bf16")
CROWDED = 0.75  # share of trajectories still going below which the others stop costing anything


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """Where imagined trajectories stand; opaque to everyone but this module.

    Attributes:
        window: ``[B, T, M]`` the rows that the next prediction is made from; the last row's action is still open.
        row: ``[B, J]`` the last row as it was predicted, before anything clipped it; None at the beginning.
        pasts: what each elite keeps of all rows but the last; empty where all rows are to be read again.
        heirs: what each elite keeps for the time after the window is full.
        left: steps that will still be taken at the most; None if nobody said.
        age: steps since all rows were last read again; counted by the official scheme alone.
        ensemble: how the elites share the work, see :func:`begin`.
        member: ``[B]`` the elite that each trajectory keeps; None unless it keeps one.
        precision: of the backbone's products.
    """

    window: Window
    row: Tensor | None = None
    pasts: list[Past] = dataclasses.field(default_factory=list)
    heirs: list[Past] = dataclasses.field(default_factory=list)
    left: int | None = None
    age: int = 0
    ensemble: str = "mixture"
    member: Tensor | None = None
    precision: str = "fp32"

    def take(self, rows: Tensor) -> State:
        """The chosen trajectories ``[S]``, each perhaps more than once."""
        batch = len(self.window)
        return dataclasses.replace(
            self,
            window=self.window.index(rows),
            row=None if self.row is None else self.row[rows],
            pasts=[past.take(rows, batch) for past in self.pasts],
            heirs=[past.take(rows, batch) for past in self.heirs],
            member=None if self.member is None else self.member[rows],
        )

    def overwrite(self, rows: Tensor, other: State) -> State:
        """The trajectories ``rows`` ``[R]`` replaced by those of another state that stands at the same place.

        Memories are written over in place: this state, and any before it, must not be gone on from.
        """
        batch, window, new = len(self.window), self.window, other.window
        values, valid = window.values.clone(), window.valid.clone()
        values[rows], valid[rows] = new.values, new.valid
        row, member = self.row, self.member
        if row is not None:
            row = row.index_copy(0, rows, new.values[:, -1, : row.shape[1]])
        if member is not None and other.member is not None:
            member = member.index_copy(0, rows, other.member)
        dense = window.dense and new.dense
        return dataclasses.replace(
            self,
            window=Window(values=values, valid=valid, columns=window.columns, dense=dense),
            row=row,
            pasts=[own.overwrite(rows, one, batch) for own, one in zip(self.pasts, other.pasts, strict=True)],
            heirs=[own.overwrite(rows, one, batch) for own, one in zip(self.heirs, other.heirs, strict=True)],
            member=member,
        )

    def clipped(self) -> State:
        """The same with the last row inside of the training range."""
        last = _clipped(last_rows(self.window, 1)).values
        values = torch.cat([self.window.values[:, :-1], last], 1)
        return dataclasses.replace(self, window=dataclasses.replace(self.window, values=values))


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """Imagined trajectories. After its end a trajectory repeats its last state, with rewards and actions of 0.

    Attributes:
        values: ``[S, H, J]`` next states and rewards, physical units.
        actions: ``[S, H, n]`` the actions that led to them, physical units.
        lengths: ``[S]`` steps taken, at least 1.
        terminated: ``[S]`` whether the last of them ended the episode.
        outside: share of the imagined states and rewards that the model put outside of the training range, in
            ``[0, 1]``; they were clipped to it if that was asked for.
    """

    values: Tensor
    actions: Tensor
    lengths: Tensor
    terminated: Tensor
    outside: float

    @property
    def states(self) -> Tensor:
        """``[S, H, m]`` the states arrived in."""
        return self.values[..., :-1]

    @property
    def rewards(self) -> Tensor:
        """``[S, H]`` the rewards received on arriving there."""
        return self.values[..., -1]

    @property
    def valid(self) -> Tensor:
        """``[S, H]`` bool, the steps that were taken."""
        return taken(self.lengths, self.values.shape[1])

    def returns(self, gamma: float = 1.0) -> Tensor:
        """Discounted sum of each trajectory's rewards, ``[S]``; the first reward counts in full.

        Args:
            gamma: discount a step, in ``[0, 1]``.

        Raises:
            WmzooError: ``gamma`` is not in that range.
        """
        if not 0 <= gamma <= 1:
            raise WmzooError(f"returns: gamma is {gamma}; give a discount from 0 to 1.")
        steps = torch.arange(self.rewards.shape[1], device=self.rewards.device)
        return (self.rewards.double() * gamma ** steps.double()).sum(1).to(self.rewards.dtype)


def overlap(context: int) -> int:
    """Rows that the heir has read when it takes over from a memory of ``context`` rows."""
    return context // 2


def taken(lengths: Tensor, horizon: int) -> Tensor:
    """``[S, H]`` bool, the first ``lengths`` ``[S]`` steps of each trajectory."""
    return torch.arange(horizon, device=lengths.device) < lengths[:, None]


def begin(
    model: WorldModel,
    window: Window,
    horizon: int | None,
    ensemble: str,
    precision: str,
    generator: torch.Generator | None,
) -> State:
    """See :meth:`wmzoo.model.WorldModel.initial`."""
    for name, given, known in (("ensemble", ensemble, ENSEMBLES), ("precision", precision, PRECISIONS)):
        if given not in known:
            raise WmzooError(f'{name}: "{given}" is not known. {nearest(given, known)}')
    if not window.values.shape[1]:
        raise WmzooError("window: it has no rows; give at least the row of a first state.")
    window = _padded(window, model.lookback) if model.official else last_rows(window, model.context)
    state = State(window=window, left=horizon, ensemble=ensemble, precision=precision)
    with _products(state):
        return assign(model, _opened(model, state), generator)


def assign(model: WorldModel, state: State, generator: torch.Generator | None) -> State:
    """The state with a member drawn anew for each trajectory that is to keep one."""
    return dataclasses.replace(state, member=_member(model, state, "trajectory", generator))


@torch.no_grad()
def restart(
    model: WorldModel, state: State, rows: Tensor, window: Window, generator: torch.Generator | None = None
) -> State:
    """Begin some of the trajectories anew after other histories, while the rest go on.

    All trajectories of a state stand at the same place in their windows, so of the new histories as many rows are read
    as the state's window has; shorter ones are padded at the left. Memories are written over in place: the state given,
    and any before it, must not be gone on from.

    Args:
        model: that imagines.
        state: where all trajectories stand.
        rows: ``[R]`` those to begin anew, int64.
        window: ``[R, T, M]`` their histories, as of :meth:`wmzoo.model.WorldModel.initial`.
        generator: draws the members that trajectories keep.
    """
    window = last_rows(window, model.lookback if model.official else model.context)
    window = _padded(window, state.window.values.shape[1])
    fresh = dataclasses.replace(state, window=window, row=None, pasts=[], heirs=[], member=None)
    with _products(state):
        fresh = assign(model, _opened(model, fresh), generator)
    return state.overwrite(rows, fresh)


def step(
    model: WorldModel, state: State, action: Tensor, sample: bool, generator: torch.Generator | None
) -> tuple[State, Prediction]:
    """See :meth:`wmzoo.model.WorldModel.step`."""
    with _products(state):
        return _stepped(model, state, _with_action(state.window, action), sample, generator)


def _products(state: State) -> torch.autocast:
    """Matrix products in the state's precision; sums, softmaxes and predictions stay in fp32."""
    return torch.autocast(state.window.values.device.type, torch.bfloat16, enabled=state.precision == "bf16")


def _stepped(
    model: WorldModel, state: State, window: Window, sample: bool, generator: torch.Generator | None
) -> tuple[State, Prediction]:
    """The state after the window's last row, its action given, and what was predicted."""
    member = state.member if state.member is not None else _member(model, state, "step", generator)
    found = model.next_row(
        _clipped(window) if model.official else window,
        sample=sample,
        pasts=state.pasts,
        member=member,
        generator=generator,
    )
    if not found.row.isfinite().all():
        raise WmzooError(
            "imagined states or rewards have grown beyond what numbers hold; imagine fewer steps, or pass clip=True."
        )
    left = None if state.left is None else max(state.left - 1, 0)
    state = dataclasses.replace(state, row=found.row, pasts=found.pasts, left=left)
    after = _official(model, state, window) if model.official else _handed_over(model, state, window)
    return after, found.prediction


def _handed_over(model: WorldModel, state: State, window: Window) -> State:
    """The state with its new row behind the window, and the heirs in charge if that has become too long."""
    assert state.row is not None
    heirs = _heirs(model, window, state.heirs, state.left) if state.pasts else []
    longer = _append(window, state.row)
    if longer.values.shape[1] <= model.context:
        return dataclasses.replace(state, window=longer, heirs=heirs)
    kept = last_rows(longer, overlap(model.context) + 1)
    kept = dataclasses.replace(kept, dense=bool(kept.valid.all() and kept.columns.mask.all()))
    return dataclasses.replace(state, window=kept, pasts=heirs, heirs=[])


def _heirs(model: WorldModel, window: Window, heirs: list[Past], left: int | None) -> list[Past]:
    """What will be kept when the window is full, with its last row read too; nothing before that is needed."""
    rows, start = window.values.shape[1], model.context - overlap(model.context)
    if rows <= start or (left is not None and rows + left <= model.context):
        return []
    own = last_rows(window, rows - start)
    return model.read(own, heirs, 1) if heirs else model.read(own, model.memories(own), rows - start)


def _official(model: WorldModel, state: State, window: Window) -> State:
    """The state after a step as the released code takes it (Yin et al. 2025): a memory that is dropped.

    Its TDM reads clipped rows too, but keeps them as they were predicted.
    """
    assert state.row is not None
    window = _append(window, state.row)
    window = window if model.autoregressive else _clipped(window)
    if state.age + 1 < model.refresh:
        return dataclasses.replace(state, window=window, age=state.age + 1)
    state = dataclasses.replace(state, window=_padded(window, model.lookback), pasts=[], age=0)
    return state if state.left == 0 else _opened(model, state)


def _opened(model: WorldModel, state: State) -> State:
    """The state with all rows but the last one read."""
    window = _clipped(state.window) if model.official else state.window
    pasts, before = model.memories(window), window.until(-1)
    if not pasts or not before.values.shape[1]:
        return dataclasses.replace(state, pasts=pasts)
    pasts = model.read(before, pasts, before.values.shape[1])
    heirs = [] if model.official else _heirs(model, before, [], state.left)
    return dataclasses.replace(state, pasts=pasts, heirs=heirs)


def _member(model: WorldModel, state: State, when: str, generator: torch.Generator | None) -> Tensor | None:
    """``[B]`` an elite for each trajectory, if this is when one is drawn."""
    if state.ensemble != when:
        return None
    device = state.window.values.device
    return torch.randint(len(model.elites), (len(state.window),), generator=generator, device=device)


def rollout(
    model: WorldModel,
    window: Window,
    actions: Tensor | Policy,
    horizon: int,
    *,
    trajectories: int | None,
    sample: bool,
    ensemble: str,
    precision: str,
    clip: bool,
    ending: Ending | None,
    generator: torch.Generator | None,
) -> Rollout:
    """See :meth:`wmzoo.model.WorldModel.rollout`."""
    count = _count(window, actions, horizon, trajectories)
    state = begin(model, window, horizon, ensemble, precision, generator)
    if count != len(window):  # each history is read once
        own = torch.arange(len(window), device=window.values.device).repeat_interleave(count // len(window))
        state = assign(model, state.take(own), generator)
    log = _Log(state, horizon)
    for h in range(horizon):
        action = actions[:, h] if isinstance(actions, Tensor) else _acted(actions, log.states, state.window)
        state, _ = step(model, state, action[log.going], sample, generator)
        predicted, state = state.row, state.clipped() if clip else state
        assert predicted is not None
        state = log.add(h, action, predicted, counted(model, state), state, ending)
        if not len(log.going):
            break
    return log.finished()


def _acted(policy: Policy, states: Tensor, window: Window) -> Tensor:
    """The policy's actions ``[S, n]``.

    Raises:
        WmzooError: they are none.
    """
    action, wanted = policy(states), [len(states), window.values.shape[2] - window.columns.width]
    if not isinstance(action, Tensor) or list(action.shape) != wanted:
        got = list(action.shape) if hasattr(action, "shape") else type(action).__name__
        kind = "" if isinstance(action, Tensor) else f" {type(action).__name__}"
        raise WmzooError(
            f"policy: from states {list(states.shape)} it made{kind} {got}; it must make a tensor of actions {wanted}."
        )
    if not action.isfinite().all():
        raise WmzooError("policy: its actions are not finite; look at its weights, and at the states it was shown.")
    return action


def ended(ending: Ending, states: Tensor) -> Tensor:
    """``[b]`` bool, which episodes end in these states ``[b, m]``.

    Raises:
        WmzooError: the rule says something else.
    """
    over = ending(states)
    if not isinstance(over, Tensor) or over.dtype != torch.bool or over.shape != states.shape[:1]:
        got = f"{list(over.shape)} {over.dtype}" if isinstance(over, Tensor) else type(over).__name__
        raise WmzooError(f"ending: of {len(states)} states it made {got}; it must make one bool for each state.")
    return over


def _count(window: Window, actions: Tensor | Policy, horizon: int, trajectories: int | None) -> int:
    """How many trajectories are asked for."""
    if horizon < 1:
        raise WmzooError(f"rollout: horizon is {horizon}; imagine at least 1 step.")
    given = len(actions) if isinstance(actions, Tensor) else trajectories or len(window)
    if isinstance(actions, Tensor) and (actions.ndim != 3 or actions.shape[1] < horizon):
        raise WmzooError(f"rollout: actions are {list(actions.shape)}; give [S, H, n] with H at least {horizon}.")
    if given != (trajectories or given) or given % len(window):
        asked = f"{given} action sequences" if isinstance(actions, Tensor) else f"{given} trajectories"
        told = "" if trajectories in (None, given) else f" and trajectories={trajectories}"
        raise WmzooError(f"rollout: {asked}{told} for {len(window)} histories; their number must divide it.")
    return given


class _Log:
    """What a rollout has imagined so far, and which trajectories go on.

    Attributes:
        states: ``[S, m]`` the last state of every trajectory.
        going: ``[b]`` the trajectory that each row of the state's batch belongs to.
    """

    def __init__(self, state: State, horizon: int):
        values, columns = state.window.values, state.window.columns
        count, width = len(values), columns.width
        self.columns = columns.take(slice(width))
        self.states = values[:, -1, : width - 1].clone()
        self.predicted, self.values = (values.new_zeros(count, horizon, width) for _ in range(2))
        self.actions = values.new_zeros(count, horizon, values.shape[2] - width)
        self.lengths = torch.full((count,), horizon, device=values.device)
        self.terminated = torch.zeros(count, dtype=torch.bool, device=values.device)
        self.going = torch.arange(count, device=values.device)

    def add(
        self, h: int, action: Tensor, predicted: Tensor, values: Tensor, state: State, ending: Ending | None
    ) -> State:
        """Note a step; the state, perhaps without the trajectories that have ended."""
        self.actions[self.going, h] = action[self.going]
        self.predicted[self.going, h], self.values[self.going, h] = predicted, values
        alive = ~self.terminated[self.going]
        self.states[self.going[alive]] = values[alive, :-1]
        if ending is None:
            return state
        over = self.going[alive & ended(ending, values[:, :-1])]
        self.terminated[over], self.lengths[over] = True, h + 1
        alive = ~self.terminated[self.going]
        if int(alive.sum()) > CROWDED * len(alive):
            return state
        self.going = self.going[alive]
        return state.take(alive.nonzero()[:, 0])

    def finished(self) -> Rollout:
        """All of it; trajectories that ended stay in their last state."""
        horizon = self.values.shape[1]
        valid = taken(self.lengths, horizon)
        last = torch.minimum(torch.arange(horizon, device=valid.device), self.lengths[:, None] - 1)
        values = self.values.gather(1, last[..., None].expand_as(self.values))
        values[..., -1] = values[..., -1] * valid
        return Rollout(
            values=values,
            actions=self.actions * valid[..., None],
            lengths=self.lengths,
            terminated=self.terminated,
            outside=float(share_outside(self.predicted, valid, self.columns, margin=0.0)),
        )


def counted(model: WorldModel, state: State) -> Tensor:
    """``[B, J]`` what a rollout reports of the last row: an official one counts rewards of the training range alone."""
    window, width = last_rows(state.window, 1), state.window.columns.width
    if model.official:
        reward = window.columns.role[:, None] == REWARD
        window = dataclasses.replace(window, values=torch.where(reward, _clipped(window).values, window.values))
    return window.values[:, 0, :width]


def last_rows(window: Window, rows: int) -> Window:
    """The last rows of a window, at most ``rows``."""
    return dataclasses.replace(window, values=window.values[:, -rows:], valid=window.valid[:, -rows:])


def _padded(window: Window, rows: int) -> Window:
    """The last ``rows`` rows, padded with zeros at the left if there are fewer."""
    window, lacking = last_rows(window, rows), rows - window.values.shape[1]
    if lacking <= 0:
        return window
    values = nn.functional.pad(window.values, (0, 0, lacking, 0))
    valid = nn.functional.pad(window.valid, (lacking, 0))
    return dataclasses.replace(window, values=values, valid=valid, dense=False)


def _clipped(window: Window) -> Window:
    """The window with every real value inside of its training range."""
    low, high = window.columns.low[:, None], window.columns.high[:, None]
    inside = window.values.clamp(low, high)
    return dataclasses.replace(window, values=torch.where(window.valid[..., None], inside, window.values))


def _append(window: Window, row: Tensor) -> Window:
    """The window with one more row of states and reward; its action is open."""
    open_action = torch.zeros_like(window.values[:, -1, row.shape[1] :])
    values = torch.cat([window.values, torch.cat([row, open_action], 1)[:, None]], 1)
    valid = torch.cat([window.valid, torch.ones_like(window.valid[:, :1])], 1)
    return dataclasses.replace(window, values=values, valid=valid)


def _with_action(window: Window, action: Tensor) -> Window:
    """The window with the action of its last row filled in.

    Raises:
        WmzooError: it does not fit.
    """
    columns, first = window.columns, window.columns.width
    if not (columns.predicted.all() and columns.mask.all()):
        raise WmzooError(
            "window: its environments differ in width; imagine the trajectories of one environment at a time."
        )
    wanted = [len(window), window.values.shape[2] - first]
    if list(action.shape) != wanted:
        raise WmzooError(f"actions: {list(action.shape)} for a step that needs {wanted}, one row for each trajectory.")
    values = window.values.clone()
    values[:, -1, first:] = action
    return dataclasses.replace(window, values=values)
