"""The command line. A wrong input gets a sentence and exit code 2, never a traceback."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from wmzoo import __version__
from wmzoo.errors import WmzooError, nearest

DESCRIPTION = "World models for control."
EPILOG = "Start with `wmzoo ls`; `wmzoo COMMAND --help` tells more. Settings are given as key.path=value."
GO_ON = "what was finished is kept: repeat the command to go on (train with --resume)."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code is 0, 1 for a job that failed, 2 for a wrong input, or 130 when interrupted."""
    # Idle threads that spin starve the others when cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    options = _parse(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except WmzooError as error:
        for problem in error.problems:
            print(f"wmzoo: {problem}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt as interrupt:
        print(f"wmzoo: interrupted; {str(interrupt) or GO_ON}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` say, had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse, with settings allowed behind options too, which argparse alone refuses."""
    parser = _parser()
    options, extra = parser.parse_known_args(arguments)
    stray = [text for text in extra if text.startswith("-") or "=" not in text or not hasattr(options, "settings")]
    if stray:
        options.parser.error(_unknown(stray[0], options.parser))
    if extra:
        options.settings = [*options.settings, *extra]
    return options


def _unknown(text: str, parser: argparse.ArgumentParser) -> str:
    """What is wrong with an argument that a command does not take."""
    if not text.startswith("-"):
        return f'"{text}" is one argument too many'
    name = text.partition("=")[0]
    return f'unknown option "{name}". {nearest(name, set(re.findall(r"--[a-z-]+", parser.format_help())))}'


class _Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in one sentence, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        """Tell, and exit with code 2."""
        remedy = "" if message.endswith(".") else f"; see `{self.prog} --help`."
        self.exit(2, f"{self.prog}: {message}{remedy}\n")


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(prog="wmzoo", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"wmzoo {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    ls = _add(commands, "ls", _ls, "list parts, recipes, formats, environments, corpora and protocols")
    ls.add_argument("kind", nargs="?", default="", help="one section in full, such as environments")
    show = _add(commands, "show", _show, "the card of a part or a recipe: what it is, its settings, its paper")
    show.add_argument("name", help="such as trajworld, or backbones/trajworld where a name is used twice")
    show.add_argument("--resolved", action="store_true", help="of a recipe: all settings of it, as YAML")
    _settings(show, "of a resolved recipe, such as seed=0")
    diff = _add(commands, "diff", _diff, "the settings in which two recipes differ")
    diff.add_argument("first", help="a recipe's name or file")
    diff.add_argument("second", help="another one")
    _settings(diff, "settings of the second, such as train.steps=100")
    _part_commands(commands)

    check = _add(commands, "check", _check, "validate a recipe and count its cost; trains nothing")
    _recipe_arguments(check)
    train = _add(commands, "train", _train, "train a recipe")
    _recipe_arguments(train)
    train.add_argument("--resume", action="store_true", help="go on after the last checkpoint")
    _quiet(train)

    grid = _add(commands, "grid", _grid, "train, evaluate and compare all cells of a grid; goes on where it stopped")
    _recipe_arguments(grid)
    _grid_arguments(grid)
    scaling = _add(commands, "scaling", _scaling, "train a family of sizes and fit power laws; goes on where it was")
    _recipe_arguments(scaling)
    scaling.add_argument("--metric", help="what the laws are of; nmae, the error of transition/v1, if left out")
    scaling.add_argument("--to", type=Path, help="folder for the files (comparisons/EXPERIMENT/scaling)")
    _grid_arguments(scaling)
    _result_commands(commands)
    _exchange_commands(commands)
    quickstart = _add(commands, "quickstart", _quickstart, "collect, train three models, evaluate, compare")
    _settings(quickstart, "settings of the quickstart recipe")
    _data_commands(commands)
    _bench_commands(commands)
    return parser


def _part_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    new = _add(commands, "new", _new, "begin a part of your own: a working file and a recipe of it")
    new.add_argument("kind", help="backbone")
    new.add_argument("name", help="such as my_mixer")
    test = _add(commands, "test", _test, "what every part of its kind must pass, run on one part")
    test.add_argument("part", help="such as backbones/my_mixer")


def _grid_arguments(grid: argparse.ArgumentParser) -> None:
    grid.add_argument("--dry-run", action="store_true", help="check and list the cells with their costs; start none")
    grid.add_argument("--workers", type=int, help="cells at a time; as many as there are cores or GPUs if left out")
    grid.add_argument("--engine", default="local", help="local processes, ray or slurm (local)")
    grid.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="k=v",
        help="of Ray's tasks or SLURM's jobs, such as num_gpus=1",
    )
    _quiet(grid)


def _result_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = _add(commands, "evaluate", _evaluate, "run an evaluation protocol on a trained run")
    evaluate.add_argument("run", help="a run's folder, or experiment/run")
    evaluate.add_argument("protocol", help="such as transition/v1")
    _settings(evaluate, "settings of the protocol")
    _where(evaluate)
    _quiet(evaluate)

    explain = _add(commands, "explain", _explain, "attention over variates, the head's bins and errors, as pictures")
    explain.add_argument("run", help="a run's folder, or experiment/run")
    _settings(explain, "settings, such as environment=hopper")
    _where(explain)
    _quiet(explain)

    compare = _add(commands, "compare", _compare, "one table of an experiment's runs; also .csv, .md, .tex and .png")
    compare.add_argument("experiment")
    compare.add_argument("--protocol", default="transition/v1")
    compare.add_argument("--uri", default="sqlite:///mlflow.db", help="MLflow tracking URI")
    compare.add_argument("--to", type=Path, help="folder for the files (comparisons/EXPERIMENT/PROTOCOL)")
    compare.add_argument("--by", help="settings that make a row, such as model.backbone.name,model.tokenizer.name")
    compare.add_argument("--baseline", default="", help="the row that the others are measured by, such as tdm")
    for name, what in (("md", "Markdown"), ("csv", "CSV"), ("tex", "LaTeX"), ("png", "picture")):
        compare.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write the {what} to this file too")
    compare.add_argument("--mixed", action="store_true", help="allow different data or protocol settings in one table")
    compare.add_argument(
        "--published", action="store_true", help="put numbers of the paper beside, as far as there are"
    )

    ui = _add(commands, "ui", _ui, "the MLflow pages, on 127.0.0.1 only")
    ui.add_argument("--port", type=int, default=5000)
    ui.add_argument("--uri", default="sqlite:///mlflow.db", help="MLflow tracking URI")


def _where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", help="where the corpus lies, if it has moved; of an imported model, which one")
    parser.add_argument(
        "--sets", action="append", default=[], help="of an imported model: sets that give ranges, such as hopper/medium"
    )


def _exchange_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    fetch = _add(commands, "import", _import, "open a checkpoint of the released TrajWorld code as a run of its own")
    fetch.add_argument("file", type=Path, help="trm_dynamics*.pkl or mlp_dynamics*.pkl")
    fetch.add_argument("--as", dest="kind", required=True, help="trajworld, tdm or mlp_ensemble")
    fetch.add_argument("--out", type=Path, required=True, help="folder to make, such as pretrained/trajworld")
    fetch.add_argument("--environment", default="", help="what it was fine-tuned on, such as hopper")
    fetch.add_argument("--states", type=int, help="number of states among its variates, if it was fine-tuned")
    _settings(fetch, "settings, such as name=released")

    export = _add(commands, "export", _export, "write a run's weights as a checkpoint of the released TrajWorld code")
    export.add_argument("run", help="a run's folder, or experiment/run")
    export.add_argument("--as", dest="form", required=True, help="official")
    export.add_argument("--out", type=Path, default=Path("exported"), help="folder for the files (exported)")


def _bench_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from wmzoo.bench import PARTS

    about = "measure the zoo on this machine, beside the least that it allows and beside plain ways"
    bench = _add(commands, "bench", _bench, about)
    parts = f"{', '.join(PARTS[:-1])} or {PARTS[-1]}"
    bench.add_argument("part", nargs="?", default="", help=f"{parts}; all of them if left out")
    _settings(bench, "settings of the part, such as backbone=tdm")
    bench.add_argument("--layouts", action="store_true", help="data alone: copy the corpus into other layouts instead")
    bench.add_argument("--json", action="store_true", help="print JSON")
    bench.add_argument("--uri", default="sqlite:///mlflow.db", help="MLflow tracking URI; nothing is kept if empty")
    _quiet(bench)


def _data_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "collect, import, merge, check, cut and export corpora"
    data = commands.add_parser("data", help=about, description=f"{about.capitalize()}.")
    verbs = data.add_subparsers(required=True, metavar="VERB")
    collect = _add(verbs, "collect", _data_collect, "collect trajectories into a corpus; goes on where it stopped")
    collect.add_argument("recipe", help="a data recipe, such as quickstart")
    _settings(collect, "settings of the recipe, such as steps=1000")
    collect.add_argument("--workers", type=int, help="processes; as many as there are cores if left out")
    collect.add_argument("--shard", default="1/1", help="3/16 collects the third of sixteen shares, for merging")
    _quiet(collect)
    fetch = _add(verbs, "import", _data_import, "read foreign trajectory files into a corpus; goes on where it stopped")
    fetch.add_argument("format", help="such as d4rl; `wmzoo ls` lists them")
    fetch.add_argument("paths", nargs="+", metavar="path|k=v", help="files and folders; settings, such as level=medium")
    fetch.set_defaults(settings=[])  # those behind options land here
    fetch.add_argument("--to", type=Path, required=True, help="the corpus to make, such as corpora/d4rl")
    _quiet(fetch)
    policies = _add(verbs, "policies", _data_policies, "train behaviour policies of graded quality")
    policies.add_argument("environment")
    policies.add_argument("--to", type=Path, required=True, help="folder for the policies")
    policies.add_argument("--method", help="ars, ppo or sac; what the shipped policies were made by if left out")
    policies.add_argument("--seed", type=int, default=0)
    policies.add_argument("--steps", type=int, help="transitions of training; those of the shipped if left out")
    _corpus_commands(verbs)


def _corpus_commands(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    info = _add(verbs, "info", _data_info, "what a corpus holds, and what is wrong with it")
    info.add_argument("corpus")
    info.add_argument("--variates", action="store_true", help="the ranges of the variates of each set")
    table = _add(verbs, "table", _data_table, "a line for each environment of a corpus: size, cost, returns")
    table.add_argument("corpus")
    table.add_argument("--md", type=Path, help="a Markdown file to write it into")
    check = _add(verbs, "check", _data_check, "read a whole corpus and say what is wrong with it")
    check.add_argument("corpus")
    merge = _add(verbs, "merge", _data_merge, "join corpora, such as the shards of a collection")
    merge.add_argument("corpora", nargs="+", metavar="corpus")
    merge.add_argument("--to", type=Path, required=True, help="the corpus to make")
    _quiet(merge)
    part = _add(verbs, "subset", _data_subset, "copy a part of a corpus")
    part.add_argument("corpus")
    _settings(part, "fraction=0.1, components=[...], include=[...], exclude=[...]")
    part.add_argument("--to", type=Path, required=True, help="the corpus to make")
    export = _add(verbs, "export", _data_export, "write sets of a corpus as Minari data sets")
    export.add_argument("corpus")
    export.add_argument("--as", dest="form", required=True, help="minari")
    export.add_argument("--to", type=Path, required=True, help="folder, for MINARI_DATASETS_PATH")
    export.add_argument(
        "--sets", action="append", default=[], help="patterns of sets, such as hopper/*; all if left out"
    )
    _quiet(export)


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    function: Callable[[argparse.Namespace], None],
    text: str,
) -> argparse.ArgumentParser:
    about = text[0].upper() + text[1:] + "."
    parser = commands.add_parser(name, help=text, description=about, allow_abbrev=False)
    parser.set_defaults(command=function, parser=parser)
    return parser


def _recipe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a recipe's name or file")
    _settings(parser, "settings, such as train.steps=100")


def _settings(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("settings", nargs="*", default=[], metavar="k=v", help=text)


def _quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


# Each command imports what it needs, so that listing is quick.


def _ls(options: argparse.Namespace) -> None:
    from wmzoo import cards

    cards.print_list(options.kind)


def _show(options: argparse.Namespace) -> None:
    from wmzoo import cards, resolved

    if options.settings and not options.resolved:
        raise WmzooError("command line: settings belong to a resolved recipe; add --resolved.")
    if options.resolved:
        resolved.print_resolved(options.name, options.settings)
    else:
        cards.print_card(options.name)


def _diff(options: argparse.Namespace) -> None:
    from wmzoo import resolved

    resolved.print_diff(options.first, options.second, options.settings)


def _new(options: argparse.Namespace) -> None:
    from wmzoo import new

    for path in new.begin(options.kind, options.name):
        print(path)
    print(f"Next: wmzoo test {new.KINDS[options.kind]}/{options.name}   and   wmzoo check {options.name}")


def _test(options: argparse.Namespace) -> None:
    from wmzoo import conformance

    conformance.run(options.part)


def _check(options: argparse.Namespace) -> None:
    from wmzoo import grid, report

    for source in grid.cells(options.recipe, options.settings):
        report.print_check(source)


def _train(options: argparse.Namespace) -> None:
    from wmzoo import grid, pretraining, recipe, training
    from wmzoo.gridrun import plan
    from wmzoo.interrupts import terminated_is_interrupted

    sources = grid.cells(options.recipe, options.settings)
    if len(sources) > 1:
        names = ", ".join(dict.fromkeys(str(source.values["name"]) for source in sources))
        raise WmzooError(
            f"{options.recipe}: its grid makes {len(sources)} recipes; choose one by settings, such as seed=0 and "
            f"name=one of: {names}."
        )
    checked = recipe.check(sources[0])
    pretraining.require(sources[0])
    with terminated_is_interrupted():
        folder = training.train(checked, resume=options.resume, quiet=options.quiet)
    print("\n".join([str(folder), *(f"Next: wmzoo evaluate {folder} {name}" for name in plan.protocols(checked))]))


def _evaluate(options: argparse.Namespace) -> None:
    from wmzoo import report

    report.print_evaluation(
        options.run, options.protocol, options.settings, options.corpus, options.sets, options.quiet
    )


def _explain(options: argparse.Namespace) -> None:
    from wmzoo import report

    report.print_explanation(options.run, options.settings, options.corpus, options.sets, options.quiet)


def _import(options: argparse.Namespace) -> None:
    from wmzoo.released import importer

    told = importer.Told(environment=options.environment, states=options.states)
    folder = importer.import_file(options.file, options.kind, options.out, told, options.settings)
    print(f"{folder}\nNext: wmzoo evaluate {folder} transition/v1 --corpus corpora/quickstart.h5 --sets hopper/medium")


def _export(options: argparse.Namespace) -> None:
    from wmzoo.released import exporter

    for path in exporter.export(options.run, options.form, options.out):
        print(path)
    print("The released scripts treat it as compat: official does, however it was trained; see `wmzoo show compat`.")


def _compare(options: argparse.Namespace) -> None:
    from wmzoo import report
    from wmzoo.evaluation.compare import SUFFIXES, Options

    by = tuple(filter(None, (path.strip() for path in (options.by or "").split(","))))
    chosen = Options(mixed=options.mixed, published=options.published, by=by, baseline=options.baseline)
    named = {suffix: path for suffix in SUFFIXES if (path := getattr(options, suffix[1:]))}
    for suffix, path in named.items():
        if path.suffix != suffix:
            raise WmzooError(f"--{suffix[1:]} {path}: name a file that ends in {suffix}.")
    report.print_comparison(options.experiment, options.uri, options.protocol, options.to, chosen, named)


def _grid(options: argparse.Namespace) -> None:
    from wmzoo.gridrun import running

    running.run(options.recipe, options.settings, **_how(options))


def _scaling(options: argparse.Namespace) -> None:
    from wmzoo.scaling import report

    report.run(options.recipe, options.settings, options.metric, options.to, **_how(options))


def _how(options: argparse.Namespace) -> dict[str, Any]:
    """How a grid is run."""
    from wmzoo import recipe

    given = {name: getattr(options, name) for name in ("workers", "engine", "quiet")}
    return {**given, "dry": options.dry_run, "options": recipe.parse_overrides(options.option)}


def _ui(options: argparse.Namespace) -> None:
    from wmzoo import ui

    ui.serve(options.uri, options.port)


def _quickstart(options: argparse.Namespace) -> None:
    from wmzoo import quickstart

    quickstart.run(options.settings)


def _bench(options: argparse.Namespace) -> None:
    from wmzoo import bench
    from wmzoo.bench import data, rows

    if options.part and options.part not in bench.PARTS:
        raise WmzooError(f'bench: unknown part "{options.part}". {nearest(options.part, bench.PARTS)}')
    if options.layouts:
        if options.part != "data":
            raise WmzooError("bench: --layouts belongs to `wmzoo bench data`.")
        data.print_ways(data.compare_layouts(options.settings, options.quiet), options.json)
        return
    rows.print_rows(bench.run(options.part, options.settings, options.uri, options.quiet), options.json)


def _data_collect(options: argparse.Namespace) -> None:
    from wmzoo.collect import collector

    wanted, shard = collector.read(options.recipe, options.settings), collector.Shard.parse(options.shard)
    workers = len(os.sched_getaffinity(0)) if options.workers is None else options.workers
    if workers < 1:
        raise WmzooError(f"--workers: {workers} processes; give at least 1.")
    path = collector.collect(wanted, options.quiet, workers, shard)
    shards = shard.path(Path(wanted.corpus)).with_name(f"{Path(wanted.corpus).stem}.shard-*")
    merge = f"data merge {shards} --to {wanted.corpus}   # when all {shard.count} are there"
    print(f"{path}\nNext: wmzoo {merge if shard.count > 1 else f'data info {path}'}")


def _data_import(options: argparse.Namespace) -> None:
    from wmzoo.data import importing

    settings = [text for text in options.paths if "=" in text and not Path(text).exists()]
    paths = [Path(text) for text in options.paths if text not in settings]
    if not paths:
        raise WmzooError("command line: no files; name at least one file or folder.")
    settings += options.settings
    path = importing.import_files(options.format, paths, options.to, settings, options.quiet)
    print(f"{path}\nNext: wmzoo data info {path}")


def _data_info(options: argparse.Namespace) -> None:
    from wmzoo.data import info

    info.print_info(options.corpus, variates=options.variates)


def _data_table(options: argparse.Namespace) -> None:
    from wmzoo.data import listing

    listing.print_table(options.corpus, options.md)


def _data_check(options: argparse.Namespace) -> None:
    from wmzoo.data import checking

    checking.check_corpus(options.corpus)


def _data_merge(options: argparse.Namespace) -> None:
    from wmzoo.data import merging

    path = merging.merge(options.corpora, options.to, options.quiet)
    print(f"{path}\nNext: wmzoo data info {path}")


def _data_subset(options: argparse.Namespace) -> None:
    from wmzoo.data import subset

    path = subset.subset(options.corpus, options.to, options.settings)
    print(f"{path}\nNext: wmzoo data info {path}")


def _data_export(options: argparse.Namespace) -> None:
    from wmzoo.data import exporting

    for folder in exporting.export(options.corpus, options.form, options.to, options.sets or ("*",), options.quiet):
        print(folder)


def _data_policies(options: argparse.Namespace) -> None:
    from wmzoo.collect import behaviours

    method, seed, steps = options.method, options.seed, options.steps
    ladder = behaviours.make_ladder(options.environment, options.to, method=method, seed=seed, steps=steps)
    print(f"{options.to}: {', '.join(ladder.policies)}; medium {ladder.medium}, expert {ladder.expert}")
    print("Next: add policies=FOLDER to `wmzoo data collect`")


if __name__ == "__main__":
    sys.exit(main())
