"""All kernels that run here agree with the reference, and the masks mean what they say."""

from __future__ import annotations

import pytest
import torch

from wmzoo.attention import SHORT, attend, block_bias, choose_kernel, packed_bias
from wmzoo.errors import WmzooError

B, L, H, D = 3, 7, 2, 8


def tensors(dtype=torch.float32, device="cpu", places=L):
    torch.manual_seed(0)
    q = torch.randn(B, L, H, D, dtype=dtype, device=device, requires_grad=True)
    k, v = (torch.randn(B, places, H, D, dtype=dtype, device=device, requires_grad=True) for _ in range(2))
    return q, k, v


def padding(places=L):
    keys = torch.ones(B, places, dtype=torch.bool)
    keys[0, :3] = keys[1, :1] = False
    return keys


CASES = [(causal, padded) for causal in (False, True) for padded in (False, True)]


@pytest.mark.parametrize("kernel", ["sdpa", "matmul"])
@pytest.mark.parametrize(("causal", "padded"), CASES)
@pytest.mark.parametrize("places", [L, L + 4])
def test_kernels_agree_with_the_reference_forwards_and_backwards(kernel, causal, padded, places):
    keys = padding(places) if padded else None
    real = (torch.ones(B, L, dtype=torch.bool) if keys is None else keys[:, -L:])[..., None, None]
    results = []
    for name in ("einsum", kernel):
        q, k, v = tensors(places=places)
        out = attend(q, k, v, causal=causal, keys=keys, kernel=name) * real
        out.square().sum().backward()
        results.append((out, q.grad, k.grad, v.grad))
    for reference, found in zip(*results, strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", ["sdpa", "matmul"])
def test_bf16_agrees_within_its_precision(kernel):
    q, k, v = tensors(torch.bfloat16)
    found = attend(q, k, v, causal=True, keys=padding(), kernel=kernel).float()
    reference = attend(q.float(), k.float(), v.float(), causal=True, keys=padding(), kernel="einsum")
    real = padding()[..., None, None]
    torch.testing.assert_close(found * real, reference * real, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kernel", ["einsum", "sdpa", "matmul"])
def test_nothing_to_attend_to_is_finite(kernel):
    q, k, v = tensors()
    nothing = torch.zeros(B, L, dtype=torch.bool)
    assert torch.isfinite(attend(q, k, v, causal=True, keys=nothing, kernel=kernel)).all()


def test_auto_takes_the_fastest_known():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_kernel("auto", cpu, torch.float32) == "sdpa"
    assert choose_kernel("auto", cpu, torch.bfloat16) == "matmul"
    assert choose_kernel("auto", cuda, torch.bfloat16) == "xformers"
    assert choose_kernel("auto", cuda, torch.bfloat16, masked=True) == "sdpa" and SHORT >= 20
    with pytest.raises(WmzooError, match="no kernel for cpu"):
        choose_kernel("xformers", cpu, torch.float32)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("places", [L, L + 4])
def test_the_packed_bias_is_the_padding_mask(causal, places):
    """xformers' kernel runs on CUDA alone, but its bias can be laid out anywhere: packed attention by it equals the
    reference on every real query."""
    keys = padding(places)
    queries = keys[:, -L:]
    q, k, v = tensors(places=places)
    bias = packed_bias(queries, keys, causal).materialize((1, int(queries.sum()), int(keys.sum())))[0]
    packed_q, packed_k, packed_v = q[queries], k[keys], v[keys]
    scores = torch.einsum("lhd,nhd->hln", packed_q, packed_k) / D**0.5 + bias
    packed = torch.einsum("hln,nhd->lhd", scores.softmax(-1), packed_v)
    out = torch.zeros_like(q).masked_scatter(queries[..., None, None], packed)
    reference = attend(q, k, v, causal=causal, keys=keys, kernel="einsum") * queries[..., None, None]
    torch.testing.assert_close(out, reference, rtol=1e-4, atol=1e-5)


LENGTHS = (2, 2, 3, 1, 3, 3)


def one_by_one(q, k, v, causal):
    """The reference for sequences one behind another."""
    parts = zip(*(x.split(LENGTHS, 1) for x in (q, k, v)), strict=True)
    return torch.cat([attend(*part, causal=causal, kernel="einsum") for part in parts], 1)


def apart_and_one_by_one(kernel, causal, device="cpu"):
    """Outputs and gradients of both, in pairs."""
    results = []
    for together in (True, False):
        torch.manual_seed(0)
        q, k, v = (torch.randn(B, sum(LENGTHS), H, D, device=device, requires_grad=True) for _ in range(3))
        if together:
            out = attend(q, k, v, causal=causal, kernel=kernel, lengths=LENGTHS)
        else:
            out = one_by_one(q, k, v, causal)
        out.square().sum().backward()
        results.append((out, q.grad, k.grad, v.grad))
    return zip(*results, strict=True)


@pytest.mark.parametrize("kernel", ["auto", "sdpa", "matmul", "einsum"])
@pytest.mark.parametrize("causal", [False, True])
def test_sequences_one_behind_another_do_not_see_each_other(kernel, causal):
    for found, reference in apart_and_one_by_one(kernel, causal):
        torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_the_block_bias_keeps_sequences_apart(causal):
    """As xformers would add it, laid out on a CPU."""
    q, k, v = (x[:1] for x in torch.randn(3, B, sum(LENGTHS), H, D).unbind())
    bias = block_bias(LENGTHS, causal, "cpu").materialize((1, sum(LENGTHS), sum(LENGTHS)))[0]
    scores = torch.einsum("blhd,bnhd->bhln", q, k) / D**0.5 + bias
    found = torch.einsum("bhln,bnhd->blhd", scores.softmax(-1), v)
    torch.testing.assert_close(found, one_by_one(q, k, v, causal), rtol=1e-4, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="xformers' kernels need CUDA")
@pytest.mark.parametrize("causal", [False, True])
def test_xformers_keeps_sequences_apart(causal):
    for found, reference in apart_and_one_by_one("xformers", causal, "cuda"):
        torch.testing.assert_close(found, reference, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="xformers' kernels need CUDA")
@pytest.mark.parametrize(("causal", "padded"), CASES)
@pytest.mark.parametrize("places", [L, L + 4])
def test_xformers_agrees_with_the_reference(causal, padded, places):
    keys = padding(places).cuda() if padded else None
    real = (torch.ones(B, L, dtype=torch.bool, device="cuda") if keys is None else keys[:, -L:])[..., None, None]
    results = []
    for kernel in ("einsum", "xformers"):
        q, k, v = tensors(device="cuda", places=places)
        out = attend(q, k, v, causal=causal, keys=keys, kernel=kernel) * real
        out.square().sum().backward()
        results.append((out, q.grad, k.grad, v.grad))
    for reference, found in zip(*results, strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kernel", ["sdpa", "matmul", "einsum"])
def test_with_padding_last_a_query_without_keys_averages_over_the_padding(kernel):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 5, 2, 4).unbind(0)
    keys = torch.tensor([[False, False, True, True, True], [True] * 5])
    found = attend(q, k, v, causal=True, keys=keys, kernel=kernel, padding_last=True)
    torch.testing.assert_close(found[0, :2], v[0, :2].mean(0).expand(2, -1, -1))
    usual = attend(q, k, v, causal=True, keys=keys, kernel=kernel)
    torch.testing.assert_close(found[0, 2:], usual[0, 2:])
    torch.testing.assert_close(found[1], usual[1])
