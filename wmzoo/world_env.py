"""A world model as a Gymnasium vector environment: all of its sub-environments are imagined at once, in one batch.

The sub-environments end at different times, but their memories stand at one place (:mod:`wmzoo.imagination`), so one
that begins anew is given as many rows of its new history as the others' windows have just then, as far as it has them:
never fewer than a long trajectory sees. Those that go on notice nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from wmzoo.checkpoint import load
from wmzoo.collect.environments import ENVIRONMENTS
from wmzoo.collect.making import layout
from wmzoo.data.windows import gather
from wmzoo.errors import WmzooError, nearest
from wmzoo.imagination import State, counted, ended, restart
from wmzoo.model import WorldModel
from wmzoo.runs import open_sets, split_set
from wmzoo.terminations import AUTO, Ending
from wmzoo.terminations import ending as ending_of
from wmzoo.trajectories import Variates, Window, first_row, window_of

Starts = Callable[[np.random.Generator, int], Window]
"""Draws that many true histories, ``[B, T, M]``."""


class WorldModelEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """``B`` imagined copies of an environment, all in one world model.

    Observations are the states ``[B, m]`` float32, physical units, without the column ``terminated`` if the model has
    one; actions ``[B, n]`` are physical units too, and are not clipped to the action space; rewards ``[B]`` are the
    imagined ones. A sub-environment that ended is reset by the next step, whose action it ignores
    (``AutoresetMode.NEXT_STEP``, Gymnasium's default).

    Args:
        run: a run's folder, ``experiment/run`` under ``runs/``, a checkpoint file, or a model, which is put in
            evaluation mode and used on the device that it is on.
        variates: the environment to imagine: its name, or its columns.
        horizon: steps after which an episode is truncated.
        num_envs: copies, ``B``.
        starts: first states ``[N, m]`` or true histories, a window ``[N, T, M]``, to draw from; if left out, the steps
            of the episodes that the run was trained on, each with its history.
        ending: when episodes terminate: a choice of :func:`wmzoo.terminations.ending`, or a function from all imagined
            states ``[B, m]`` to bools ``[B]``.
        sample: draw each next row instead of taking its expectation.
        ensemble: see :meth:`wmzoo.model.WorldModel.initial`.
        clip: keep states and rewards inside of the training range, which is the observation space then.

    Raises:
        WmzooError: the model does not know the environment, there is nothing to start from, or an argument does not
            fit.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}

    def __init__(
        self,
        run: str | Path | WorldModel,
        variates: str | Variates,
        horizon: int = 25,
        *,
        num_envs: int = 1,
        starts: np.ndarray | Tensor | Window | None = None,
        ending: str | Ending = AUTO,
        sample: bool = False,
        ensemble: str = "mixture",
        clip: bool = False,
    ):
        for name, count in (("horizon", horizon), ("num_envs", num_envs)):
            if count < 1:
                raise WmzooError(f"{name}: is {count}; it must be at least 1.")
        self.model = (load(run) if isinstance(run, str | Path) else run).eval()
        self.environment, self.variates = _known(self.model, variates)
        self.horizon, self.num_envs = horizon, num_envs
        self._sample, self._ensemble, self._clip = sample, ensemble, clip
        self._ending = _ending(self.environment, self.model, self.variates, ending)
        self._starts = _starts(self.model, self.environment, self.variates, starts)
        self._device = next(self.model.parameters()).device
        self._generator = torch.Generator(self._device)
        self._state: State | None = None
        self._over, self._steps = np.zeros(num_envs, bool), np.zeros(num_envs, int)
        self._observed = self.variates.states - self.variates.terminated
        self.single_observation_space = _observation_space(self.variates, self._observed, clip)
        self.single_action_space = _action_space(self.environment, self.variates)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin all episodes anew.

        Args:
            seed: of first states, samples and ensemble members, until the next seed.
            options: none are known.

        Returns:
            Observations ``[B, m]``, and no information.

        Raises:
            WmzooError: there are options.
        """
        super().reset(seed=seed)
        if options:
            raise WmzooError(
                f"reset: options {sorted(options)} are not known; all episodes begin anew, leave them out."
            )
        self._generator.manual_seed(int(self.np_random.integers(1 << 62)))
        return self._begin(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Imagine one step of every episode; those that have ended begin anew instead.

        Args:
            actions: ``[B, n]``, physical units.

        Returns:
            Observations ``[B, m]`` float32, rewards ``[B]`` float64, which episodes terminated ``[B]`` and which were
            truncated ``[B]``, and no information.

        Raises:
            WmzooError: there was no reset, the actions do not fit, or a prediction is not finite.
        """
        if self._state is None:
            raise WmzooError("step: no episode has begun; call reset first.")
        taken = torch.as_tensor(np.asarray(actions, np.float32), device=self._device)
        if taken.shape != self.action_space.shape:
            raise WmzooError(f"step: actions are {list(taken.shape)}; give {list(self.action_space.shape or ())}.")
        rewards, terminated = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        if self._over.all():
            return self._begin(), rewards, terminated, terminated.copy(), {}
        over = self._over
        rewards[~over], terminated[~over] = (x[~over] for x in self._imagine(self._state, taken))
        self._steps += 1
        truncated = (self._steps >= self.horizon) & ~over
        if over.any():
            self._restart(np.flatnonzero(over))
        self._over = terminated | truncated
        return self._observe(), rewards, terminated, truncated, {}

    def _begin(self) -> np.ndarray:
        """All episodes anew, and what they begin with, ``[B, m]``."""
        window = self._starts(self.np_random, self.num_envs).to(self._device)
        self._state = self._inside(self.model.initial(window, ensemble=self._ensemble, generator=self._generator))
        self._over, self._steps = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, int)
        return self._observe()

    def _imagine(self, state: State, actions: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The next row of every trajectory: rewards ``[B]``, and in which the episode terminates ``[B]``."""
        over = torch.from_numpy(self._over).to(self._device)
        state, actions = _set_aside(state, over), torch.where(over[:, None], 0.0, actions)
        state, _ = self.model.step(state, actions, self._sample, self._generator)
        self._state = self._inside(state)
        values = counted(self.model, self._state)
        final = torch.zeros_like(over) if self._ending is None else ended(self._ending, values[:, :-1])
        return values[:, -1].double().cpu().numpy(), final.cpu().numpy()

    def _restart(self, rows: np.ndarray) -> None:
        """Begin the episodes ``rows`` ``[R]`` anew."""
        assert self._state is not None
        window, chosen = self._starts(self.np_random, len(rows)), torch.from_numpy(rows)
        self._state = self._inside(
            restart(self.model, self._state, chosen.to(self._device), window.to(self._device), self._generator)
        )
        self._steps[rows] = 0

    def _inside(self, state: State) -> State:
        return state.clipped() if self._clip else state

    def _observe(self) -> np.ndarray:
        """``[B, m]`` the present states."""
        assert self._state is not None
        return self._state.window.values[:, -1, : self._observed].cpu().numpy().copy()


def _set_aside(state: State, over: Tensor) -> State:
    """The state with an average last row in the trajectories that ended, ``[B]`` bool.

    They are taken along for one more step, and what ended them may be a row that no model can go on from.
    """
    if not over.any():
        return state
    window = state.window
    values = window.values.clone()
    values[over, -1] = window.columns.mean[over]
    return dataclasses.replace(state, window=dataclasses.replace(window, values=values))


def _known(model: WorldModel, variates: str | Variates) -> tuple[str, Variates]:
    """The environment's name, empty if the model does not know it, and its columns."""
    if isinstance(variates, str):
        if variates not in model.variates:
            raise WmzooError(f'variates: {model.name} knows no "{variates}". {nearest(variates, model.variates)}')
        return variates, model.variates[variates]
    problem = model.backbone.first.fits(len(variates.names), variates.predicted)
    if problem:
        raise WmzooError(f"variates: the environment has {problem}")
    return next((name for name, own in model.variates.items() if own is variates), ""), variates


def _ending(environment: str, model: WorldModel, variates: Variates, how: str | Ending) -> Ending | None:
    """When episodes terminate; None if they never do."""
    if not isinstance(how, str):
        return how
    if environment:
        return ending_of(model, environment, how)
    return ending_of(variates, "given variates", how)


def _starts(
    model: WorldModel, environment: str, variates: Variates, starts: np.ndarray | Tensor | Window | None
) -> Starts:
    """What episodes begin from: what is given, else what the model was trained on."""
    return _recorded(model, environment, variates) if starts is None else _given(starts, variates)


def _given(starts: np.ndarray | Tensor | Window, variates: Variates) -> Starts:
    """Draws from states ``[N, m]`` or a window ``[N, T, M]``."""
    window = _window(starts, variates)
    if not window.values.isfinite().all():
        raise WmzooError("starts: they hold NaN or infinite values; leave those out.")
    return lambda rng, count: window.index(torch.from_numpy(rng.integers(len(window), size=count)))


def _window(starts: np.ndarray | Tensor | Window, variates: Variates) -> Window:
    """``[N, T, M]``, states ``[N, m]`` becoming rows of which reward and action are open."""
    try:
        if isinstance(starts, Window):
            return window_of(starts.values.cpu(), variates, starts.valid.cpu())
        return first_row(torch.as_tensor(starts).cpu(), variates)
    except (TypeError, ValueError) as error:
        columns = len(variates.names)
        raise WmzooError(
            f"starts: they are not of this environment; give states [N, {variates.states - variates.terminated}] or a "
            f"window [N, T, {columns}], N being at least 1."
        ) from error


def _recorded(model: WorldModel, environment: str, variates: Variates) -> Starts:
    """Draws from the steps of the episodes trained on, all equally likely; nothing begins in an episode's last row."""
    remedy = "give starts, states [N, m] or a window"
    if not environment:
        raise WmzooError(f"starts: {model.name} was not trained on these variates; {remedy}.")
    try:
        items = [item for item in open_sets(model.recipe)[1] if item.environment == environment]
    except WmzooError as error:
        raise WmzooError(f"starts: {error} Or {remedy}.") from error
    if not items or any(item.names != variates.names for item in items):
        raise WmzooError(f"starts: {model.recipe.data.corpus} is not what {model.name} was trained on; {remedy}.")
    chosen = [split_set(item, model.recipe).train for item in items]
    source = np.concatenate([np.full(len(episodes), s) for s, episodes in enumerate(chosen)])
    first = np.concatenate([item.offsets[episodes] for item, episodes in zip(items, chosen, strict=True)])
    steps = np.concatenate([item.lengths[episodes] - 1 for item, episodes in zip(items, chosen, strict=True)])
    until = np.cumsum(steps)

    def draw(rng: np.random.Generator, count: int) -> Window:
        place = rng.integers(until[-1], size=count)
        episode = np.searchsorted(until, place, side="right")
        rows = first[episode] + place - (until - steps)[episode]
        return gather(items, source[episode], rows, model.context, {environment: variates})

    return draw


def _action_space(environment: str, variates: Variates) -> gymnasium.spaces.Box:
    """The limits of the environment if it is a known one, else the range of the training actions."""
    if environment in ENVIRONMENTS and layout(environment).actions == variates.actions:
        known = layout(environment)
        return gymnasium.spaces.Box(known.low.astype(np.float32), known.high.astype(np.float32))
    return gymnasium.spaces.Box(variates.low[variates.predicted :], variates.high[variates.predicted :])


def _observation_space(variates: Variates, observed: int, clip: bool) -> gymnasium.spaces.Box:
    """All numbers, or the range of the training states."""
    if clip:
        return gymnasium.spaces.Box(variates.low[:observed], variates.high[:observed])
    return gymnasium.spaces.Box(-np.inf, np.inf, (observed,))
