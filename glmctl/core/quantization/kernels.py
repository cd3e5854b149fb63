"""torch's CPU products of bfloat16 activations with packed integers, where they keep our rule.

They take groups with scales in bfloat16, ours are rows with scales in float16. So they are given
scales of 1, and the exact scales are laid on their sums: nothing but the sum is rounded. Up to
MAX_ROWS rows they are faster than a bfloat16 linear, and many times faster than dequantizing
(tests/bench/quantized.py). They are private to torch, so each must pass a self-test before it is
used.

Shapes: M rows, O outputs, I inputs.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from glmctl.core.quantization.absmax import pack, unpack

MAX_ROWS = 8
GROUPS = (256, 128, 64, 32)
STEP = 16  # outputs and inputs come in multiples of it
Product = Callable[[Tensor], Tensor]
"""Rows [M, I] of bfloat16 times the integers of a linear, [M, O]."""


def prepare(weight: Tensor, bits: int) -> Product | None:
    """The product with stored weights, int8 [O, I] or 4-bit [O, I / 2]; None: no kernel has it."""
    num_outputs, num_inputs = len(weight), weight.shape[1] * 8 // bits
    if weight.device.type != "cpu" or num_outputs % STEP or num_inputs % STEP or not works(bits):
        return None
    return lay_out(weight, bits)


def lay_out(weight: Tensor, bits: int) -> Product | None:
    ops = torch.ops.aten
    ones = torch.ones(len(weight), dtype=torch.bfloat16)
    if bits == 8:
        return lambda x: ops._weight_int8pack_mm(x, weight, ones)
    num_inputs = 2 * weight.shape[1]
    group = next((size for size in GROUPS if num_inputs % size == 0), None)
    if group is None:
        return None
    tiles = ops._convert_weight_to_int4pack_for_cpu(unpack(weight).int() + 8, 1)
    pair = torch.stack((ones, torch.zeros_like(ones)), 1)  # scales of 1, zero points of 0, [O, 2]
    unit = pair.expand(num_inputs // group, -1, -1).contiguous()
    return lambda x: ops._weight_int4pack_mm_for_cpu(x, tiles, group, unit)


@cache
def works(bits: int) -> bool:
    """Whether this torch has the kernel, and it gives products that are known."""
    limit = 2 ** (bits - 1)
    values = (torch.arange(64 * 64).view(64, 64) * 7 % (2 * limit) - limit).to(torch.int8)
    x = (torch.arange(3 * 64).view(3, 64) % 5 - 2).bfloat16()
    try:
        product = lay_out(values if bits == 8 else pack(values), bits)
        found = None if product is None else product(x)
    except (AttributeError, RuntimeError):  # removed, renamed, or not built for this processor
        return False
    return found is not None and torch.equal(found, (x.float() @ values.float().T).bfloat16())
