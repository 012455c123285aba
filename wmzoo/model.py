"""The world model: a tokenizer, a backbone and a head behind five verbs.

``loss``, ``predict``, ``initial``, ``step`` and ``rollout`` are all that training, evaluation and planning use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from wmzoo import compat, imagination, registry
from wmzoo.backbone import Layout, Members
from wmzoo.errors import WmzooError
from wmzoo.imagination import Rollout, State, last_rows
from wmzoo.memory import Past
from wmzoo.predictions import Prediction
from wmzoo.recipe import Recipe
from wmzoo.recipe import load as load_recipe
from wmzoo.trajectories import Columns, Span, Variates, Window, pack, pad_columns

if TYPE_CHECKING:
    from wmzoo.terminations import Ending, Policy


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
class Next:
    """A predicted row.

    Attributes:
        prediction: its distribution, ``[B, J]``.
        row: ``[B, J]`` one value of it: its expectation, or a sample.
        pasts: what each elite keeps of all rows that were read; empty if nothing is kept.
    """

    prediction: Prediction
    row: Tensor
    pasts: list[Past]


class WorldModel(nn.Module):
    """A world model composed by a recipe; make one with :func:`build`.

    Args:
        recipe: a checked recipe.
        variates: training statistics, by environment.

    Attributes:
        context: most rows of history that a prediction uses, ``C``; longer windows are cut to their last ones.
        autoregressive: the variates of the next row are decoded one after another.
        packs: which padding its windows are packed without, see :class:`wmzoo.backbone.Backbone`.
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
        self.context = min(recipe.data.window - 1, self.backbone.first.looks_back or recipe.data.window)
        self.autoregressive = self.backbone.first.autoregressive
        self.packs = self.backbone.first.packs
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
        return self.next_row(last_rows(window, self.context), truth).prediction

    @torch.no_grad()
    def initial(
        self,
        window: Window,
        horizon: int | None = None,
        ensemble: str = "mixture",
        precision: str = "fp32",
        generator: torch.Generator | None = None,
    ) -> State:
        """Begin to imagine after a true history.

        Args:
            window: ``[B, T, M]`` rows of one environment, physical units; the last row's action is not used. An
                official rollout looks back at half of the context, padded at the left if there is less.
            horizon: steps that will be taken at the most, if that is known: what only later ones need is not kept.
            ensemble: ``mixture`` goes on from what the elites say together; with ``trajectory`` each trajectory draws
                an elite here and keeps it, with ``step`` it draws one at each step (TS-infinity and TS1 of Chua et
                al. 2018, section 5).
            precision: of the backbone's matrix products: ``fp32``, or ``bf16``, which rounds and is faster where the
                processor can multiply such numbers.
            generator: of the random numbers, on the model's device; torch's default if left out.

        Raises:
            WmzooError: ``ensemble`` or ``precision`` is none of these, or the window has no rows.
        """
        return imagination.begin(self, window, horizon, ensemble, precision, generator)

    @torch.no_grad()
    def step(
        self, state: State, action: Tensor, sample: bool = False, generator: torch.Generator | None = None
    ) -> tuple[State, Prediction]:
        """Imagine one step.

        Args:
            state: from :meth:`initial` or an earlier step; it may be gone on from more than once.
            action: ``[B, n]`` taken now, physical units.
            sample: draw the next row from the prediction instead of taking its expectation.
            generator: of the random numbers.

        Returns:
            The state after the step, and the distribution of its row.

        Raises:
            WmzooError: the actions do not fit, the windows are of environments of different widths, or the prediction
                is not finite.
        """
        return imagination.step(self, state, action, sample, generator)

    @torch.no_grad()
    def rollout(
        self,
        window: Window,
        actions: Tensor | Policy,
        horizon: int,
        sample: bool = False,
        *,
        trajectories: int | None = None,
        ensemble: str = "mixture",
        precision: str = "fp32",
        clip: bool = False,
        ending: Ending | None = None,
        generator: torch.Generator | None = None,
    ) -> Rollout:
        """Imagine ``S`` trajectories after the window's last row, in parallel.

        Args:
            window: ``[B, T, M]`` true history of one environment, physical units, or a first state alone
                (:func:`wmzoo.trajectories.first_row`); its last action is replaced. ``B`` divides ``S``:
                each history is read once and shared by ``S / B`` trajectories one after another.
            actions: ``[S, H, n]`` with ``H >= horizon``, the first one taken in the window's last row; or a policy
                from states ``[S, m]`` to actions ``[S, n]``, which is shown all trajectories at every step.
            horizon: steps, at least 1.
            sample: draw each row instead of taking its expectation.
            trajectories: ``S``, if a policy is to imagine several from each history.
            ensemble, precision: see :meth:`initial`.
            clip: keep imagined states and rewards inside of the training range. An official rollout does so anyway.
            ending: says of states ``[b, m]`` that were arrived in which end the episode, ``[b]`` bool; of those
                trajectories alone that still go on, and sometimes of some that do not. Nothing ends if left out.
            generator: of the random numbers, on the model's device; torch's default if left out.

        Raises:
            WmzooError: the numbers of histories, actions and trajectories do not go together, actions do not fit
                the environment, or a prediction is not finite.
        """
        return imagination.rollout(
            self,
            window,
            actions,
            horizon,
            trajectories=trajectories,
            sample=sample,
            ensemble=ensemble,
            precision=precision,
            clip=clip,
            ending=ending,
            generator=generator,
        )

    def clipped(self, window: Window) -> Tensor:
        """Share of the window's values that its tokenizer finds outside of the training range, in ``[0, 1]``."""
        from wmzoo.binning import share_outside

        return share_outside(window.values, window.valid, window.columns, self.tokenizer.margin)

    def packed(self, window: Window) -> Window:
        """The window with its columns packed too, if what is padded in it would be wasted work for the backbone."""
        if window.packed or window.dense or not self.packs:
            return window
        if self.packs == "columns" and bool(window.variate_mask.all()):
            return window
        return dataclasses.replace(window, packed=pack(window))

    def parameters_of(self, window: Window, spans: tuple[Span, ...] = (), own: bool = False) -> Tensor:
        """Head parameters of every next row for all members, ``[E, B, T, M, P]``: what objectives work on.

        Args:
            window: ``[B, T, M]``.
            spans: if the window is that of :class:`wmzoo.trajectories.Packed`, its spans.
            own: of every row itself instead; a model that decodes variate by variate has them.
        """
        window = window if spans else pad_columns(window, self.backbone.first.multiple)
        tokens, members = self.tokenizer(window.values, window.columns), self.members
        layout = self.layout(window, spans)
        if own:
            return torch.stack([self.backbone.each(i).cells(tokens, layout) for i in range(members)])
        return self.backbone(tokens, layout, list(range(members)))

    def following(self, window: Window, spans: tuple[Span, ...] = ()) -> Tensor:
        """Head parameters ``[E, B, T - 1, M, P]`` of the rows behind the first, for all members.

        Nothing is computed for the row behind the last one, unless each row is read along with the row before it.
        """
        if self.autoregressive:
            return self.parameters_of(window, spans)[:, :, :-1]
        return self.parameters_of(window.until(-1), spans)

    @property
    def members(self) -> int:
        """Number of ensemble members, ``E``."""
        return self.recipe.model.backbone.config.members

    def layout(self, window: Window, spans: tuple[Span, ...] = ()) -> Layout:
        """Where the window's real tokens are."""
        return Layout(window.columns.role, window.columns.place, window.valid, window.dense, self.kernel, spans)

    def memories(self, window: Window) -> list[Past]:
        """An empty memory of each elite for the longest window like this one; none if the backbone keeps nothing."""
        if not self.backbone.first.cached:
            return []
        rows = max(self.context, self.lookback + self.refresh) if self.official else self.context
        columns = window.values.shape[2] + -window.values.shape[2] % self.backbone.first.multiple
        return [self.backbone.each(i).memory(rows, columns) for i in self.elites.tolist()]

    def read(self, window: Window, pasts: list[Past], unread: int) -> list[Past]:
        """What each elite keeps of a window of which all but the last ``unread`` rows were read."""
        window = pad_columns(window, self.backbone.first.multiple)
        tokens, layout = self.tokenizer(window.values[:, -unread:], window.columns), self.layout(window)
        elites = zip(self.elites.tolist(), pasts, strict=True)
        return [self.backbone.each(i).keep(tokens, layout, past) for i, past in elites]

    def next_row(
        self,
        window: Window,
        truth: Tensor | None = None,
        *,
        sample: bool = False,
        pasts: Sequence[Past] = (),
        member: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Next:
        """Predict the row after the window's last one, and choose one value of it.

        Args:
            window: ``[B, T, M]``, at most ``context`` rows.
            truth: as in :meth:`predict`.
            sample: draw the value instead of taking the expectation.
            pasts: what each elite keeps of all rows but the last; all are read without.
            member: ``[B]`` the elite that predicts each window alone; their mixture predicts if left out.
            generator: of the random numbers.

        Raises:
            WmzooError: the prediction is not finite.
        """
        window = pad_columns(window, self.backbone.first.multiple)
        count = window.columns.width
        columns, previous = window.columns.take(slice(count)), window.values[:, -1, :count]
        tokens = self.tokenizer(window.values[:, -1:] if pasts else window.values, window.columns)
        if self.autoregressive:
            drawn = partial(self._drawn, sample, generator)
            known: Sequence[Past | None] = pasts or [None] * len(self.elites)
            rows = [
                self._decode(i, tokens, window, truth, drawn, past)
                for i, past in zip(self.elites.tolist(), known, strict=True)
            ]
            raw, kept = torch.stack([row.raw for row in rows]), [row.kept for row in rows] if pasts else []
            prediction = self._prediction(raw, previous, columns, member)
            if not sample and member is None:
                return Next(prediction, prediction.mean, kept)
            if member is None:
                member = torch.randint(len(rows), (len(window),), generator=generator, device=window.values.device)
            return Next(prediction, _each(torch.stack([row.values for row in rows]), member), kept)
        raw, kept = self._raw(tokens, window, pasts)
        prediction = self._prediction(raw[:, :, -1, :count], previous, columns, member)
        return Next(prediction, self._drawn(sample, generator, prediction), kept)

    def _prediction(self, raw: Tensor, previous: Tensor, columns: Columns, member: Tensor | None) -> Prediction:
        """What ``[E, B, J, P]`` parameters say, of one member each if there is one."""
        broken = ~raw.isfinite().all(-1).all(-1).all(0)  # [B]
        if broken.any():
            raise WmzooError(
                f"the model's prediction is not finite for {int(broken.sum())} of {len(broken)} windows; look for NaN "
                "or infinite values in their history and actions, or for weights that diverged in training."
            )
        return self.head.predict(raw if member is None else _each(raw, member)[None], previous, columns)

    @staticmethod
    def _drawn(sample: bool, generator: torch.Generator | None, prediction: Prediction) -> Tensor:
        """One value of a prediction, ``[B, J]``."""
        return prediction.sample(1, generator)[0] if sample else prediction.mean

    def _raw(self, tokens: Tensor, window: Window, pasts: Sequence[Past]) -> tuple[Tensor, list[Past]]:
        """Head parameters ``[E, B, t, M, P]`` of the elites, and what they keep."""
        layout, elites = self.layout(window), self.elites.tolist()
        if not pasts:
            return self.backbone(tokens, layout, elites), []
        read = [self.backbone.each(i).advance(tokens, layout, past) for i, past in zip(elites, pasts, strict=True)]
        return torch.stack([raw for raw, _ in read]), [kept for _, kept in read]

    def _decode(
        self,
        member: int,
        tokens: Tensor,
        window: Window,
        truth: Tensor | None,
        drawn: Callable[[Prediction], Tensor],
        past: Past | None,
    ) -> _Row:
        """One member's next row, variate by variate."""
        backbone = self.backbone.each(member)
        raw, decoding, kept = backbone.start(tokens, self.layout(window), past)
        raws, values = [raw], []
        count = window.columns.width
        for j in range(count):
            column = window.columns.take(slice(j, j + 1))
            one = self.head.predict(raws[-1][None, :, None], window.values[:, -1, j : j + 1], column)
            values.append(drawn(one))
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
    kept: Past


def _each(x: Tensor, member: Tensor) -> Tensor:
    """Of ``[E, B, ...]``, the chosen member ``[B]`` of each window, ``[B, ...]``."""
    return x[member, torch.arange(len(member), device=member.device)]


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
