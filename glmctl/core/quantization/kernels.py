"""torch's CPU products of bfloat16 activations with packed integers, where they keep our rule.

They take groups with scales in bfloat16, ours are rows with scales in float16. So they are given
scales of 1, and the exact scales are laid on their sums: nothing but the sum is rounded. Up to
MAX_ROWS rows they are faster than a bfloat16 linear, and many times faster than dequantizing
(tests/bench/quantized.py). They are private to torch, so each must pass a self-test before it is
used.

Shapes: M rows, O outputs, I inputs.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from glmctl.core.quantization.absmax import pack, unpack

MAX_ROWS = 8
GROUPS = (256, 128, 64, 32)
STEP = 16  # outputs and inputs come in multiples of it


@dataclass(frozen=True)
class Prepared:
    """The weights of a linear as a kernel takes them."""

    weight: Tensor
    unit: Tensor  # scales of 1, and zero points of 0 for 4 bits

    def product(self, x: Tensor) -> Tensor:
        """Rows [M, I] of bfloat16 times the integers, [M, O]."""
        ops = torch.ops.aten
        product: Tensor
        if self.unit.dim() == 1:
            product = ops._weight_int8pack_mm(x, self.weight, self.unit)
        else:
            group = x.shape[1] // len(self.unit)
            product = ops._weight_int4pack_mm_for_cpu(x, self.weight, group, self.unit)
        return product


def prepare(weight: Tensor, bits: int) -> Prepared | None:
    """Lay weights out for the kernel of this width; None when there is none for them.

    Args:
        weight: as stored, int8 [O, I], or [O, I / 2] for 4 bits.
        bits: 8 or 4.
    """
    num_outputs, num_inputs = len(weight), weight.shape[1] * 8 // bits
    if weight.device.type != "cpu" or num_outputs % STEP or num_inputs % STEP or not works(bits):
        return None
    return lay_out(weight, bits)


def lay_out(weight: Tensor, bits: int) -> Prepared | None:
    ones = torch.ones(len(weight), dtype=torch.bfloat16)
    if bits == 8:
        return Prepared(weight, ones)
    num_inputs = 2 * weight.shape[1]
    group = next((size for size in GROUPS if num_inputs % size == 0), None)
    if group is None:
        return None
    tiles = torch.ops.aten._convert_weight_to_int4pack_for_cpu(unpack(weight).int() + 8, 1)
    unit = torch.stack((ones, torch.zeros_like(ones)), 1)  # [O, 2]
    return Prepared(tiles, unit.expand(num_inputs // group, -1, -1).contiguous())


@cache
def works(bits: int) -> bool:
    """Whether this torch has the kernel, and it gives products that are known."""
    limit = 2 ** (bits - 1)
    values = (torch.arange(64 * 64).view(64, 64) * 7 % (2 * limit) - limit).to(torch.int8)
    x = (torch.arange(3 * 64).view(3, 64) % 5 - 2).bfloat16()
    try:
        prepared = lay_out(values if bits == 8 else pack(values), bits)
        found = None if prepared is None else prepared.product(x)
    except (AttributeError, RuntimeError):  # removed, renamed, or not built for this processor
        return False
    return found is not None and torch.equal(found, (x.float() @ values.float().T).bfloat16())
