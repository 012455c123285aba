"""The rollout bench: what it measures, what it compares with, and what it refuses."""

from __future__ import annotations

import json

import pytest

from wmzoo.bench import rollout
from wmzoo.cli import main
from wmzoo.trajectories import ACTION

TINY = ["blocks=1", "trajectories=3", "watched=2", "horizons=[2,3]", "horizon=4"]


@pytest.mark.parametrize("backbone", ["trajworld", "tdm", "mlp_ensemble"])
def test_every_backbone_is_measured_in_both_precisions(backbone):
    found = rollout.bench([*TINY, f"backbone={backbone}"], quiet=True)
    assert [record["precision"] for record in found["steps"]] == ["fp32", "bf16"]
    for record in found["steps"]:
        for key in ("step", "rollout", "uncached"):
            assert record[key]["cpu_s"] > 0 and record[key]["clock_s"] > 0
    if backbone != "mlp_ensemble":  # reading 15 rows costs more than reading one
        assert found["steps"][0]["uncached"]["cpu_s"] > 1.5 * found["steps"][0]["step"]["cpu_s"]
    few, many = (found["memory"]["peak_mb"][h] for h in ("2", "3"))
    assert 50 < few <= many < 1.2 * few


def test_the_released_program_is_shown_beside_equal_work_alone():
    assert rollout.bench([*TINY, "precisions=[fp32]"], quiet=True)["released"]["cpu_s"] == {}
    columns = rollout._variates()
    assert len(columns.names) == 24 and (columns.roles == ACTION).sum() == 6
    model = rollout._model(rollout.Config())
    assert sum(p.numel() for p in model.parameters()) == 9_639_936
    assert model.context == 19 and rollout.RELEASED["trajworld"]["step"] == pytest.approx((1.03 + 1.04) / 2)


def test_it_prints_a_table_and_json(capsys):
    assert main(["bench", "rollout", "--quiet", *TINY]) == 0
    text = capsys.readouterr().out
    assert "bf16, mean of 4 steps from a full history" in text and "MB after 3 steps" in text
    assert main(["bench", "rollout", "--quiet", "--json", *TINY]) == 0
    assert json.loads(capsys.readouterr().out)["trajectories"] == 3


def test_a_table_tells_the_share_of_the_released_program(capsys):
    seconds = {"cpu_s": 0.5175, "clock_s": 0.3}
    found = {
        "backbone": "trajworld",
        "parameters": 9_639_936,
        "trajectories": 128,
        "horizon": 25,
        "threads": 1,
        "memory": {"trajectories": 16, "peak_mb": {"25": 700.0}},
        "steps": [{"precision": "bf16", "step": seconds, "rollout": seconds, "uncached": seconds}],
        "released": {"conditions": rollout.CONDITIONS, "cpu_s": rollout.RELEASED["trajworld"]},
    }
    rollout.print_bench(found)
    text = capsys.readouterr().out
    assert "50% of 1.03" in text and "37% of 1.4" in text and "jax 0.4.31, float32" in " ".join(text.split())


def test_wrong_settings_get_a_sentence(capsys):
    for word, told in {
        "backbone=gru": 'Did you mean|Valid: mlp_ensemble, tdm, trajworld|"gru"',
        "trajectories=0": "at least 1",
        "horzon=3": 'Did you mean "horizon"',
    }.items():
        assert main(["bench", "rollout", "--quiet", word]) == 2
        error = capsys.readouterr().err
        assert error.startswith("wmzoo: ") and any(part in error for part in told.split("|"))
