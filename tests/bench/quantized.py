"""One linear of GLM-Large's width, one thread: kernels against dequantizing and plain linears.

Microseconds a call in bfloat16, the best of several rounds in which all take turns; `float32` is a
plain float32 linear. `error` is that of the kernel's outputs against float64, beside that of a
bfloat16 linear with the dequantized weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glmctl.core.quantization.absmax import dequantize, pack, quantize
from glmctl.core.quantization.kernels import MAX_ROWS
from glmctl.core.quantization.swap import QuantizedLinear

SHAPES = ((3072, 1024), (1024, 1024), (4096, 1024), (1024, 4096))
ROUNDS = 5
CALLS = 20


def seconds(call: Callable[[], Tensor]) -> float:
    started_at = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - started_at) / CALLS


def error(found: Tensor, exact: Tensor) -> float:
    return ((found.double() - exact).norm() / exact.norm()).item()


def compare(num_outputs: int, num_inputs: int, bits: int, num_rows: int) -> None:
    plain = nn.Linear(num_inputs, num_outputs, bias=False)
    values, scale = quantize(plain.weight, bits, "weight")
    linear = QuantizedLinear(plain, bits)
    linear.weight, linear.weight_scale = values if bits == 8 else pack(values), scale
    x = torch.randn(num_rows, num_inputs).bfloat16()
    wide, half = plain.weight.clone(), plain.weight.bfloat16()
    calls = {
        "kernel": lambda: linear(x),
        "dequantize": lambda: linear.part(x, slice(None)),
        "bfloat16": lambda: F.linear(x, half),
        "float32": lambda: F.linear(x.float(), wide),
    }
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, call in calls.items():
            best[name] = min(best[name], seconds(call))
    exact = x.double() @ dequantize(values, scale, torch.float64).T
    times = "  ".join(f"{name} {1e6 * best[name]:7.0f}" for name in calls)
    errors = f"{error(linear(x), exact):.1e} / {error(calls['dequantize'](), exact):.1e}"
    print(f"{num_outputs} x {num_inputs}  int{bits}  rows {num_rows:2}  {times}  error {errors}")


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.inference_mode():
        for shape in SHAPES:
            for bits in (8, 4):
                for num_rows in (1, 4, MAX_ROWS):
                    compare(*shape, bits, num_rows)


if __name__ == "__main__":
    main()
