"""Ours against plain ways in one process: a ratio that falls by half fails."""

from __future__ import annotations

import torch

from wmzoo.attention import attend
from wmzoo.bench.machine import Machine
from wmzoo.bench.made import made_variates, made_window
from wmzoo.bench.rollout import Config, bench
from wmzoo.bench.rows import measure
from wmzoo.layers import Attention, Dropout
from wmzoo.model import build
from wmzoo.recipe import load

USUAL = {"rollout": 6.0, "attention": 1.5, "dropout": 2.0, "last row": 1.8}
"""How many times faster than the plain way each was on two quiet cores; shared ones give less, never half."""


def _times(plain, ours, repeats=5) -> float:
    """Least against least, taken in turns."""
    found = [(min(measure(plain, 1).seconds), min(measure(ours, 1).seconds)) for _ in range(repeats)]
    return min(a for a, _ in found) / min(b for _, b in found)


def test_memories_pay():
    small = Config(blocks=2, trajectories=16, horizon=4, precisions=("fp32",))
    step = bench(small, Machine(torch.device("cpu")), quiet=True)[0]
    assert step.reference / step.least > USUAL["rollout"] / 2


def test_fused_attention_pays():
    torch.manual_seed(0)
    q, k, v = (torch.randn(4, 480, 4, 64, requires_grad=True) for _ in range(3))

    def run(kernel):
        return lambda: attend(q, k, v, causal=True, kernel=kernel).sum().backward()

    assert _times(run("einsum"), run("auto")) > USUAL["attention"] / 2


def test_dropout_by_16_bits_pays_and_drops_its_share():
    torch.manual_seed(0)
    x = torch.ones(4000, 256)
    ours, plain = Dropout(0.05), torch.nn.Dropout(0.05)
    assert _times(lambda: plain(x), lambda: ours(x)) > USUAL["dropout"] / 2
    dropped = ours(x)
    assert abs((dropped == 0).float().mean().item() - 0.05) < 1e-3 and abs(dropped.mean().item() - 1) < 2e-3
    values, counts = dropped.unique(return_counts=True)
    assert len(values) == 2 and counts.min() > 0
    rows = (dropped == 0).float()
    assert abs(torch.corrcoef(torch.stack([rows[:, :-1].flatten(), rows[:, 1:].flatten()]))[0, 1]) < 5e-3


def test_the_row_behind_the_last_is_left_out():
    model = build(load("mlp_ensemble", ["model.backbone.width=256"]), made_variates()).train()
    window = made_window(made_variates(), 256, 2)

    def plain():
        model.parameters_of(window)[:, :, :-1].square().mean().backward()

    assert _times(plain, lambda: model.following(window).square().mean().backward()) > USUAL["last row"] / 2


def test_one_product_for_queries_keys_and_values_gives_the_same():
    torch.manual_seed(0)
    layer = Attention(16, 2, 0.0).double()
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    q, k, v = layer._heads(x, layer.query, layer.key, layer.value)
    for found, own in ((q, layer.query), (k, layer.key), (v, layer.value)):
        torch.testing.assert_close(found.flatten(2), own(x), rtol=1e-12, atol=1e-12)


def test_rows_left_out_change_no_prediction():
    for name in ("trajworld", "mlp_ensemble", "tdm"):
        model = build(load(name, [f"model.backbone.size={'S'}"]), made_variates()).double().eval()
        window = made_window(made_variates(), 2, model.recipe.data.window)
        window = window.__class__(**{**vars(window), "values": window.values.double()})
        whole = model.parameters_of(window)[:, :, :-1]
        count = window.columns.width
        torch.testing.assert_close(model.following(window)[..., :count, :], whole[..., :count, :], rtol=1e-9, atol=1e-9)
