"""The rollout bench: what it measures, what it compares with, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from wmzoo.bench import rollout
from wmzoo.bench.machine import Machine
from wmzoo.bench.made import made_variates
from wmzoo.bench.rollout import Config
from wmzoo.trajectories import ACTION

CPU = Machine(torch.device("cpu"))
TINY = {"blocks": 1, "trajectories": 3, "horizon": 4}


@pytest.mark.parametrize("backbone", ["trajworld", "tdm", "mlp_ensemble"])
def test_every_backbone_is_measured_in_both_precisions(backbone):
    found = rollout.bench(Config(**TINY, backbone=backbone), CPU, quiet=True)
    assert [row.what.split(",")[0] for row in found] == [f"{backbone} {p}" for p in ("fp32", "fp32", "bf16", "bf16")]
    for row in found:
        assert 0 < row.least <= row.ours <= row.most and row.floor > 0 and row.reference > 0
    if backbone != "mlp_ensemble":  # reading 15 rows costs more than reading one
        assert found[0].of_reference > 1.5


def test_the_released_program_is_shown_beside_equal_work_alone():
    assert rollout.bench(Config(**TINY, precisions=("fp32",)), CPU, quiet=True)[0].released is None
    columns = made_variates()
    assert len(columns.names) == 24 and (columns.roles == ACTION).sum() == 6
    model = rollout._model(rollout.Config())
    assert sum(p.numel() for p in model.parameters()) == 9_639_936
    assert model.context == 19 and rollout.RELEASED["trajworld"]["step"] == pytest.approx((1.03 + 1.04) / 2)
    full = rollout._Rollouts(model, Config(), CPU, "fp32")
    assert full._released() == rollout.RELEASED["trajworld"]
