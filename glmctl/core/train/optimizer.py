"""The update rule, which parameters it decays, and the clipping of gradients."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from glmctl.recipe.schema import OptimizerConfig

CLIP_EPS = 1e-6


def decay_groups(model: nn.Module) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
    """Split the trained parameters as the original does: those that decay, then those that do not.

    Norms and parameters named `bias` do not; embeddings do, and the two query biases of
    relative positions, which have other names.
    """
    decayed: dict[str, nn.Parameter] = {}
    kept: dict[str, nn.Parameter] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if not parameter.requires_grad:
                continue
            is_exempt = (
                isinstance(module, nn.LayerNorm | nn.RMSNorm) or name.split(".")[-1] == "bias"
            )
            (kept if is_exempt else decayed)[name] = parameter
    return decayed, kept


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """Build the optimizer; its rate is set before each update by `set_learning_rate`."""
    decayed, kept = decay_groups(model)
    groups = [
        {"params": [*decayed.values()], "weight_decay": config.weight_decay},
        {"params": [*kept.values()], "weight_decay": 0.0},
    ]
    if config.kind == "sgd":
        return SGD(groups, lr=config.peak_lr)
    return AdamW(groups, lr=config.peak_lr, betas=config.betas, eps=config.eps, fused=True)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(
    parameters: Iterable[nn.Parameter], max_norm: float, scale: float = 1.0
) -> Tensor:
    """Scale all gradients down to a joint L2 norm of `max_norm`; return the norm before.

    The loss was multiplied by `scale`, which is undone.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients) / scale
    coefficient = (max_norm / (norm + CLIP_EPS)).clamp(max=1.0) / scale
    if coefficient != 1:
        torch._foreach_mul_(gradients, coefficient)
    return norm
