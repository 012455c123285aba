"""A backbone begun by one command passes the contracts, trains, is evaluated and compared; no other file is touched."""

from __future__ import annotations

import csv
import subprocess
import sys

import pytest
from systems import system_corpus

from wmzoo import new, recipe
from wmzoo.errors import WmzooError


def wmzoo(folder, *arguments):
    command = [sys.executable, "-m", "wmzoo", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_it_is_one_file_and_one_recipe_of_few_lines(workdir):
    part, example = new.begin("backbone", "my_mixer")
    assert (
        files(workdir)
        == [example.as_posix(), part.as_posix()]
        == ["recipes/my_mixer.yaml", "registry/backbones/my_mixer.py"]
    )
    assert len(part.read_text().splitlines()) <= 80 and len(example.read_text().splitlines()) <= 15
    assert "class MyMixer(Backbone)" in part.read_text()
    assert recipe.names()["my_mixer"] == workdir / example


def test_the_zoos_own_mixer_is_as_short():
    from wmzoo import registry

    assert len(registry.paths("backbones")["mixer"].read_text().splitlines()) <= 80
    assert all(len(recipe.names()[name].read_text().splitlines()) <= 15 for name in ("mixer", "mixer-cpu"))


def test_it_passes_the_contract_tests_as_it_is_and_a_broken_one_does_not(workdir):
    new.begin("backbone", "my_mixer")
    ran = wmzoo(workdir, "test", "backbones/my_mixer")
    assert ran.returncode == 0, ran.stdout
    assert " passed, " in ran.stdout and "my_mixer.py: passes all contract tests" in ran.stdout
    assert files(workdir) == ["recipes/my_mixer.yaml", "registry/backbones/my_mixer.py"], "nothing is left behind"
    (part, _) = new.begin("backbone", "too_early")
    part.write_text(part.read_text().replace("return self.head(x)", "return self.head(x[..., :1])"))
    ran = wmzoo(workdir, "test", "too_early")
    assert ran.returncode == 1 and "backbones/too_early: it fails a contract test" in ran.stderr
    assert "test_every_combination_trains[gauss_hist-too_early-categorical]" in ran.stdout


def test_it_is_listed_trained_evaluated_and_compared(workdir):
    system_corpus(workdir / "toy.h5", length=30)
    assert wmzoo(workdir, "new", "backbone", "my_mixer").returncode == 0
    assert (
        "my_mixer" in wmzoo(workdir, "ls", "backbones").stdout and "my_mixer" in wmzoo(workdir, "ls", "recipes").stdout
    )
    few = [
        "data.corpus=toy.h5",
        "data.environments=[toy/a]",
        "data.window=6",
        "train.steps=4",
        "train.validate_every=2",
    ]
    few += ["evaluate.transition={context: 5, windows: 32, rollouts: 4, horizons: [1, 2]}", "grid.seed=[0]"]
    ran = wmzoo(workdir, "grid", "my_mixer", *few)
    assert ran.returncode == 0, ran.stderr
    (table,) = (workdir / "comparisons" / "my_mixer" / "transition-v1").glob("*.csv")
    rows = list(csv.DictReader(table.open()))
    assert {"my_mixer", "mlp_ensemble"} <= {value for row in rows for value in row.values()}


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("backbone", "My-Mixer", "lower-case words"),
        ("backbone", "../mixer", "lower-case words"),
        ("backbone", "lambda", "lower-case words"),
        ("backbone", "a__b", "lower-case words"),
        ("backbone", "config", "a class named Config would hide"),
        ("backbone", "feed_forward", "a class named FeedForward would hide"),
        ("backbone", "trajworld", "there is a backbone of that name"),
        ("backbone", "quickstart", "there is a recipe of that name"),
        ("backbones", "mine", 'no template of a "backbones". Did you mean "backbone"'),
    ],
)
def test_names_that_will_not_do_are_refused_and_nothing_is_written(workdir, kind, name, sentence):
    with pytest.raises(WmzooError, match=sentence) as caught:
        new.begin(kind, name)
    assert len(caught.value.problems) == 1 and not files(workdir)


@pytest.mark.parametrize("taken", ["registry/backbones/mine.py", "recipes/mine.yaml"])
def test_nothing_is_overwritten(workdir, taken):
    (workdir / taken).parent.mkdir(parents=True)
    (workdir / taken).write_text("mine")
    with pytest.raises(WmzooError, match="new backbone mine: "):
        new.begin("backbone", "mine")
    assert files(workdir) == [taken] and (workdir / taken).read_text() == "mine"


def test_a_part_to_test_must_be_there_and_be_python(workdir, capsys):
    from wmzoo import cli

    assert cli.main(["test", "backbones/trajwrld"]) == 2
    assert 'no part "backbones/trajwrld". Did you mean "backbones/trajworld"' in capsys.readouterr().err
    part, _ = new.begin("backbone", "mine")
    part.write_text("def (:\n")
    assert cli.main(["test", "mine"]) == 2
    assert "mine.py:1: not valid Python" in capsys.readouterr().err
