"""``wmzoo bench evaluation``: windows a second that ``transition/v1`` scores, beside the model's bare predictions."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from wmzoo.bench.machine import Machine
from wmzoo.bench.made import made_corpus, made_window
from wmzoo.bench.rows import RATE, Row, measure
from wmzoo.bench.train import Config as TrainBench
from wmzoo.bench.train import make_trainer
from wmzoo.evaluation import transition
from wmzoo.progress import bar
from wmzoo.recipe import setting
from wmzoo.training import Trainer

BATCH, REPEATS = 256, 3
SIZES = {"trajworld": "S", "tdm": "S", "mlp_ensemble": "paper"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is scored."""

    backbone: str = setting("", "whose predictions; of trajworld and mlp_ensemble if empty", choices=("", *SIZES))
    seconds: float = setting(4.0, "of bare predictions that are scored, as far as the made-up data go", low=0.01)
    device: str = setting("auto", "CUDA where there is one if auto", choices=("auto", "cpu", "cuda"))


def bench(config: Config, machine: Machine, quiet: bool = False) -> list[Row]:
    """Score test windows of made-up data with models of random weights, and predict as many without scoring."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = made_corpus(Path(folder) / "made.h5", 1)
        wanted = (config.backbone,) if config.backbone else ("trajworld", "mlp_ensemble")
        with bar("bench evaluation", len(wanted), quiet=quiet, unit="models") as report:
            rows = []
            for number, backbone in enumerate(wanted):
                rows.append(_row(config, corpus, backbone))
                report(number + 1, backbone)
            return rows


def _row(config: Config, corpus: Path, backbone: str) -> Row:
    smaller = TrainBench(device=config.device, settings=(f"model.backbone.size={SIZES[backbone]}",))
    trainer = make_trainer(smaller, corpus, backbone, "auto")
    model = trainer.model.eval()
    window = made_window(trainer.data.variates["made"], BATCH, model.context).to(trainer.device)
    bare = measure(lambda: model.predict(window), 5, trainer.device).row("", RATE, BATCH).ours
    windows = max(8, round(bare * config.seconds))
    few, many = (_scored(trainer, count) for count in (windows // 4, windows))
    rate = (many[0] - few[0]) / (many[1] - few[1])  # without what is done once: reading, fitting the floors
    return Row(
        what=f"transition/v1, {backbone} {SIZES[backbone]}, each further window",
        unit=RATE,
        ours=rate,
        least=rate,
        most=rate,
        floor=bare,
        why="the model's predictions of a ready batch",
    )


def _scored(trainer: Trainer, windows: int) -> tuple[int, float]:
    """How many windows were scored, and the least seconds that it took."""
    settings = transition.Config(windows=windows, rollouts=1, horizons=(1,), batch_size=BATCH)
    data, found = trainer.data, {}

    def evaluate() -> None:
        found.update(transition.evaluate(trainer.model, data.corpus, data.manifest, settings, progress=False))

    seconds = min(measure(evaluate, REPEATS, trainer.device).seconds)
    return sum(test["windows"] for test in found["tests"].values()), seconds
