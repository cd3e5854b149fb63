"""Linears with quantized weights, and how they take the place of those of a model.

A quantized tensor set holds `<linear>.weight` as int8 (two 4-bit values a byte) and
`<linear>.weight_scale` as float16, as the ChatGLM releases do; everything else is as it was.

Shapes: M rows, O outputs, I inputs.
"""

from collections.abc import Callable, Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmctl.core.quantization.absmax import dequantize, unpack
from glmctl.core.quantization.kernels import MAX_ROWS, Product, prepare

SCALE = "weight_scale"


class QuantizedLinear(nn.Module):
    """A linear that keeps its weights as integers; gradients flow through it to its input.

    A few rows of bfloat16 on a CPU go through a kernel, which for 4 bits holds the weights once
    more in its own layout. Everything else dequantizes the weights that it needs.
    """

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, linear: nn.Linear, bits: int) -> None:
        super().__init__()
        num_outputs, num_inputs = linear.weight.shape
        self.bits = bits
        self.register_buffer(
            "weight", torch.empty(num_outputs, num_inputs * bits // 8, dtype=torch.int8)
        )
        self.register_buffer(SCALE, torch.empty(num_outputs, dtype=torch.float16))
        self.bias = linear.bias
        self.product: Product | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[M, I] -> [M, O]."""
        is_frozen = not (torch.is_grad_enabled() and x.requires_grad)
        if x.dtype == torch.bfloat16 and len(x) <= MAX_ROWS and is_frozen:
            self.product = self.product or prepare(self.weight, self.bits)
            if self.product is not None:
                exact = self.product(x.contiguous()) * self.weight_scale.float()
                return (exact if self.bias is None else exact + self.bias).to(x.dtype)
        return self.part(x, slice(None))

    def part(self, x: Tensor, outputs: slice) -> Tensor:
        """Some of the outputs."""
        values = self.weight[outputs] if self.bits == 8 else unpack(self.weight[outputs])
        weight = dequantize(values, self.weight_scale[outputs], x.dtype)
        return F.linear(x, weight, None if self.bias is None else self.bias[outputs])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to a device or change the type, which is not that of the scales."""
        scale = self.weight_scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.weight_scale = scale.to(self.weight.device)
        self.product = None
        return self


def swap_linears(module: nn.Module, tensors: Mapping[str, Tensor], bits: int) -> None:
    """Put quantized linears, their weights still to be loaded, where the tensors have scales."""
    for name, linear in [*module.named_modules()]:
        if isinstance(linear, nn.Linear) and f"{name}.{SCALE}" in tensors:
            module.set_submodule(name, QuantizedLinear(linear, bits))


def dequantized(tensors: Mapping[str, Tensor], bits: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a plain model, whose weights are those that the integers stand for."""
    plain = {name: tensor for name, tensor in tensors.items() if not name.endswith(f".{SCALE}")}
    for name in tensors.keys() - plain.keys():
        weight = name.replace(SCALE, "weight")
        values = plain[weight] if bits == 8 else unpack(plain[weight])
        plain[weight] = dequantize(values, tensors[name], dtype)
    return plain
