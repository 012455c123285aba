"""Recipes: YAML read and merged by OmegaConf, then checked against frozen dataclasses, all mistakes at once.

Nothing in a recipe is ever executed: no import paths, no resolvers, no interpolation.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import importlib
import json
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from wmzoo import compat, registry
from wmzoo.errors import WmzooError, nearest


def setting(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    unit: str = "",
    symbol: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """A field of a config dataclass, with what a user needs to know of it.

    Args:
        default: its value when a recipe is silent; required if left out.
        help: one line.
        unit: physical or counting unit.
        symbol: the paper's letter.
        low, high: smallest and largest allowed value, both included.
        choices: the allowed strings.
    """
    about = {
        "help": help,
        "unit": unit,
        "symbol": symbol,
        "low": low,
        "high": high,
        "choices": tuple(choices),
    }
    if isinstance(default, dict | list):
        return field(default_factory=lambda: type(default)(default), metadata=about)
    return field(default=default, metadata=about)


OBJECTIVE = "next_step"  # of a recipe that names none


@dataclass(frozen=True)
class Choice:
    """A part that a recipe names, with its settings."""

    name: str
    config: Any


def part(kind: str, default: str | None = None) -> Any:
    """A field that names a part of the registry and holds its settings."""
    metadata = {"kind": kind, "help": f"one of the {kind} and its settings"}
    if default is None:
        return field(metadata=metadata)
    return field(default_factory=lambda: Choice(default, registry.find(kind, default).config()), metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How episodes are dealt out to training, validation and test."""

    seed: int = setting(0, "of the shuffle of episodes", low=0)
    validation: float = setting(
        0.1, "share for choosing checkpoints and elites", unit="share of episodes", low=0.0, high=0.9
    )
    test: float = setting(0.1, "share kept for evaluation", unit="share of episodes", low=0.0, high=0.9)


SINGLE_ENVIRONMENT = "single_environment"
BATCHES = ("mixed", SINGLE_ENVIRONMENT)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which trajectories a model is trained on."""

    corpus: str = setting(help="path of an HDF5 corpus")
    components: tuple[str, ...] = setting(("*",), "components of the corpus, such as dmc; * matches any")
    environments: tuple[str, ...] = setting(help="sets of those, environment/level; * matches any")
    exclude: tuple[str, ...] = setting((), "sets or components to leave out of those")
    fraction: float = setting(1.0, "share of the training episodes of each set; one at least", low=0.0, high=1.0)
    weights: dict[str, float] = setting({}, "how often each set is drawn, relative to 1", low=0.0)
    mixture: dict[str, float] = setting(
        {}, "how often each component is drawn; its environments equally, `weights` among the sets of each", low=0.0
    )
    batch: str = setting("mixed", "whether windows of a batch may differ in environment", choices=BATCHES)
    window: int = setting(20, "rows of a training window", unit="steps", symbol="T", low=2)
    terminated: bool = setting(False, "let the model learn, as one more state, whether an episode terminates")
    trim: float = setting(
        0.0, "left outside of each end of a variate's training range", unit="share of rows", low=0.0, high=0.4
    )
    widen: float = setting(0.0, "added to each variate's training range at both ends", unit="physical", low=0.0)
    split: SplitConfig = field(default_factory=SplitConfig)
    memory: float = setting(2048.0, "of the corpus that stays mapped, in each process", unit="MB", low=1.0)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The three parts that a world model is composed of."""

    tokenizer: Choice = part("tokenizers")
    backbone: Choice = part("backbones")
    head: Choice = part("heads")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training loop for every model."""

    steps: int = setting(help="optimizer steps; with 0 the weights stay as they begin", low=0)
    batch_size: int = setting(64, "windows of a step, over all processes", symbol="B", low=1)
    accumulate: int = setting(1, "parts that a process cuts its batch into", low=1)
    optimizer: str = setting("adamw", "any optimizer of torch.optim or timm, by its lower-case name")
    learning_rate: float = setting(1e-4, "at its highest", low=0.0)
    weight_decay: float = setting(1e-5, "decoupled, on every parameter", low=0.0)
    warmup: int = setting(10_000, "steps over which the learning rate rises from 0", unit="steps", low=0)
    cosine: int | None = setting(None, "steps of the fall to 0; the rest of training if null", unit="steps", low=1)
    schedule: str = setting("cosine", "of the learning rate after the warm-up", choices=("cosine", "constant"))
    clip: float | None = setting(0.25, "largest norm of the gradient; any if null", low=0.0)
    precision: str = setting("auto", "bf16 on CUDA and fp32 on a CPU if auto", choices=("auto", "fp32", "bf16"))
    attention: str = setting("auto", "attention kernel", choices=("auto", "xformers", "sdpa", "matmul", "einsum"))
    compile: bool = setting(False, "torch.compile the backbones")
    recompute: bool = setting(
        False, "keep the inputs of blocks alone for the backward pass, and compute the rest again"
    )
    device: str = setting("auto", "CUDA where there is one if auto", choices=("auto", "cpu", "cuda"))
    validate_every: int = setting(1000, "steps between validations and checkpoints", unit="steps", low=1)
    validation_windows: int = setting(1024, "most windows of a validation", low=1)


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Where runs are recorded."""

    uri: str = setting("sqlite:///mlflow.db", "any MLflow tracking URI")
    folder: str = setting("runs", "folder of checkpoints and results")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A resolved recipe: everything that a run depends on, apart from the data themselves."""

    name: str = setting(help="of the model in tables and in MLflow")
    experiment: str = setting("wmzoo", "MLflow experiment")
    seed: int = setting(0, "of initialisation, batches and dropout", low=0)
    compat: str = setting("corrected", "follow the paper, or its released code", choices=("corrected", "official"))
    init_from: str | None = setting(None, "run, checkpoint, or recipe whose weights training starts from")
    data: DataConfig
    model: ModelConfig
    objective: Choice = part("objectives", OBJECTIVE)
    train: TrainConfig
    evaluate: dict[str, Any] = field(default_factory=dict, metadata={"evaluate": True, "help": "settings of protocols"})
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they would be written in YAML."""
        return plain(self)

    def to_yaml(self) -> str:
        """The resolved recipe as YAML text."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    @property
    def hash(self) -> str:
        """Of everything that makes the model, 12 hexadecimal digits.

        So not of where the corpus lies and results are written, nor of how the model is evaluated.
        """
        body = self.to_dict()
        del body["tracking"], body["evaluate"], body["data"]["corpus"], body["data"]["memory"]
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]


def plain(value: Any) -> Any:
    """Plain values of a config dataclass, as they would be written in YAML."""
    if isinstance(value, Choice):
        return {"name": value.name, **plain(value.config)}
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


# --- reading and merging ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A recipe as written: merged plain values, and where each dotted path was written last."""

    values: dict[str, Any]
    places: dict[str, str]

    def place(self, path: str) -> str:
        """``file:line`` of a dotted path, or of the nearest one around it."""
        path = path.partition("[")[0]  # the items of a list have no place of their own
        while path and path not in self.places:
            path = path.rpartition(".")[0]
        return self.places.get(path, "the recipe")


def folder() -> Path:
    """Where the recipes of the package lie."""
    return Path(next(iter(importlib.import_module("wmzoo.recipes").__path__)))


def names() -> dict[str, Path]:
    """The recipes for training, by name: those of the package and of a ``recipes/`` folder here."""
    return {name: path for name, path in _all().items() if not name.startswith("data/")}


def data_names(prefix: str = "") -> dict[str, Path]:
    """The recipes for collecting data, by name (after ``prefix``)."""
    return {prefix + name.removeprefix("data/"): path for name, path in _all().items() if name.startswith("data/")}


def _all() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for root in (folder(), Path.cwd() / "recipes"):
        for path in sorted(root.rglob("*.yaml")):
            found.setdefault(path.relative_to(root).with_suffix("").as_posix(), path)
    return found


def locate(recipe: str, known: Mapping[str, Path]) -> Path:
    """The file of a recipe given by path or by name.

    Args:
        recipe: path or name.
        known: recipes by name.

    Raises:
        WmzooError: there is none.
    """
    if Path(recipe).is_file():
        return Path(recipe)
    wanted = recipe.removeprefix("recipes/").removesuffix(".yaml")  # as in a checkout, wherever one works
    if wanted in known:
        return known[wanted]
    inner = [path for name, path in known.items() if name.rpartition("/")[2] == wanted]
    if len(inner) == 1:  # backbones for grids/backbones
        return inner[0]
    raise WmzooError(f'no recipe "{recipe}": neither a file nor a known name. {nearest(recipe, known)}')


def read(recipe: str | Path, overrides: Sequence[str] = (), known: Mapping[str, Path] | None = None) -> Source:
    """Read a recipe and its parents, and apply ``key.path=value`` overrides.

    When a part's name changes, what the parent set for the other part is dropped.

    Raises:
        WmzooError: a file can't be read or parsed, or an override is not ``key=value``.
    """
    known = names() if known is None else known
    return overridden(_read_file(locate(str(recipe), known), known, ()), overrides)


def overridden(source: Source, overrides: Sequence[str]) -> Source:
    """Apply ``key.path=value`` texts of the command line.

    Raises:
        WmzooError: a text is not of that form.
    """
    for text in overrides:
        update = parse_overrides([text])
        key = text.partition("=")[0]
        source = _merge(source, Source(update, {path: f"command line ({key})" for path in _paths(update)}))
    return source


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Nested values of ``key.path=value`` texts.

    Raises:
        WmzooError: a text is not of that form.
    """
    for text in overrides:
        key, equals, _ = text.partition("=")
        if not equals or not key:
            raise WmzooError(f'command line: "{text}" is not key.path=value.')
    try:
        return _container(OmegaConf.from_dotlist(list(overrides)))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise WmzooError(f"command line: {' '.join(overrides)}: can't be read ({error}).") from error


def override(source: Source, values: Mapping[str, Any], place: str) -> Source:
    """Apply values by dotted path, as a cell of a grid does."""
    for key, value in values.items():
        update: Any = _as_part(value) if key in PARTS else value
        for part in reversed(key.split(".")):
            update = {part: update}
        source = _merge(source, Source(update, {path: f"{place} ({key})" for path in _paths(update)}))
    return source


def _read_file(path: Path, known: Mapping[str, Path], seen: tuple[Path, ...]) -> Source:
    if path in seen:
        raise WmzooError(f"{path}: extends itself through {seen[-1]}; remove one `extends`.")
    try:
        values, places = copy.deepcopy(_parsed(path, path.stat().st_mtime_ns))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise WmzooError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}.") from error
    except (OSError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise WmzooError(f"{path}: can't be read as a recipe ({error}).") from error
    if not isinstance(values, dict):
        raise WmzooError(f"{path}: a recipe is a mapping of settings, such as `name: my_model`.")
    source = Source(values, places)
    if "extends" not in values:
        return source
    parent = values.pop("extends")
    if not isinstance(parent, str) or not parent:
        raise WmzooError(f"{source.place('extends')}: extends: must be one recipe's name or path, not {parent!r}.")
    beside = path.parent / f"{parent}.yaml"
    try:
        found = beside if beside.is_file() and beside != path else locate(parent, known)
    except WmzooError as error:
        raise WmzooError(f"{source.place('extends')}: extends: {error}") from error
    return _merge(_read_file(found, known, (*seen, path)), source)


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, changed: int) -> tuple[Any, dict[str, str]]:
    """What a file holds, and where each dotted path stands; a grid reads the same file for each of its cells."""
    return _container(OmegaConf.load(path)), dict(_lines(yaml.compose(path.read_text(), yaml.SafeLoader), path, ""))


def _container(config: Any) -> Any:
    return OmegaConf.to_container(config, resolve=False)


def _lines(node: Any, path: Path, prefix: str) -> typing.Iterator[tuple[str, str]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            dotted = f"{prefix}{key.value}"
            yield dotted, f"{path}:{key.start_mark.line + 1}"
            yield from _lines(value, path, dotted + ".")


def _paths(values: Any, prefix: str = "") -> list[str]:
    if not isinstance(values, dict):
        return []
    return [p for k, v in values.items() for p in (f"{prefix}{k}", *_paths(v, f"{prefix}{k}."))]


PARTS = tuple(compat.KINDS)


def _as_part(value: Any) -> Any:
    """``backbone: tdm`` is short for ``backbone: {name: tdm}``."""
    return {"name": value} if isinstance(value, str) else value


def _merge(parent: Source, child: Source, parts: Sequence[str] = PARTS) -> Source:
    base, update = copy.deepcopy(parent.values), copy.deepcopy(child.values)
    for path in parts:
        old, new = _normalise_part(base, path), _normalise_part(update, path)
        if new and "name" in new and old and old.get("name") != new["name"]:
            old.clear()
    return Source(_merged(base, update), {**parent.places, **child.places})


def _merged(base: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """Mappings one over the other, lists replaced; as OmegaConf merges, which takes 30 ms, and grids merge often."""
    made = dict(base)
    for key, value in update.items():
        both = isinstance(value, dict) and isinstance(made.get(key), dict)
        made[key] = _merged(made[key], value) if both else copy.deepcopy(value)
    return made


def _normalise_part(values: dict[str, Any], path: str) -> dict[str, Any] | None:
    """The settings of a part inside ``values``, made a mapping in place; None where it is not set."""
    *outer, last = path.split(".")
    for key in outer:
        if not isinstance(values.get(key), dict):
            return None
        values = values[key]
    if last not in values:
        return None
    values[last] = _as_part(values[last])
    return values[last] if isinstance(values[last], dict) else None


# --- checking --------------------------------------------------------------------------------------------------


def load(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, merge and check a recipe for one run.

    Args:
        recipe: path or name.
        overrides: ``key.path=value`` each.

    Raises:
        WmzooError: with every mistake found, each with its dotted path, place and remedy.
    """
    return check(read(recipe, overrides))


def check(source: Source) -> Recipe:
    """Turn a merged recipe into checked dataclasses.

    Raises:
        WmzooError: with every mistake found.
    """
    problems: list[str] = []
    stated = {key: value for key, value in source.values.items() if key != "grid"}
    values = {"objective": {"name": OBJECTIVE}, **stated}
    values = _inherited(values, source.place("init_from")) if values.get("init_from") else values
    for path in PARTS:
        _normalise_part(values, path)
    values = compat.apply(values) if values.get("compat") == compat.OFFICIAL else values

    def report(path: str, message: str) -> None:
        problems.append(f"{source.place(path)}: {path}: {message}")

    recipe = _build(Recipe, values, "", report)
    if recipe is not None and not problems:
        for path, message in combination_problems(recipe):
            report(path, message)
    if problems:
        raise WmzooError(*problems)
    return recipe


def _inherited(values: dict[str, Any], place: str) -> dict[str, Any]:
    """What a recipe that starts from a checkpoint leaves unsaid: the model, its window, official or corrected."""
    from wmzoo import checkpoint, pretraining
    from wmzoo.runs import run_folder

    try:
        earlier = pretraining.named(values)
        if earlier is not None:
            values = {**values, "init_from": str(run_folder(earlier))}
        if "model" in values:  # a finished run says all of it, and opens without the checkpoint that it started from
            return values
        found = str(values["init_from"])
        parent = checkpoint.header(checkpoint.find(found))["recipe"] if earlier is None else earlier.to_dict()
    except WmzooError as error:
        raise WmzooError(
            *(f"{place}: init_from: {told.removeprefix('init_from: ')}" for told in error.problems)
        ) from error
    data = {"window": parent["data"]["window"], **(values.get("data") or {})}
    switch = values.get("compat", parent["compat"])
    return {**values, "compat": switch, "model": compat.inherited(parent["model"], switch), "data": data}


def combination_problems(recipe: Recipe) -> list[tuple[str, str]]:
    """Settings that are each valid but can't go together, as (dotted path, sentence)."""
    found = []
    for path, choice in zip(PARTS, (*_choices(recipe.model), recipe.objective), strict=True):
        if hasattr(choice.config, "problems"):
            found += [(f"{path}.{name}", message) for name, message in choice.config.problems(recipe)]
    if recipe.data.split.validation + recipe.data.split.test >= 1:
        found.append(("data.split", "validation and test leave no episodes for training; make them smaller."))
    for name, weight in recipe.data.mixture.items():
        if not 0 < weight < math.inf:
            message = f"must be a number above 0, not {weight:g}; leave a component out by data.exclude."
            found.append((f"data.mixture.{name}", message))
    if recipe.train.batch_size % recipe.train.accumulate:
        message = f"{recipe.train.batch_size} windows can't be cut into {recipe.train.accumulate} equal parts."
        found.append(("train.accumulate", message))
    return found


def _choices(model: ModelConfig) -> tuple[Choice, Choice, Choice]:
    return model.tokenizer, model.backbone, model.head


Report = Callable[[str, str], None]


def build_config(cls: type, values: Mapping[str, Any], prefix: str, report: Report) -> Any:
    """Check plain values against a config dataclass; None if anything was reported.

    Args:
        cls: a frozen dataclass made of :func:`setting` fields.
        values: what was written.
        prefix: dotted path of the values, ending in a dot unless empty.
        report: takes the dotted path and the sentence of each mistake.
    """
    return _build(cls, values, prefix, report)


def settings_of(cls: type, overrides: Sequence[str], values: Mapping[str, Any] | None = None) -> Any:
    """Settings of a command from its ``key=value`` arguments.

    Args:
        cls: a frozen dataclass made of :func:`setting` fields.
        overrides: as written on the command line.
        values: what holds where they are silent, in place of the defaults.

    Raises:
        WmzooError: with every mistake found.
    """
    problems: list[str] = []
    parts = {f.name: f.default_factory for f in dataclasses.fields(cls) if "kind" in f.metadata}
    defaults = {name: make().name for name, make in parts.items() if callable(make)}
    source = Source({**defaults, **(values or {})}, {})
    for text in overrides:
        source = _merge(source, Source(parse_overrides([text]), {}), list(parts))
    built = build_config(
        cls, source.values, "", lambda path, message: problems.append(f"command line: {path}: {message}")
    )
    if problems:
        raise WmzooError(*problems)
    return built


def _build(cls: type, values: Mapping[str, Any], prefix: str, report: Report) -> Any:
    known = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    mistakes = 0

    def noted(path: str, message: str) -> None:
        nonlocal mistakes
        mistakes += 1
        report(path, message)

    for key in values:
        if key not in known:
            noted(f"{prefix}{key}", f"unknown setting. {nearest(str(key), known)}")
    checked = {}
    for name, about in known.items():
        if name in values:
            checked[name] = _value(values[name], hints[name], about, f"{prefix}{name}", noted)
        elif about.default is dataclasses.MISSING and about.default_factory is dataclasses.MISSING:
            noted(f"{prefix}{name}", f"missing; add it ({about.metadata.get('help') or 'a group of settings'}).")
    return None if mistakes else cls(**checked)


def _value(value: Any, hint: Any, about: dataclasses.Field[Any], path: str, report: Report) -> Any:
    """Check one value against its type and limits."""
    if isinstance(value, str) and "${" in value:
        return report(path, "interpolation is not read; write the value itself.")
    if "kind" in about.metadata:
        return _part(value, about.metadata["kind"], path, report)
    if about.metadata.get("evaluate"):
        return _protocols(value, path, report)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            return report(path, f"must be a group of settings, not {value!r}.")
        return _build(typing.cast(type, hint), value, f"{path}.", report)
    return _leaf(value, hint, about, path, report)


def _leaf(value: Any, hint: Any, about: dataclasses.Field[Any], path: str, report: Report) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType and type(None) in inner:
        if value is None:
            return None
        return _leaf(value, next(a for a in inner if a is not type(None)), about, path, report)
    if origin is tuple:
        listed = value if isinstance(value, list | tuple) else [value]
        return tuple(_leaf(item, inner[0], about, f"{path}[{i}]", report) for i, item in enumerate(listed))
    if origin is dict:
        if not isinstance(value, dict):
            return report(path, f"must be a mapping, not {value!r}.")
        return {str(k): _leaf(v, inner[1], about, f"{path}.{k}", report) for k, v in value.items()}
    return _scalar(value, hint, about, path, report)


WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def _scalar(value: Any, hint: Any, about: dataclasses.Field[Any], path: str, report: Report) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint is str and isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        return report(path, f"must be {WORDS[hint]}, not {value!r}.")
    low, high, choices = (about.metadata.get(key) for key in ("low", "high", "choices"))
    if low is not None and not value >= low or high is not None and not value <= high:
        limits = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
        return report(path, f"must be {limits}, not {value}.")
    if choices and value not in choices:
        return report(path, f'"{value}" is not known. {nearest(str(value), choices)}')
    return value


def _part(value: Any, kind: str, path: str, report: Report) -> Any:
    value = {"name": value} if isinstance(value, str) else value
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return report(path, f"must name one of the {kind}: {', '.join(registry.paths(kind))}.")
    settings = {key: item for key, item in value.items() if key not in ("name", "size")}
    try:
        found = registry.find(kind, value["name"])
    except WmzooError as error:
        return report(f"{path}.name", error.problems[0])
    if "size" in value:
        if value["size"] not in found.presets:
            return report(
                f"{path}.size",
                f'unknown size "{value["size"]}". {nearest(str(value["size"]), found.presets)}',
            )
        settings = {**found.presets[value["size"]], **settings}
    config = _build(found.config, settings, f"{path}.", report)
    return None if config is None else Choice(value["name"], config)


def _protocols(value: Any, path: str, report: Report) -> Any:
    from wmzoo import evaluation

    if not isinstance(value, dict):
        return report(path, f"must be a mapping of protocols, not {value!r}.")
    checked = {}
    for name, settings in value.items():
        if name not in evaluation.short_names():
            report(f"{path}.{name}", f"unknown protocol. {nearest(str(name), evaluation.short_names())}")
            continue
        checked[name] = _build(evaluation.config_of(name), settings or {}, f"{path}.{name}.", report)
    return checked
