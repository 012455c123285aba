"""FLOPs are counted, and the count is that of the products which a real training step does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from systems import system_set, toy_recipe
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import wmzoo
from wmzoo import registry
from wmzoo.cost import step_cost
from wmzoo.data.splits import merge_variates
from wmzoo.data.windows import gather
from wmzoo.layers import Attention
from wmzoo.recipe import Source, check

BACKBONES = sorted(registry.paths("backbones"))


@pytest.fixture(scope="module")
def toy():
    item = system_set()
    variates = merge_variates([(item, np.arange(len(item.lengths)))])
    window = gather([item], np.zeros(16, int), item.offsets[:16] + 20, 6, {"toy": variates})
    return variates, window


def model_of(backbone, variates, head="categorical"):
    recipe = check(Source(toy_recipe(backbone=backbone, head=head, train={"batch_size": 16}), {}))
    model = wmzoo.build(recipe, {"toy": variates}).train()
    model.kernel = "matmul"
    return recipe, model


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("head", ["categorical", "gaussian"])
def test_a_counted_step_costs_what_pytorch_counts_of_a_real_one(backbone, head, toy):
    variates, window = toy
    recipe, model = model_of(backbone, variates, head)
    with FlopCounterMode(display=False) as forward:
        total = model.loss(window).total
    with FlopCounterMode(display=False) as backward:
        total.backward()
    counted = step_cost(recipe, {"toy": variates}).flops
    assert counted == forward.get_total_flops() + backward.get_total_flops()
    # Each product has two gradients, but that the first layer's input needs none.
    assert 1.5 < backward.get_total_flops() / forward.get_total_flops() <= 2.05


@pytest.mark.parametrize("backbone", BACKBONES)
def test_of_several_environments_a_step_costs_the_mean_unless_windows_are_padded(backbone, toy):
    wide = system_set(environment="wide", states=5, actions=3)
    both = {"toy": toy[0], "wide": merge_variates([(wide, np.arange(len(wide.lengths)))])}
    recipe, model = model_of(backbone, toy[0])
    alone = {name: step_cost(recipe, {name: own}) for name, own in both.items()}
    found = step_cost(recipe, both, {"toy": 0.75, "wide": 0.25})
    for what in ("flops", "tokens"):
        mean = 0.75 * getattr(alone["toy"], what) + 0.25 * getattr(alone["wide"], what)
        assert getattr(found, what) == round(mean if model.packs else getattr(alone["wide"], what))
    assert found.memory == max(one.memory for one in alone.values())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_forward_pass_costs_two_operations_a_weight_and_what_mixes_rows(backbone, toy):
    """Counted by hand from the shapes that go through each dense layer, without PyTorch's counter."""
    variates, window = toy
    _, model = model_of(backbone, variates)
    dense = []

    def shapes(module, inputs, output):
        dense.append(2 * output.numel() * inputs[0].shape[-1])

    for module in model.modules():
        if isinstance(module, nn.Linear) or type(module).__name__ == "BatchedLinear":
            module.register_forward_hook(shapes)
        if isinstance(module, Attention):  # takes the weights of three layers in one product
            module.register_forward_hook(
                lambda m, inputs, _: dense.append(2 * 3 * inputs[0].numel() * m.query.in_features)
            )
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model.loss(window)
    assert len(dense) > 2 and sum(dense) <= forward.get_total_flops() <= 1.3 * sum(dense)
