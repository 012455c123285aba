"""Off-policy evaluation: values of target policies, by rollouts in a world model from the behaviour's first states.

Version 1. Algorithm 1 of Yin et al. (2025), appendix B.4.1: one rollout for each first state of an episode that the run
trained on, with the policy acting on the imagined states and the environment's own rule of termination; a value is
the mean discounted sum of imagined rewards. True values are Monte Carlo estimates in the real simulator under the
same discount and horizon. Beside the model stand fitted Q evaluation and importance sampling on the same episodes, and
as a floor the behaviour's own return, which is the same for every policy. Intervals are bootstraps over first states
and over the errors of the true values.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from wmzoo.collect.making import layout
from wmzoo.collect.policies import Policy
from wmzoo.data.store import Corpus
from wmzoo.evaluation import baselines, board_comparison, boards
from wmzoo.evaluation.board_rows import Board
from wmzoo.evaluation.boards import Column, number, short, summary
from wmzoo.evaluation.comparison import Comparison
from wmzoo.evaluation.ranking import Values, resampled, score
from wmzoo.evaluation.records import RunRecord
from wmzoo.evaluation.remembered import digest, folder_of, remember
from wmzoo.evaluation.reported import published
from wmzoo.evaluation.targets import acting, find_policies, published_return
from wmzoo.evaluation.truth import Truth, true_values
from wmzoo.model import WorldModel
from wmzoo.progress import bar
from wmzoo.recipe import setting
from wmzoo.terminations import AUTO, CHOICES, ending, observing
from wmzoo.trajectories import first_row

__all__ = ["PROTOCOL", "Config", "compare", "describe", "evaluate", "published", "summary"]

PROTOCOL = "ope/v1"
DRAWS = 200
"""Resamples for the intervals."""
BATCH = 512
"""Rollouts at once; the policies' actions are drawn by batch, so another number gives other actions."""

COLUMNS = (
    Column("abs_error", "abs error", "low", "mean absolute error of the values"),
    Column("nabs_error", "/ range", "low", "the same over the range of the true values"),
    Column("spearman", "Spearman", "high", "rank correlation"),
    Column(
        "pearson", "Pearson", "high", "linear correlation, which the released TrajWorld code calls rank correlation"
    ),
    Column("regret1", "regret@1", "low", "what the policy estimated best lacks to the best, over the range"),
    Column("regret5", "regret@5", "low", "the same of the best of the five estimated highest"),
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the protocol; results of different settings are not compared."""

    policies: str = setting("", "folder of a ladder, or dope:FOLDER; the ladder that the package ships if empty")
    gamma: float = setting(0.995, "discount factor", symbol="gamma", low=0.0, high=1.0)
    horizon: int = setting(2000, "steps of a rollout", unit="steps", symbol="h", low=1)
    starts: int = setting(1000, "most first states", symbol="N", low=1)
    episodes: int = setting(100, "played in the real simulator for each policy's true value", low=2)
    ending: str = setting(AUTO, "when imagined episodes terminate: as learned, else by the rule", choices=CHOICES)
    clip: bool = setting(False, "clip imagined states and rewards to the training range; official models do anyway")
    fitted_q: int = setting(5_000, "steps of fitted Q evaluation; 0 leaves it out", unit="steps", low=0)


def evaluate(
    model: WorldModel, corpus: Corpus, manifest: Mapping[str, Any], config: Config, progress: bool = True
) -> dict[str, Any]:
    """Estimate the values of target policies in every environment that the run trained on.

    Args:
        model: put in evaluation mode here; used on the device that it is on.
        corpus: that the run trained on.
        manifest: of the run.
        config: of the protocol.
        progress: show bars.

    Returns:
        Plain JSON, see :mod:`wmzoo.evaluation.boards`.

    Raises:
        WmzooError: policies are missing or do not fit, or the model predicts numbers that are not finite.
    """
    began = time.perf_counter()
    chosen: dict[str, list[Any]] = {}
    for key, about in manifest["sets"].items():
        chosen.setdefault(corpus.sets[key].environment, []).append((corpus.sets[key], np.asarray(about["train"])))
    targets = {environment: find_policies(environment, config.policies) for environment in chosen}
    for environment in chosen:
        ending(model, environment, config.ending)  # before anything that takes long
    found = {}
    for environment, policies in targets.items():
        one = _Environment(environment, policies, chosen[environment], corpus, manifest, config, quiet=not progress)
        found[environment] = one.board(model.eval())
    return boards.result(PROTOCOL, model, manifest, config, COLUMNS, found, time.perf_counter() - began)


def compare(records: Sequence[RunRecord], mixed: Sequence[str] = (), baseline: str = "") -> Comparison:
    """Compare runs, see :func:`wmzoo.evaluation.board_comparison.compare`."""
    resampled = "first states and the errors of the true values"
    return board_comparison.compare(records, mixed, resampled, "estimated against true values", _draw, baseline)


def _draw(drawn: Sequence[Board], path: Path) -> None:
    from wmzoo.evaluation import board_figures  # matplotlib is slow to import

    board_figures.policy_values(drawn, path)


def describe(result: Mapping[str, Any]) -> list[Any]:
    """What is printed of one run: its boards, and the policies of each environment one by one."""
    policies = [_policies(environment, board) for environment, board in result["boards"].items()]
    return [*policies, *boards.describe(result)]


def _policies(environment: str, board: Mapping[str, Any]) -> Table:
    """The true and estimated values of each policy, and its undiscounted return beside the one that was published."""
    title = f"policies in {environment}: values, and undiscounted returns"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    estimated = {name: row["values"] for name, row in board["rows"].items() if row["kind"] != boards.FLOOR}
    for name in ("", "true value", *estimated, "return", "published"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for i, policy in enumerate(board["policies"]):
        true, plain = (
            short(policy[name], policy[name] - 1.96 * policy[error], policy[name] + 1.96 * policy[error])
            for name, error in (("value", "error"), ("undiscounted", "undiscounted_error"))
        )
        published = "-" if policy["published"] is None else number(policy["published"])
        table.add_row(policy["name"], true, *(number(values[i]) for values in estimated.values()), plain, published)
    return table


class _Environment:
    """The evaluation in one environment."""

    def __init__(
        self,
        name: str,
        policies: Mapping[str, Policy],
        chosen: list[Any],
        corpus: Corpus,
        manifest: Mapping[str, Any],
        config: Config,
        quiet: bool,
    ):
        self.name, self.policies, self.config, self.quiet = name, policies, config, quiet
        self.columns, self.folder = layout(name), folder_of(corpus)
        self.data = baselines.Behaviour.of(chosen, self.columns.low, self.columns.high)
        self.manifest_hash = manifest["sha256"]
        first = self.data.first
        spread = np.linspace(0, len(first) - 1, min(config.starts, len(first))).round().astype(int)
        self.starts = first[spread]

    def board(self, model: WorldModel) -> dict[str, Any]:
        """All rows of the environment."""
        config, count = self.config, len(self.policies)
        truths = true_values(
            self.name, self.policies, config.gamma, config.horizon, config.episodes, self.folder, self.quiet
        )
        truth = _draws(list(truths.values()))
        rows = {"model": {"kind": boards.MODEL, **self._model(model, truth)}}
        if config.fitted_q:
            rows["fitted Q"] = {"kind": boards.BASELINE, **self._baseline("fitted-q", truth, self._fitted_q)}
        rows["importance sampling"] = {
            "kind": boards.BASELINE,
            **self._baseline("importance-sampling", truth, self._importance_sampling),
        }
        floor = baselines.behaviour_return(self.data, count, config.gamma, DRAWS)
        rows["behaviour return"] = {"kind": boards.FLOOR, **_row(floor, truth)}
        about = [
            {"name": name, "published": published_return(self.name, name), **dataclasses.asdict(found)}
            for name, found in truths.items()
        ]
        said = f"{count} policies, {len(self.starts)} first states"
        return {"about": said, "manifest_hash": self.manifest_hash, "rows": rows, "policies": about}

    def _model(self, model: WorldModel, truth: Values) -> dict[str, Any]:
        began = time.perf_counter()
        returns, about = self._imagine(model)
        return {**_row(resampled(returns, DRAWS), truth), **about, "seconds": time.perf_counter() - began}

    def _imagine(self, model: WorldModel) -> tuple[np.ndarray, dict[str, float]]:
        """Discounted returns ``[P, N]`` of each policy from each first state; shares terminated and out of range."""
        count, size = len(self.starts), BATCH
        jobs = [(p, i) for p in range(len(self.policies)) for i in range(count)]
        returns, ended, outside = np.zeros(len(jobs)), np.zeros(len(jobs), bool), []
        with bar(f"{PROTOCOL} {model.name} in {self.name}", len(jobs), quiet=self.quiet, unit="rollouts") as report:
            for first in range(0, len(jobs), size):
                some = slice(first, min(first + size, len(jobs)))
                which, starts = np.array(jobs[some]).T
                returns[some], ended[some], share = self._roll(model, which, starts)
                outside.append(share)
                report(some.stop, "")
        facts = {"terminated": float(ended.mean()), "outside": float(np.mean(outside))}
        return returns.reshape(len(self.policies), count), facts

    def _roll(self, model: WorldModel, which: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        device = next(model.parameters()).device
        variates = model.variates[self.name]
        window = first_row(self.starts[starts], variates).to(device)
        policy = acting(list(self.policies.values()), which, self.columns, np.random.default_rng(int(which[0])))
        rolled = model.rollout(
            window,
            observing(policy, variates),
            self.config.horizon,
            clip=self.config.clip,
            ending=ending(model, self.name, self.config.ending),
        )
        return rolled.returns(self.config.gamma).cpu().numpy(), rolled.terminated.cpu().numpy(), rolled.outside

    def _baseline(self, name: str, truth: Values, measure: Any) -> dict[str, Any]:
        settings = {
            "policies": [digest(policy) for policy in self.policies.values()],
            "data": self.manifest_hash,
            "environment": self.name,
            **{key: getattr(self.config, key) for key in ("gamma", "fitted_q")},
        }
        found = remember(self.folder, f"{name}-{self.name}", settings, measure)
        return {
            **_row(Values(mean=np.array(found["mean"]), draws=np.array(found["draws"])), truth),
            "seconds": found["seconds"],
        }

    def _fitted_q(self) -> dict[str, Any]:
        began, config = time.perf_counter(), self.config
        found = baselines.fitted_q(
            self.data, list(self.policies.values()), config.gamma, config.fitted_q, DRAWS, self.quiet
        )
        return _plain(found, began)

    def _importance_sampling(self) -> dict[str, Any]:
        began = time.perf_counter()
        policies = list(self.policies.values())
        return _plain(baselines.importance_sampling(self.data, policies, self.config.gamma, DRAWS, self.quiet), began)


def _plain(found: Values, began: float) -> dict[str, Any]:
    return {"mean": found.mean.tolist(), "draws": found.draws.tolist(), "seconds": time.perf_counter() - began}


def _draws(truths: list[Truth]) -> Values:
    """True values with draws from their standard errors."""
    mean, error = (np.array([getattr(truth, name) for truth in truths]) for name in ("value", "error"))
    noise = np.random.default_rng(0).standard_normal((DRAWS, len(mean)))
    return Values(mean=mean, draws=mean + error * noise)


def _row(estimated: Values, truth: Values) -> dict[str, Any]:
    """A row of the board."""
    return {
        "values": [float(value) for value in estimated.mean],
        "errors": [float(error) for error in estimated.draws.std(0)],
        "metrics": score(estimated, truth),
    }
