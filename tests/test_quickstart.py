"""The quickstart itself, with a few steps of training: real simulators, three models, one comparison."""

from __future__ import annotations

import re
from pathlib import Path

from wmzoo import quickstart

FEW = [
    "train.steps=4",
    "train.validate_every=2",
    "grid.seed=[0]",
    "evaluate.transition.windows=16",
    "evaluate.transition.rollouts=2",
    "evaluate.transition.horizons=[1,2]",
]


def test_it_runs_names_what_it_wrote_and_does_nothing_twice(workdir, capfd):
    quickstart.run(FEW)
    printed = capfd.readouterr().out
    named = [Path(name) for name in printed.partition("What there is now:")[2].partition("Type next:")[0].split()]
    assert all(path.exists() for path in named)
    assert named[0] == Path("corpora/quickstart.h5")
    assert [path.name.partition("-")[0] for path in named[1:4]] == ["trajworld", "tdm", "mlp_ensemble"]
    assert {path.name for path in named[4:]} == {
        *("comparison.csv", "comparison.md", "comparison.tex"),
        *("comparison.png", "calibration.png", "variates.png"),
    }
    for word in (
        "wmzoo ui",
        "wmzoo check trajworld-cpu",
        "trajworld",
        "tdm (free-running)",
        "mlp_ensemble",
        "last value",
    ):
        assert word in printed
    for step in ("wmzoo data collect quickstart", "wmzoo grid quickstart", "wmzoo compare quickstart"):
        assert f"$ {step}" in printed
    assert len(re.findall(r": done in .*, [\d,]+ MB at most in training", printed)) == 3
    quickstart.run(FEW)
    again = capfd.readouterr().out
    assert "3 cells, 3 of them done." in again and ": running" not in again
