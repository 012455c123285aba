"""One attention function for all backbones, with the fastest kernel that runs where the tensors are.

``xformers``  memory-efficient attention, CUDA only; sequences of different lengths lie one behind another, and a
              block-diagonal bias keeps them apart.
``sdpa``      PyTorch's scaled-dot-product attention; the fastest in fp32 on a CPU.
``matmul``    plain products and a softmax; the fastest in bf16 on a CPU, for the short sequences met here, and for one
              query behind a memory.
``einsum``    the reference that the others are tested against.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from wmzoo.errors import WmzooError

KERNELS = ("auto", "xformers", "sdpa", "matmul", "einsum")
SHORT = 64  # places up to which a mask is small, and dearer to pack by on CUDA than to use


def choose_kernel(
    kernel: str, device: torch.device, dtype: torch.dtype, single: bool = False, masked: bool = False
) -> str:
    """The kernel that will run: what was asked for, or the fastest known one for ``auto``.

    Args:
        kernel: one of ``KERNELS``.
        device, dtype: of the queries.
        single: whether each sequence has one query alone, as when one row is read behind others.
        masked: whether there is padding in sequences that are short.

    Raises:
        WmzooError: ``xformers`` was asked for on a device where it has no kernel.
    """
    if kernel == "xformers" and device.type != "cuda":
        raise WmzooError(
            f"train.attention: xformers has no kernel for {device.type}; use auto, sdpa, matmul or einsum there."
        )
    if kernel != "auto":
        return kernel
    if device.type == "cuda":
        return "sdpa" if single or masked else "xformers"  # packing by a mask would wait for the device
    return "matmul" if single or dtype == torch.bfloat16 else "sdpa"


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool,
    keys: Tensor | None = None,
    kernel: str = "auto",
    padding_last: bool = False,
    lengths: tuple[int, ...] = (),
) -> Tensor:
    """Softmax attention, scaled by the square root of the head size.

    Args:
        q: ``[B, L, H, d]`` queries. ``B`` counts independent sequences, ``H`` heads.
        k, v: ``[B, N, H, d]`` keys and values, ``N >= L``; the queries are the last ``L`` of the ``N`` places.
        causal: whether a query sees only its own place and those before it.
        keys: ``[B, N]`` bool, false for padding that nobody may attend to; None if there is none. What comes out
            at padded queries is finite and without meaning.
        kernel: one of ``KERNELS``.
        padding_last: a query that sees no key averages over all padding, earlier or later, as in the released
            TrajWorld code, which masks the padding after the future.
        lengths: each of the ``B`` holds sequences of these lengths one behind another, which do not see each other;
            their sum is ``L``, and there is no padding. One sequence each if left out.

    Returns:
        ``[B, L, H, d]``.

    Raises:
        WmzooError: the kernel does not run on this device.
    """
    masked = keys is not None and k.shape[1] <= SHORT
    chosen = choose_kernel(kernel, q.device, q.dtype, single=q.shape[1] == 1, masked=masked)
    if lengths:
        return (_xformers_apart if chosen == "xformers" else _apart)(q, k, v, causal, kernel, lengths)
    if keys is None:
        return _RUN[chosen](q, k, v, Visible(causal, None, False))
    seen = Visible(causal, keys, padding_last)
    if padding_last:
        # Packed rows leave the padding out, so nothing is left to average over; of a query of zeros, all keys have the
        # same score.
        chosen = "sdpa" if chosen == "xformers" else chosen
        q = q.masked_fill(seen.blind(q, k)[..., None, None], 0.0)
    return _RUN[chosen](q, k, v, seen)


@dataclass(frozen=True, eq=False)
class Visible:
    """Which keys the queries see; the fields are those of :func:`attend`."""

    causal: bool
    keys: Tensor | None
    padding_last: bool

    def mask(self, q: Tensor, k: Tensor) -> Tensor | None:
        """Broadcastable to ``[B, 1, L, N]`` bool; None if every query sees every key."""
        found = self._found(q, k)
        if found is None or self.keys is None or not self.padding_last:
            return found
        return found | ~(found.any(-1, keepdim=True) | self.keys[:, None, None, :])

    def blind(self, q: Tensor, k: Tensor) -> Tensor:
        """``[B, L]`` bool, the queries that see no key."""
        found = self._found(q, k)
        nobody = torch.zeros(q.shape[:2], dtype=torch.bool, device=q.device)
        return nobody if found is None else ~found.any(-1)[:, 0] | nobody

    def _found(self, q: Tensor, k: Tensor) -> Tensor | None:
        """The real keys that are not in a query's future, broadcastable to ``[B, 1, L, N]``."""
        length, places, found = q.shape[1], k.shape[1], None
        if self.causal and length > 1:
            found = torch.ones(length, places, dtype=torch.bool, device=q.device).tril(places - length)[None, None]
        if self.keys is None:
            return found
        seen = self.keys[:, None, None, :]
        return seen if found is None else found & seen


def _apart(q: Tensor, k: Tensor, v: Tensor, causal: bool, kernel: str, lengths: tuple[int, ...]) -> Tensor:
    """Sequences of one length after another's, for kernels that know no others; equal lengths lie together."""
    counts = [(length, len(list(group))) for length, group in itertools.groupby(lengths)]
    parts = [x.split([length * count for length, count in counts], 1) for x in (q, k, v)]
    found = []
    for (_, count), *part in zip(counts, *parts, strict=True):
        own = (rearrange(x, "b (n l) h d -> (b n) l h d", n=count) for x in part)
        found.append(rearrange(attend(*own, causal=causal, kernel=kernel), "(b n) l h d -> b (n l) h d", n=count))
    return torch.cat(found, 1)


def _einsum(q: Tensor, k: Tensor, v: Tensor, seen: Visible) -> Tensor:
    scores = torch.einsum("blhd,bnhd->bhln", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("bhln,bnhd->blhd", _softmax(scores, seen.mask(q, k), q.dtype), v)


def _matmul(q: Tensor, k: Tensor, v: Tensor, seen: Visible) -> Tensor:
    scale = 1 / math.sqrt(q.shape[-1])
    scores = (q * scale).transpose(1, 2) @ k.permute(0, 2, 3, 1)  # [B, H, L, N]
    return (_softmax(scores, seen.mask(q, k), q.dtype) @ v.transpose(1, 2)).transpose(1, 2)


def _softmax(scores: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    scores = scores if mask is None else scores.masked_fill(~mask, _lowest(scores.dtype))
    return scores.softmax(-1).to(dtype)  # autocast runs the softmax in fp32


def _lowest(dtype: torch.dtype) -> float:
    """The score of a key that is not seen; finite, so that a query with nothing to see gives an average and not NaN."""
    return -6e4 if dtype == torch.float16 else -1e9


def _sdpa(q: Tensor, k: Tensor, v: Tensor, seen: Visible) -> Tensor:
    triangle = seen.causal and seen.keys is None and q.shape[1] == k.shape[1]
    mask = None if triangle else seen.mask(q, k)
    if mask is not None and q.is_cuda:  # some kernels there give NaN where a query sees nothing, but not of numbers
        mask = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, _lowest(q.dtype))
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=triangle)
    return out.transpose(1, 2)


def _memory_efficient(q: Tensor, k: Tensor, v: Tensor, bias: object | None) -> Tensor:
    logging.getLogger("xformers").setLevel(logging.ERROR)  # it warns of kernels that the zoo does not use
    import xformers.ops as xops

    return xops.memory_efficient_attention(q, k, v, attn_bias=bias)


def _xformers_apart(q: Tensor, k: Tensor, v: Tensor, causal: bool, kernel: str, lengths: tuple[int, ...]) -> Tensor:
    bias = block_bias(lengths * len(q), causal, q.device)
    return _memory_efficient(q.flatten(0, 1)[None], k.flatten(0, 1)[None], v.flatten(0, 1)[None], bias).view_as(q)


@functools.lru_cache(maxsize=8)  # all blocks of a model ask for the same one
def block_bias(lengths: tuple[int, ...], causal: bool, device: torch.device | str) -> object:
    """xformers' block-diagonal bias for sequences of these lengths, one behind another."""
    from xformers.ops import fmha

    bias = fmha.attn_bias.BlockDiagonalMask.from_seqlens(lengths, device=torch.device(device))
    return bias.make_causal() if causal else bias


def _xformers(q: Tensor, k: Tensor, v: Tensor, seen: Visible) -> Tensor:
    if seen.keys is None:
        return _memory_efficient(q, k, v, _unpadded_bias(q, k, seen.causal))
    # Only the real places are packed, one block a sequence; padding costs nothing.
    keys = seen.keys
    queries = keys[:, -q.shape[1] :]
    bias = packed_bias(queries, keys, seen.causal)
    out = _memory_efficient(q[queries][None], k[keys][None], v[keys][None], bias)
    return torch.zeros_like(q).masked_scatter(queries[..., None, None], out[0])


def _unpadded_bias(q: Tensor, k: Tensor, causal: bool) -> object | None:
    from xformers.ops import fmha

    if not causal or q.shape[1] == 1:
        return None
    if q.shape[1] == k.shape[1]:
        return fmha.attn_bias.LowerTriangularMask()
    return fmha.attn_bias.LowerTriangularFromBottomRightMask()


def packed_bias(queries: Tensor, keys: Tensor, causal: bool) -> object:
    """xformers' block-diagonal bias for sequences packed without their padding.

    Args:
        queries: ``[B, L]`` bool, the real queries; keys: ``[B, N]`` bool, the real keys.
        causal: whether queries see only what is not after them (their last key is their own place).
    """
    from xformers.ops import fmha

    q_lengths, k_lengths = queries.sum(1).tolist(), keys.sum(1).tolist()
    bias = fmha.attn_bias.BlockDiagonalMask.from_seqlens(q_lengths, k_lengths)
    return bias.make_causal_from_bottomright() if causal else bias


_RUN: dict[str, Callable[[Tensor, Tensor, Tensor, Visible], Tensor]] = {
    "einsum": _einsum,
    "matmul": _matmul,
    "sdpa": _sdpa,
    "xformers": _xformers,
}
