"""Initial weights: N(0, std), smaller where a branch meets the stream.

The released models have std 0.02, about 1 / sqrt(H) at their widths. In a narrow model it leaves
the attention scores near zero for thousands of steps. Position tables may begin as sinusoids,
from which neighbours are found sooner than from unrelated vectors.

Shapes: P places, H hidden.
"""

import torch
from torch import Tensor, nn

from glmctl.recipe.model import ModelConfig


def init_weights(model: nn.Module, config: ModelConfig, seed: int) -> None:
    """Draw every weight anew; the same seed gives the same model on every device.

    Biases become 0 and norm weights 1. The two linears of a layer whose results are added to
    the residual stream are drawn with std / sqrt(2 L).
    """
    std, num_layers = config.init_std, config.num_layers
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            nn.init.ones_(parameter)
        elif parameter.dim() == 1 or name.startswith("relative."):
            nn.init.zeros_(parameter)
        else:
            meets_stream = name.endswith(("attention.output.weight", "ffn.down.weight"))
            scale = std / (2 * num_layers) ** 0.5 if meets_stream else std
            draw = torch.empty(parameter.shape, dtype=torch.float32).normal_(
                0, scale, generator=generator
            )
            if name.endswith("position_embedding.weight") and config.position_init == "sinusoidal":
                draw = sinusoids(*parameter.shape) * (std * 2**0.5)
            with torch.no_grad():
                parameter.copy_(draw)


def sinusoids(num_places: int, width: int) -> Tensor:
    """Waves of lengths 2 pi to 2 pi P: sines, then cosines, [P, H]."""
    exponents = torch.arange(0, width, 2) / width  # [H / 2]
    angles = torch.arange(num_places)[:, None] * float(num_places) ** -exponents
    return torch.cat([angles.sin(), angles.cos()], 1)[:, :width]
