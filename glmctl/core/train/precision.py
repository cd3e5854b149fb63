"""The arithmetic of a run: where the model lives and in which type it computes."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from glmctl.errors import MachineError
from glmctl.recipe.schema import TrainConfig


def choose_device(asked: str | None) -> torch.device:
    """The device to compute on: cuda when there is one, unless told.

    Raises:
        MachineError: cuda is asked for and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if asked == "cuda" and not has_cuda:
        raise MachineError("--device cuda", "no CUDA GPU is found; use --device cpu")
    return torch.device(asked or ("cuda" if has_cuda else "cpu"))


def place(model: nn.Module, config: TrainConfig, device: torch.device) -> None:
    """Move the model to its device and give its weights their type."""
    if config.deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.use_deterministic_algorithms(True)
    model.to(device, torch.float64 if config.precision == "fp64" else torch.float32)


def arithmetic(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Around each forward: bfloat16 products with float32 weights, or the type of the weights."""
    if config.precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
