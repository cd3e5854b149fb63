"""LoRA by peft: the model stays as it is, and a narrow product beside some linears is trained.

Shapes: M rows, I inputs, O outputs.
"""

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from glmctl.core.checkpoint import durable
from glmctl.core.model.attention import Projection
from glmctl.core.model.glm import GLM
from glmctl.errors import MachineError
from glmctl.recipe.schema import AdapterConfig

NAME = "default"
PREFIX = "base_model.model."  # what peft puts in front of the names in its files


def require_peft(config: AdapterConfig) -> None:
    """Refuse an adapter that this machine cannot make.

    Raises:
        MachineError: peft is not installed.
    """
    if config.kind == "lora" and find_spec("peft") is None:
        problem = f"{config.kind!r} needs the package peft; pip install 'glmctl[lora]'"
        raise MachineError("adapter.kind", problem)


def add_adapter(model: GLM, config: AdapterConfig, seed: int) -> None:
    """Put an adapter that changes nothing yet beside the linears, and freeze everything else."""
    from peft import inject_adapter_in_model

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(peft_config(config, None), model, NAME)
    for _, layer in adapted(model):
        if isinstance(layer.base_layer, Projection):
            layer.part = partial(part, layer)


def peft_config(config: AdapterConfig, initial_model: str | None) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=[*config.targets],
        base_model_name_or_path=initial_model,
    )


def part(layer: Any, x: Tensor, outputs: slice) -> Tensor:
    """Some outputs of an adapted projection, [M, I] -> [M, outputs]."""
    narrow = layer.lora_A[NAME](layer.lora_dropout[NAME](x))
    change = F.linear(narrow, layer.lora_B[NAME].weight[outputs])
    return layer.base_layer.part(x, outputs) + change * layer.scaling[NAME]  # type: ignore[no-any-return]


def adapted(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The linears that have an adapter, by name."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def merged_weights(model: GLM) -> dict[str, Tensor]:
    """The weights of a plain model that computes the same."""
    weights = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in model.state_dict().items()
        if ".lora_" not in name
    }
    with torch.no_grad():
        for name, layer in adapted(model):
            weights[f"{name}.weight"] = layer.base_layer.weight + layer.get_delta_weight(NAME)
    return weights


def save_adapter(folder: Path, model: GLM, config: AdapterConfig, initial_model: str) -> None:
    """Write the adapter alone, in the two files of peft."""
    tensors = {
        PREFIX + name.replace(f".{NAME}.", "."): tensor.contiguous()
        for name, tensor in model.state_dict().items()
        if ".lora_" in name
    }
    with durable.publish(folder) as scratch:
        save_file(tensors, scratch / "adapter_model.safetensors", {"format": "pt"})
        peft_config(config, initial_model).save_pretrained(scratch)
