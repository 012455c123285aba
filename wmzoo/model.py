"""The world model: a tokenizer, a backbone and a head behind five verbs.

``loss``, ``predict``, ``initial``, ``step`` and ``rollout`` are all that training, evaluation and planning use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wmzoo import compat, registry
from wmzoo.backbone import Layout, Members
from wmzoo.errors import WmzooError
from wmzoo.predictions import Prediction
from wmzoo.recipe import Recipe
from wmzoo.recipe import load as load_recipe
from wmzoo.trajectories import REWARD, Columns, Variates, Window, pad_columns

Policy = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Loss:
    """What training minimises, and what it is made of.

    Attributes:
        total: scalar, with its graph.
        terms: named parts (``state``, ``reward``), each summed over its own columns and averaged over rows.
        windows: ``[B]`` share of each window in the total.
        members: ``[E]`` total of each ensemble member.
    """

    total: Tensor
    terms: dict[str, Tensor]
    windows: Tensor
    members: Tensor


@dataclass(frozen=True, eq=False)
class State:
    """Where an imagined trajectory stands; opaque to everyone but the model that made it.

    Attributes:
        window: the last rows, at most ``model.context``; the last row's action is still open.
        past: what each elite's backbone keeps of all rows but the last; None where it is to read all rows again.
        age: steps imagined since all rows were last read again; kept by the official scheme alone.
    """

    window: Window
    past: list[Any] | None = None
    age: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """An imagined trajectory.

    Attributes:
        values: ``[B, H, J]`` next states and rewards, physical units.
        actions: ``[B, H, n]`` the actions that led to them.
    """

    values: Tensor
    actions: Tensor


class WorldModel(nn.Module):
    """A world model composed by a recipe; make one with :func:`build`.

    Args:
        recipe: a checked recipe.
        variates: training statistics, by environment.

    Attributes:
        context: most rows of history that a prediction uses; longer windows are cut to their last ones.
        autoregressive: the variates of the next row are decoded one after another.
        official: the released code's behaviour, in rollouts as elsewhere (``compat`` of the recipe).
        refresh: of official rollouts, steps between readings of the last rows afresh.

    Raises:
        WmzooError: an environment is too wide for the backbone.
    """

    elites: Tensor
    tokenizer: Any
    head: Any
    objective: Any

    def __init__(self, recipe: Recipe, variates: Mapping[str, Variates]):
        super().__init__()
        parts = recipe.model
        self.recipe = recipe
        self.tokenizer = _make("tokenizers", parts.tokenizer.name, parts.tokenizer.config)
        found = registry.find("backbones", parts.backbone.name).build
        head = registry.find("heads", parts.head.name)
        outputs = head.build(parts.head.config, 1).outputs
        features: int = self.tokenizer.features
        self.backbone = Members(found, parts.backbone.config, features, outputs)
        self.head = head.build(parts.head.config, self.backbone.first.predicted)
        self.objective = _make("objectives", recipe.objective.name, recipe.objective.config)
        self.register_buffer("elites", torch.arange(parts.backbone.config.elites))
        self.context = recipe.data.window - 1
        self.autoregressive = self.backbone.first.autoregressive
        self.kernel = recipe.train.attention
        self.official = recipe.compat == compat.OFFICIAL
        self.lookback = (self.context + 1) // 2
        # 10 rows and 10 steps fill the 20 places of the paper's window; the released TDM starts afresh every step.
        self.refresh = 1 if self.autoregressive else self.context + 1 - self.lookback
        self.use(variates)

    def use(self, variates: Mapping[str, Variates]) -> None:
        """Take the statistics of other environments, as a model does that is tested on data not its own.

        Raises:
            WmzooError: an environment is too wide for the backbone.
        """
        for name, columns in variates.items():
            problem = self.backbone.first.fits(len(columns.names), columns.predicted)
            if problem:
                raise WmzooError(f"model.backbone: environment {name} has {problem}")
        self.variates = dict(variates)

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.recipe.name

    @property
    def compat(self) -> str:
        """``corrected``, ``official``, or what of official it is not."""
        return compat.label(self.recipe)

    def loss(self, window: Window, rows: int | None = None) -> Loss:
        """What training minimises, by the recipe's objective.

        Args:
            window: ``[B, T, M]`` true rows, physical units.
            rows: predicted rows to divide by, if this is a part of a larger batch; counted if None.

        Returns:
            A scalar total and its named terms.
        """
        return self.objective(self, window, rows)

    @torch.no_grad()
    def predict(self, window: Window, truth: Tensor | None = None) -> Prediction:
        """The distribution of the row after the window's last one.

        Args:
            window: ``[B, T, M]`` rows ``(s_t, r_t, a_t)``, physical units, all actions given.
            truth: ``[B, J]`` the true next states and reward. An autoregressive model is then teacher-forced within
                the row (the number that the released TDM code reports); without it, each variate is decoded by its
                expectation given those decoded before it. Other models ignore it.

        Returns:
            ``[B, J]`` distributions in physical units.
        """
        return self._next(self._recent(window), truth, sample=False)[0]

    def initial(self, window: Window) -> State:
        """Begin to imagine after a true history.

        Args:
            window: ``[B, T, M]`` rows of one environment, physical units; the last row's action is not used. An
                official rollout looks back at half of the context, padded at the left if there is less.
        """
        return State(_padded(window, self.lookback) if self.official else self._recent(window))

    @torch.no_grad()
    def step(self, state: State, action: Tensor, sample: bool = False) -> tuple[State, Prediction]:
        """Imagine one step.

        Args:
            state: from :meth:`initial` or an earlier step.
            action: ``[B, n]`` taken now, physical units.
            sample: draw the next row from the prediction instead of taking its expectation.

        Returns:
            The state after the step, and the distribution of its row.

        Raises:
            ValueError: the actions do not fit, or the windows are of environments of different widths.
        """
        window = _with_action(state.window, action)
        if self.official:
            return self._official_step(window, state, sample)
        prediction, row, _ = self._next(window, None, sample)
        return State(self._recent(_append(window, row))), prediction

    def _official_step(self, window: Window, state: State, sample: bool) -> tuple[State, Prediction]:
        """A step as the released code takes it (Yin et al. 2025): clipped inputs and a cache that is dropped.

        Its TDM reads clipped rows too, but keeps them as they were predicted.
        """
        prediction, row, past = self._next(_clipped(window), None, sample, state.past)
        window = _append(window, row)
        window = window if self.autoregressive else _clipped(window)
        if state.age + 1 < self.refresh:
            return State(window, past, state.age + 1), prediction
        return State(_padded(window, self.lookback)), prediction

    @torch.no_grad()
    def rollout(self, window: Window, actions: Tensor | Policy, horizon: int, sample: bool = False) -> Rollout:
        """Imagine a trajectory after the window's last row.

        Args:
            window: ``[B, T, M]`` true history of one environment, physical units; its last action is replaced.
            actions: ``[B, H, n]`` with ``H >= horizon``, the first one taken in the window's last row; or a policy
                from states ``[B, m]`` to actions ``[B, n]``.
            horizon: steps, at least 1.
            sample: draw each row instead of taking its expectation.

        Returns:
            ``[B, H, J]`` imagined states and rewards, and the actions taken; of an official rollout, the rewards
            clipped to the training range.
        """
        state, values, taken = self.initial(window), [], []
        predicted = window.columns.width
        for h in range(horizon):
            last = state.window.values[:, -1]
            taken.append(actions[:, h] if isinstance(actions, Tensor) else actions(last[:, : predicted - 1]))
            state, _ = self.step(state, taken[-1], sample)
            values.append(self._counted(state.window)[:, -1, :predicted])
        return Rollout(values=torch.stack(values, 1), actions=torch.stack(taken, 1))

    def clipped(self, window: Window) -> Tensor:
        """Share of the window's values that its tokenizer finds outside of the training range, in ``[0, 1]``."""
        from wmzoo.binning import share_outside

        return share_outside(window.values, window.valid, window.columns, self.tokenizer.margin)

    def parameters_of(self, window: Window, own: bool = False) -> Tensor:
        """Head parameters of every next row for all members, ``[E, B, T, M, P]``: what objectives work on.

        Args:
            window: ``[B, T, M]``.
            own: of every row itself instead; a model that decodes variate by variate has them.
        """
        window = pad_columns(window, self.backbone.first.multiple)
        tokens, layout, members = self.tokenizer(window.values, window.columns), self.layout(window), self.members
        if own:
            return torch.stack([self.backbone.each(i).cells(tokens, layout) for i in range(members)])
        return self.backbone(tokens, layout, list(range(members)))

    @property
    def members(self) -> int:
        """Number of ensemble members, ``E``."""
        return self.recipe.model.backbone.config.members

    def layout(self, window: Window) -> Layout:
        """Where the window's real tokens are."""
        return Layout(window.columns.role, window.valid, window.dense, self.kernel)

    def _recent(self, window: Window) -> Window:
        return _last(window, self.context)

    def _counted(self, window: Window) -> Tensor:
        """The values that a rollout reports: an official one counts rewards of the training range alone."""
        if not self.official:
            return window.values
        return torch.where(window.columns.role[:, None] == REWARD, _clipped(window).values, window.values)

    def _next(
        self, window: Window, truth: Tensor | None, sample: bool, past: list[Any] | None = None
    ) -> tuple[Prediction, Tensor, list[Any] | None]:
        """The next row's distribution, one value of it ``[B, J]`` (its expectation, or a sample), and what to keep.

        With a ``past``, only the window's last row is read.
        """
        window = pad_columns(window, self.backbone.first.multiple)
        count = window.columns.width
        columns, previous = window.columns.take(slice(count)), window.values[:, -1, :count]
        unread = window.values if past is None else window.values[:, -1:]
        tokens, chosen = self.tokenizer(unread, window.columns), self.elites.tolist()
        pasts = past or [None] * len(chosen)
        if self.autoregressive:
            rows = [self._decode(i, tokens, window, truth, sample, p) for i, p in zip(chosen, pasts, strict=True)]
            prediction = self.head.predict(torch.stack([row.raw for row in rows]), previous, columns)
            member = int(torch.randint(len(rows), ())) if sample else 0
            return prediction, rows[member].values if sample else prediction.mean, [row.kept for row in rows]
        raw, kept = self._read(tokens, window, chosen, pasts)
        prediction = self.head.predict(raw[:, :, -1, :count], previous, columns)
        return prediction, prediction.sample(1)[0] if sample else prediction.mean, kept

    def _read(
        self, tokens: Tensor, window: Window, chosen: list[int], pasts: list[Any]
    ) -> tuple[Tensor, list[Any] | None]:
        """Head parameters ``[E, B, t, M, P]`` of the chosen members, and what to keep if they keep anything."""
        layout = self.layout(window)
        if not (self.official and self.backbone.first.cached):
            return self.backbone(tokens, layout, chosen), None
        read = [self.backbone.each(i).advance(tokens, layout, p) for i, p in zip(chosen, pasts, strict=True)]
        return torch.stack([raw for raw, _ in read]), [kept for _, kept in read]

    def _decode(
        self, member: int, tokens: Tensor, window: Window, truth: Tensor | None, sample: bool, past: Any
    ) -> _Row:
        """One member's next row, variate by variate."""
        backbone = self.backbone.each(member)
        raw, decoding, kept = backbone.start(tokens, self.layout(window), past)
        raws, values = [raw], []
        count = window.columns.width
        for j in range(count):
            column = window.columns.take(slice(j, j + 1))
            one = self.head.predict(raws[-1][None, :, None], window.values[:, -1, j : j + 1], column, j)
            values.append(one.sample(1)[0] if sample else one.mean)
            given = values[-1] if truth is None else truth[:, j : j + 1]
            if j + 1 < count:
                token = self.tokenizer(given[:, None], column)[:, 0, 0]
                raws.append(backbone.extend(token, j, decoding))
        return _Row(torch.stack(raws, 1), torch.cat(values, 1), kept)


@dataclass(frozen=True, eq=False)
class _Row:
    """A decoded row: its parameters ``[B, J, P]``, its values ``[B, J]``, and what to keep of the rows before it."""

    raw: Tensor
    values: Tensor
    kept: Any


def build(recipe: Recipe | str, variates: Variates | Mapping[str, Variates]) -> WorldModel:
    """Compose a world model; its random initial weights depend on the recipe's seed alone.

    Args:
        recipe: from :func:`wmzoo.recipe.load`, or the name or path of one.
        variates: of the environment, or of each environment by name, measured on training episodes.

    Raises:
        WmzooError: an environment does not fit the backbone.
    """
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    named = {"environment": variates} if isinstance(variates, Variates) else variates
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return WorldModel(recipe, named)


def _make(kind: str, name: str, config: Any) -> nn.Module:
    return registry.find(kind, name).build(config)


def _action_columns(window: Window, count: int) -> slice:
    columns: Columns = window.columns
    start = columns.width
    if not (columns.predicted.all() and columns.mask.all()) or columns.role.shape[1] - start != count:
        expected = columns.role.shape[1] - start
        raise ValueError(f"Expected [B, {expected}] actions for windows of one environment, got {count} columns.")
    return slice(start, start + count)


def _with_action(window: Window, action: Tensor) -> Window:
    """The window with the action of its last row filled in."""
    values = window.values.clone()
    values[:, -1, _action_columns(window, action.shape[1])] = action
    return dataclasses.replace(window, values=values)


def _last(window: Window, rows: int) -> Window:
    """The last rows of a window, at most ``rows``."""
    return dataclasses.replace(window, values=window.values[:, -rows:], valid=window.valid[:, -rows:])


def _padded(window: Window, rows: int) -> Window:
    """The last ``rows`` rows, padded with zeros at the left if there are fewer."""
    window, lacking = _last(window, rows), rows - window.values.shape[1]
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
