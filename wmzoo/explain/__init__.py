"""What a trained model has learned, in pictures and numbers: attention over variates, the head's bins, errors.

Source: Yin et al. (2025), section 5.5 and appendix C.7, which show the pictures; the numbers beside them are ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wmzoo.errors import WmzooError, nearest
from wmzoo.recipe import setting

if TYPE_CHECKING:
    from wmzoo.data.store import TrajectorySet
    from wmzoo.evaluation.metrics import Units
    from wmzoo.model import WorldModel
    from wmzoo.trajectories import Window

PARTS = ("attention", "head", "variates")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is explained."""

    environment: str = setting("", "of the test windows; the first that the run trained on if empty")
    windows: int = setting(128, "test windows that attention and errors are averaged over", low=1)
    seed: int = setting(0, "of the t-SNE", low=0)


@dataclass(frozen=True, eq=False)
class Shown:
    """What a model is explained by.

    Attributes:
        model: in evaluation mode.
        item: the set of the windows.
        window: ``[N, T, M]`` unseen rows; the last one is to be predicted.
        units: of the errors.
    """

    model: WorldModel
    item: TrajectorySet
    window: Window
    units: Units


def explain(
    run: str,
    overrides: Sequence[str] = (),
    corpus: str | None = None,
    sets: Sequence[str] = (),
    quiet: bool = False,
) -> list[Path]:
    """Write ``explain.json`` and pictures into a run's folder and into MLflow.

    Args:
        run: a run's folder, or ``experiment/run``.
        overrides: ``key=value`` settings.
        corpus: where the corpus lies, if it has moved; of an imported model, which one.
        sets: of an imported model, patterns of the sets that give the ranges.
        quiet: show no progress.

    Returns:
        The files. What does not apply to a model is said in ``explain.json`` instead.

    Raises:
        WmzooError: no such run or environment, or data that don't fit.
    """
    from wmzoo import checkpoint, report, tracking
    from wmzoo.data.store import open_corpus
    from wmzoo.explain import errors, figures, head, maps
    from wmzoo.files import read_json, replacing, write_json
    from wmzoo.progress import bar
    from wmzoo.recipe import settings_of

    config = settings_of(Config, overrides, {})
    folder = checkpoint.find(run).parent
    model = checkpoint.load(folder)
    record, manifest = read_json(folder / "run.json"), read_json(folder / "manifest.json")
    manifest = report.test_data(run, model, manifest, corpus, sets)
    found: dict[str, Any] = {}
    paths = []
    with bar(f"explain {model.name}", len(PARTS), quiet=quiet, unit="parts") as tell:
        shown = _shown(model, open_corpus(corpus or manifest["corpus"]), manifest, config)
        found |= {"run": str(folder), "set": shown.item.key, "windows": len(shown.window)}
        made = (maps.measure, lambda one: head.measure(one, config.seed), errors.measure)
        for i, (part, measure) in enumerate(zip(PARTS, made, strict=True)):
            tell(i, part)
            found[part] = measure(shown)
            if "none" not in found[part]:
                paths.append(folder / "explain" / f"{part}.png")
                with replacing(paths[-1]) as partial:
                    figures.DRAW[part](found[part], shown.item.key, partial)
    write_json(folder / "explain" / "explain.json", found)
    paths.append(folder / "explain" / "explain.json")
    tracking.log_files(record["tracking_uri"], record["mlflow_run_id"], paths, "explain")
    return paths


def _shown(model: WorldModel, corpus: Any, manifest: Mapping[str, Any], config: Config) -> Shown:
    """Unseen windows of one set of an environment that the run was trained on."""
    from wmzoo.evaluation import cells
    from wmzoo.evaluation.metrics import Units

    environments = list(dict.fromkeys(corpus.sets[key].environment for key in manifest["sets"] if key in corpus.sets))
    if not environments:
        raise WmzooError(f"{corpus.path}: holds nothing that the run was trained on; give its corpus by --corpus.")
    name = config.environment or environments[0]
    if name not in environments:
        raise WmzooError(f'environment: the run was not trained on "{name}". {nearest(name, environments)}')
    own = {key: about for key, about in manifest["sets"].items() if corpus.sets[key].environment == name}
    (cell, *_) = [c for c in cells.choose(corpus, {**manifest, "sets": own}, model.variates) if c.item.key in own]
    rows = cells.draw(cell, model.context, config.windows)
    if not len(rows):
        raise WmzooError(f"{cell.item.key}: no test episode is as long as the model's context of {model.context} rows.")
    variates = model.variates[name]
    window = cells.cut(cell, rows, model.context + 1, {name: variates})
    # Columns that a model learns beside those of the corpus belong to no body.
    bodies = cell.item.bodies if len(cell.item.bodies) == len(variates.names) else ("",) * len(variates.names)
    return Shown(model, dataclasses.replace(cell.item, bodies=bodies), window, Units.of(variates))


def describe(found: Mapping[str, Any]) -> list[str]:
    """The numbers in sentences."""
    from wmzoo.explain import errors, head, maps

    parts = {"attention": maps.describe, "head": head.describe, "variates": errors.describe}
    return [found[part].get("none") or say(found[part]) for part, say in parts.items()]
