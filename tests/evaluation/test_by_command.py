"""Protocols of one model for many bodies as a user runs them: trained, evaluated and compared by commands."""

from __future__ import annotations

import json

import pytest
import yaml
from systems import system_set, toy_recipe

from wmzoo import tracking
from wmzoo.cli import main
from wmzoo.data.store import write_corpus

PENDULUMS = ("08.000", "10.034", "06.500", "07.500")


def run(workdir, corpus, sets, **changes):
    """A run of two steps, by command; its folder."""
    write_corpus(workdir / corpus, sets, {"made": "for a test"})
    changes = {"data": {"environments": ["*"], **changes.pop("data", {})}, **changes}
    values = toy_recipe(corpus, train={"steps": 2, "validate_every": 1}, **changes)
    (workdir / "toy.yaml").write_text(yaml.safe_dump(values))
    assert main(["train", "toy.yaml", "--quiet"]) == 0
    (folder,) = (path.parent for path in workdir.glob("runs/toy/*/run.json"))
    return folder


def metrics_of(folder):
    record = json.loads((folder / "run.json").read_text())
    return tracking.client(record["tracking_uri"]).get_run(record["mlflow_run_id"]).data.metrics


def test_few_shot(workdir, capsys):
    sets = [system_set(level=level, seed=seed) for seed, level in enumerate("ab")]
    folder = run(workdir, "toy.h5", sets, data={"environments": ["toy/a"], "fraction": 0.1})
    assert main(["evaluate", str(folder), "few_shot/v1", "context=5", "--quiet"]) == 0
    assert metrics_of(folder)["few_shot-v1/toy 10 percent/nmae"] > 0
    assert main(["compare", "toy", "--protocol", "few_shot/v1"]) == 0
    assert "toy, 10 %" in capsys.readouterr().out
    assert (workdir / "comparisons/toy/few_shot-v1/comparison.png").stat().st_size > 10_000


def test_training_tells_the_protocols_of_its_recipe(workdir, capsys):
    run(workdir, "toy.h5", [system_set()], evaluate={"few_shot": {}, "zero_shot_cartpoles": {}})
    told = [line.partition(" evaluate ")[2].split()[1] for line in capsys.readouterr().out.splitlines()[1:]]
    assert told == ["few_shot/v1", "zero_shot/cartpoles/v1"]


@pytest.fixture
def pendulums(workdir):
    names = [f"pendulum-gravity-{gravity}" for gravity in PENDULUMS]
    sets = [system_set(environment=name, states=3, actions=1, seed=i) for i, name in enumerate(names)]
    return run(workdir, "toy.h5", sets, data={"exclude": ["pendulum-gravity-0[67]*"]})


def test_zero_shot_of_held_out_gravities(workdir, pendulums, capsys):
    asked = ["evaluate", str(pendulums), "zero_shot/pendulum-gravity/v1", "histories=[1,5]", "windows=40", "--quiet"]
    assert main(asked) == 0
    found = metrics_of(pendulums)
    assert found["zero_shot-pendulum-gravity-v1/held out/h5"] > 0
    assert found["zero_shot-pendulum-gravity-v1/held out squared/h5"] > 0
    assert main(["compare", "toy", "--protocol", "zero_shot/pendulum-gravity/v1"]) == 0
    assert "held out squared" in capsys.readouterr().out
    assert (workdir / "comparisons/toy/zero_shot-pendulum-gravity-v1/comparison.png").stat().st_size > 10_000


def test_zero_shot_and_few_shot_of_a_model_that_learns_terminations(workdir, capsys):
    names = [f"pendulum-gravity-{gravity}" for gravity in PENDULUMS]
    sets = [system_set(environment=name, states=3, actions=1, seed=i) for i, name in enumerate(names)]
    folder = run(workdir, "toy.h5", sets, data={"exclude": ["pendulum-gravity-0[67]*"], "terminated": True})
    few = ["windows=40", "--quiet"]
    assert main(["evaluate", str(folder), "zero_shot/pendulum-gravity/v1", "histories=[1,5]", *few]) == 0
    assert main(["evaluate", str(folder), "few_shot/v1", "context=5", *few]) == 0
    assert main(["explain", str(folder), "--quiet"]) == 0
    assert metrics_of(folder)["few_shot-v1/pendulum-gravity-08.000 100 percent/nmae"] > 0


def test_zero_shot_of_carts(workdir, pendulums, capsys):
    few = ["episodes=3", "ranges=3", "context=3", "horizon=2"]
    (workdir / "toy.h5").unlink()  # is not read
    assert main(["evaluate", str(pendulums), "zero_shot/cartpoles/v1", *few, "--corpus", "other.h5"]) == 2
    assert "reads no corpus; leave --corpus and --sets out" in capsys.readouterr().err
    assert main(["evaluate", str(pendulums), "zero_shot/cartpoles/v1", *few, "--quiet"]) == 0
    assert metrics_of(pendulums)["zero_shot-cartpoles-v1/dmc-cartpole-two_poles/position"] > 0
    assert main(["compare", "toy", "--protocol", "zero_shot/cartpoles/v1"]) == 0
    assert "right way" in capsys.readouterr().out
