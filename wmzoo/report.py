"""What ``wmzoo check``, ``evaluate`` and ``compare`` do and print."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wmzoo import checkpoint, compat, evaluation, pretraining, tracking
from wmzoo.cost import Cost, step_cost
from wmzoo.data.store import open_corpus
from wmzoo.errors import WmzooError
from wmzoo.files import read_json, write_json
from wmzoo.model import WorldModel
from wmzoo.progress import console
from wmzoo.recipe import Recipe, Source, check, plain, settings_of
from wmzoo.runs import RunData, borrow, prepare
from wmzoo.training import choose_device

if TYPE_CHECKING:
    from wmzoo.evaluation.compare import Options


def print_check(source: Source) -> Cost:
    """Check a recipe against its data and print what a training step costs.

    Args:
        source: a merged recipe.

    Raises:
        WmzooError: with every mistake found.
    """
    recipe = check(source)
    if recipe.init_from and pretraining.named(source.values) is None:
        checkpoint.find(recipe.init_from)
    data = prepare(recipe)
    cost = step_cost(recipe, data.variates, data.shares(recipe))
    parts = recipe.model
    lines = [
        f"{recipe.name}: {parts.tokenizer.name} > {parts.backbone.name} > {parts.head.name}, {recipe.objective.name}",
        f"  data        {_sets(data)}",
        f"  drawn       {_drawn(recipe, data)}",
        *([f"  terminated  {_terminated(data)}"] if recipe.data.terminated else []),
        f"  data hash   {data.manifest['sha256'][:12]}",
        f"  recipe hash {recipe.hash}",
        f"  compat      {compat.label(recipe)}",
        f"  parameters  {cost.parameters:,}",
        f"  a step      {cost.tokens:,} tokens, {cost.flops / 1e9:,.2f} GFLOP",
        f"  training    {recipe.train.steps:,} steps, {cost.tokens * recipe.train.steps:.3g} tokens, "
        f"{cost.flops * recipe.train.steps:.3g} FLOP",
        f"  memory      about {cost.memory / 1e6:,.0f} MB for weights, optimizer and activations",
    ]
    console().print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
    return cost


def _sets(data: RunData) -> str:
    """The sets by name if they are few, and the training episodes."""
    few = len(data.items) <= 8
    named = ", ".join(i.key for i in data.items) if few else f"{len(data.items)} sets"
    return (
        f"{named}: {len(data.variates)} environments, {sum(len(part.train) for part in data.splits)} training episodes"
    )


def _terminated(data: RunData) -> str:
    """What there is to learn of terminations."""
    ends = sum(int(i.episodes["terminated"][p.train].sum()) for i, p in zip(data.items, data.splits, strict=True))
    count = sum(len(part.train) for part in data.splits)
    return f"learned as one more state, from {ends:,} of {count:,} training episodes that do"


def _drawn(recipe: Recipe, data: RunData) -> str:
    """The share of each component in training, and what a batch is made of."""
    weights = data.sampler(recipe).weights
    shares: dict[str, float] = {}
    for item, weight in zip(data.items, weights, strict=True):
        shares[item.component] = shares.get(item.component, 0.0) + weight / sum(weights)
    told = ", ".join(f"{name} {share:.1%}".strip() for name, share in shares.items())
    return f"{told}; {recipe.data.batch} batches of {recipe.train.batch_size}"


def print_evaluation(
    run: str,
    protocol: str,
    overrides: Sequence[str] = (),
    corpus: str | None = None,
    sets: Sequence[str] = (),
    quiet: bool = False,
    like: Recipe | None = None,
) -> Path:
    """Evaluate a run, keep the result beside it and in MLflow, and print its summary.

    Args:
        run: a run's folder, or ``experiment/run``.
        protocol: such as ``transition/v1``.
        overrides: ``key=value`` settings of the protocol, over those of the recipe.
        corpus: where the corpus lies now, if it has moved since the run was trained; of an imported model, which one.
        sets: of an imported model, patterns of the sets that give the ranges, such as ``hopper/medium``.
        quiet: no progress bar.
        like: the recipe whose settings of the protocol count; the run's own if None.

    Returns:
        The result's file.

    Raises:
        WmzooError: no such run or protocol, a wrong setting, or data that the protocol refuses.
    """
    module = evaluation.find(protocol)
    folder = checkpoint.find(run).parent
    model = checkpoint.load(folder)
    model.to(choose_device("auto"))
    record, manifest = read_json(folder / "run.json"), read_json(folder / "manifest.json")
    config = _protocol_settings(like or model.recipe, protocol, module.Config, overrides)
    opened = None
    if getattr(module, "READS_CORPUS", True):
        manifest = test_data(run, model, manifest, corpus, sets)
        opened = open_corpus(corpus or manifest["corpus"])
    elif corpus or sets:
        raise WmzooError(f"{protocol}: reads no corpus; leave --corpus and --sets out.")
    result = module.evaluate(model, opened, manifest, config, progress=not quiet)
    path = folder / f"{evaluation.file_name(protocol)}.json"
    metrics, pictures = module.summary(result), _draw(module, result, path)
    tracking.log_evaluation(record["tracking_uri"], record["mlflow_run_id"], protocol, metrics, result, pictures)
    write_json(path, result)  # last, so that a run with this file is evaluated in MLflow too
    out = console()
    for line in module.describe(result):
        out.print(line, highlight=False)
    following = f"wmzoo compare {model.recipe.experiment} --protocol {protocol}"
    out.print("\n".join(map(str, pictures)), highlight=False, soft_wrap=True)
    out.print(f"{path}\nNext: {following}", highlight=False, soft_wrap=True)
    return path


def _draw(module: ModuleType, result: dict[str, Any], path: Path) -> list[Path]:
    """The pictures of an evaluation, beside its file and named after it, if the protocol makes some of one run."""
    if not hasattr(module, "pictures"):
        return []
    pictures = {path.with_name(f"{path.stem}-{name}"): found for name, found in module.pictures(result).items()}
    for place, picture in pictures.items():
        picture.draw(place)
    return list(pictures)


def test_data(
    run: str, model: WorldModel, manifest: dict[str, Any], corpus: str | None, sets: Sequence[str]
) -> dict[str, Any]:
    """The manifest to evaluate by: the run's own, or, of an imported model, one of the data that it is shown."""
    if "imported" not in manifest:
        if sets:
            raise WmzooError(f"--sets: {run} was trained here and is tested on its own sets; leave --sets out.")
        return manifest
    if not (corpus and sets):
        raise WmzooError(f"{run}: was imported, without data; add --corpus FILE and --sets, such as hopper/medium.")
    return borrow(model, corpus, tuple(sets))


def _protocol_settings(recipe: Recipe, protocol: str, config: type, overrides: Sequence[str]) -> Any:
    """The recipe's settings of a protocol, with overrides."""
    own = recipe.evaluate.get(evaluation.short_name(protocol))
    values = plain(own) if own else {}
    return settings_of(config, overrides, values)


def print_explanation(
    run: str,
    overrides: Sequence[str] = (),
    corpus: str | None = None,
    sets: Sequence[str] = (),
    quiet: bool = False,
) -> list[Path]:
    """Explain a run, see :func:`wmzoo.explain.explain`, and print the numbers and the files."""
    from wmzoo import explain

    paths = explain.explain(run, overrides, corpus, sets, quiet)
    told = explain.describe(read_json(paths[-1]))
    console().print("\n".join([*told, *map(str, paths)]), highlight=False, markup=False, soft_wrap=True)
    return paths


def print_comparison(
    experiment: str,
    uri: str,
    protocol: str,
    folder: Path | None = None,
    options: Options | None = None,
    named: Mapping[str, Path] | None = None,
    quiet: bool = False,
) -> list[Path]:
    """Print a comparison of an experiment's runs; write it as text and pictures, here and into the runs.

    Args:
        experiment: MLflow experiment.
        uri: of the tracking store.
        protocol: such as ``transition/v1``.
        folder: for the files; ``comparisons/<experiment>/<protocol>``, such as ``transition-v1``, if None, with the
            settings that rows are made by behind it, if any.
        options: what is compared, and how.
        named: files to write a form into besides, by suffix: ``.csv``, ``.md``, ``.tex`` and ``.png``.
        quiet: show no progress.

    Returns:
        The files written.

    Raises:
        WmzooError: there is no such protocol, experiment or store, or its runs may not stand in one table.
    """
    from wmzoo.evaluation import compare

    options = options or compare.Options()
    evaluation.short_name(protocol)  # there is such a protocol
    records, others = tracking.records(experiment, uri, protocol, versions=options.mixed, quiet=quiet)
    name = "-".join([evaluation.file_name(protocol), *(["by", *options.by] if options.by else [])])
    folder = folder or Path("comparisons") / experiment / name
    made = compare.make(records, options)
    made = dataclasses.replace(made, caption=[*made.caption, *others])
    compare.print_table(made, console())
    paths = compare.write(made, f"{experiment}: {protocol}", folder, named, quiet)
    own = [path for path in paths if path not in (named or {}).values()]
    tracking.log_comparison(uri, [record.run_id for record in records], protocol, own, name)
    console().print("\n".join(f"wrote {path}" for path in paths), highlight=False, soft_wrap=True)
    return paths
