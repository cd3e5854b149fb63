"""Initial weights of the released models: N(0, 0.02), smaller where a branch meets the stream."""

from __future__ import annotations

import torch
from torch import nn

INIT_STD = 0.02


def init_weights(model: nn.Module, num_layers: int, seed: int) -> None:
    """Draw every weight anew; the same seed gives the same model on every device.

    Biases become 0 and norm weights 1. The two linears of a layer whose results are added to
    the residual stream are drawn with 0.02 / sqrt(2 L).
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            nn.init.ones_(parameter)
        elif parameter.dim() == 1 or name.startswith("relative."):
            nn.init.zeros_(parameter)
        else:
            meets_stream = name.endswith(("attention.output.weight", "ffn.down.weight"))
            std = INIT_STD / (2 * num_layers) ** 0.5 if meets_stream else INIT_STD
            draw = torch.empty(parameter.shape, dtype=torch.float32).normal_(
                0, std, generator=generator
            )
            with torch.no_grad():
                parameter.copy_(draw)
