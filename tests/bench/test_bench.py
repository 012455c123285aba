"""The benchmark command: its rows and ratios, its table, its JSON, what it keeps, what it refuses."""

from __future__ import annotations

import json
import time

import mlflow
import numpy as np
import pytest
import torch

from wmzoo.bench import batches, evaluation, growth, machine, memory, rows, start, train
from wmzoo.bench.machine import Machine
from wmzoo.bench.rows import Row, measure, print_rows
from wmzoo.cli import main

CPU = Machine(torch.device("cpu"))
SMALL = ["blocks=1", "repeats=1", "batch=2"]


def test_ratios_are_times_whatever_the_unit(capsys):
    spread = {"least": 1.0, "most": 3.0}
    slow = Row(what="a step", unit="cpu s", ours=2.0, floor=0.5, reference=6.0, released=4.0, **spread)
    rate = Row(what="windows", unit=rows.RATE, ours=2.0, floor=8.0, reference=1.0, **spread)
    assert (slow.of_floor, slow.of_reference, slow.of_released) == (4.0, 3.0, 0.5)
    assert (rate.of_floor, rate.of_reference, rate.of_released) == (4.0, 2.0, None)
    print_rows([slow, rate])
    text = capsys.readouterr().out
    assert "50% of 4" in text and "1 to 3" in text and "2 windows/s" in text
    print_rows([slow, rate], as_json=True)
    assert [row["of_floor"] for row in json.loads(capsys.readouterr().out)] == [4.0, 4.0]


def test_what_is_measured_on_a_cpu_is_its_own_work_and_not_the_waiting():
    assert max(measure(lambda: time.sleep(0.05), 2).seconds) < 0.03
    assert min(measure(lambda: np.linalg.svd(np.random.rand(200, 200)), 2).seconds) > 1e-4


def test_the_floor_is_the_slower_of_products_and_copies():
    one, two = CPU.floor(2e9, 0, torch.float32), CPU.floor(4e9, 0, torch.float32)
    assert two[0] == pytest.approx(2 * one[0]) and "GFLOP/s in fp32" in one[1]
    assert CPU.floor(1, 1e12, torch.float32)[0] == pytest.approx(1e12 / CPU.copies())
    assert 1e9 < CPU.copies() < 1e13 and 1e9 < CPU.products(torch.float32) < 1e14
    assert machine.COPIED * 4 > 2e8, "more than a cache holds"


def test_a_training_step_is_that_of_the_training_loop(workdir):
    config = train.Config(blocks=1, repeats=1, batch=2)
    found = train.bench(config, CPU, quiet=True)
    assert len(found) == 6 and all(row.floor < row.ours and row.released is None for row in found)
    assert list(workdir.iterdir()) == [], "nothing is left behind"
    with pytest.raises(Exception, match="lerning_rate"):
        train.bench(train.Config(blocks=1, settings=("train.lerning_rate=1",)), CPU, quiet=True)


def test_packed_batches_beside_padded_ones_and_those_of_one_environment(workdir):
    config = batches.Config(size="XXS", batch=4, batches=2, repeats=1)
    found = batches.bench(config, CPU, quiet=True)
    assert [bool(row.reference) for row in found] == [True, False] * 2 and all(row.unit == rows.TOKENS for row in found)
    assert all(0 < row.ours < row.floor for row in found) and list(workdir.iterdir()) == []
    assert found[2].of_reference > 1.5, "of tdm, whose attention grows with the square of a padded row"


def test_costs_grow_as_theory_has_it_and_are_drawn(workdir):
    config = growth.Config(steps=(8, 64), variates=(4, 8), batch=(1, 2), width=(16, 32), repeats=1, png="g.png")
    found = growth.bench(config, CPU, quiet=True)
    assert len(found) == 8 and (workdir / "g.png").stat().st_size > 10_000
    assert all("grows as" in row.what and row.floor > 0 for row in found)
    flat = growth.Curve("T", "tdm", (1, 2, 4, 8), (1.0, 4.0, 16.0, 64.0), (1.0, 2.0, 4.0, 8.0))
    assert flat.slopes == pytest.approx((2, 1))


def test_counted_flops_of_flattened_attention_grow_faster():
    def flops(backbone, steps):
        return growth._point(backbone, {"T": steps, "M": 8, "B": 1, "D": 16}, 1, torch.device("cpu"))[1]

    assert flops("tdm", 64) / flops("tdm", 32) > 1.3 * flops("trajworld", 64) / flops("trajworld", 32)


def test_memory_is_told_beside_what_must_be_held():
    config = memory.Config(trajectories=2, horizons=(), megabytes=250, mapped=10, backbone="mlp_ensemble")
    step, read = memory.bench(config, CPU, quiet=True)
    assert step.floor < step.ours and 0 < read.ours < 180, "not the whole corpus"
    assert len(memory._cases(memory.Config())) == 10


def test_scoring_and_starting_are_measured(workdir, monkeypatch):
    monkeypatch.delitem(start.CASES, "wmzoo ls")
    (row,) = evaluation.bench(evaluation.Config(backbone="mlp_ensemble", seconds=0.4), CPU, quiet=True)
    assert row.unit == rows.RATE and row.ours > 0 and row.floor > 0
    found = start.bench(start.Config(repeats=1), CPU, quiet=True)
    assert [row.what.split()[1] for row in found] == ["--help", "train", "train"]
    assert found[0].ours < found[1].ours < found[2].ours, "help, the first step, and the end of training"
    assert list(workdir.iterdir()) == []


def test_the_command_prints_json_and_keeps_the_figures(workdir, capsys):
    assert main(["bench", "train", *SMALL, "backbone=tdm", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["what"] for row in found] == ["tdm fp32, batch 2", "tdm bf16, batch 2"]
    store = mlflow.MlflowClient("sqlite:///mlflow.db")
    (kept,) = store.search_runs([store.get_experiment_by_name("bench").experiment_id])
    assert kept.data.metrics["tdm_fp32_batch_2/ours"] == pytest.approx(found[0]["ours"])
    assert kept.data.params["train.backbone"] == "tdm" and kept.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("arguments", "told"),
    {
        "trian": 'unknown part "trian". Did you mean "train"?',
        "rollout backbone=gru": '"gru"',
        "rollout trajectories=0": "at least 1",
        "rollout horzon=3": 'Did you mean "horizon"',
        "train --layouts": "--layouts belongs to `wmzoo bench data`",
        "batch=3": "unknown part",
        "data corpus=none.h5": "none.h5: no such corpus",
    }.items(),
)
def test_wrong_settings_get_a_sentence(workdir, capsys, arguments, told):
    assert main(["bench", *arguments.split(), "--quiet", "--uri", ""]) == 2
    error = capsys.readouterr().err
    assert error.startswith("wmzoo: ") and told in error
    assert list(workdir.iterdir()) == []
