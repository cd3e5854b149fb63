"""Row-wise absmax, as GLM-130B and ChatGLM were released: integers and one float16 scale a row.

    scale = float16(max |w| / limit)        limit = 127 for 8 bits, 7 for 4 bits
    q     = round(w / scale), half to even

The quotient has the type that torch promotes both to, so float16 weights are divided in float16.

Shapes: O rows (outputs of a linear), I columns (its inputs).
"""

import torch
from torch import Tensor

from glmctl.errors import InputError


def quantize(weight: Tensor, bits: int, name: str) -> tuple[Tensor, Tensor]:
    """Integers of a matrix, int8 [O, I], and their scales, float16 [O].

    A row whose scale would be below the smallest float16 becomes 0. Refused by its name is a matrix
    with a weight too large for a float16 scale, or with columns that are no pairs of 4 bits.
    """
    if bits == 4 and weight.shape[1] % 2:
        raise InputError(
            name, f"has {weight.shape[1]} columns, and 4 bits are packed in pairs; use 8 bits"
        )
    limit = 2 ** (bits - 1) - 1
    largest = weight.abs().amax(1).to(torch.promote_types(weight.dtype, torch.float32))
    scale = (largest / limit).half()  # [O]
    if not scale.isfinite().all():
        row = int((~scale.isfinite()).nonzero()[0])
        raise InputError(
            name,
            f"the largest weight of row {row} is {largest[row].item():g}, which has no float16 "
            "scale; a model with such weights cannot be quantized",
        )
    divisor = scale.where(scale > 0, torch.inf)[:, None]
    # A scale among the smallest float16 is far from the quotient, which then passes the limit.
    return (weight / divisor).round().clamp(-limit, limit).to(torch.int8), scale


def dequantize(values: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """The weights that the integers stand for: exact products, rounded to `dtype`, [O, I]."""
    return (values * scale.float()[:, None]).to(dtype)


def pack(values: Tensor) -> Tensor:
    """Two 4-bit integers a byte, the even column in the high half: [O, I] -> int8 [O, I / 2]."""
    return (values[:, ::2] << 4) | (values[:, 1::2] & 0xF)


def unpack(packed: Tensor) -> Tensor:
    """The 4-bit integers of each byte: int8 [O, I / 2] -> int8 [O, I]."""
    return torch.stack((packed >> 4, (packed << 4) >> 4), 2).flatten(1)
