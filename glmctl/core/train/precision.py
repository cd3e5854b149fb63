"""The arithmetic of a run: where the model lives and in which type it computes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from glmctl.core.model.glm import GLM
from glmctl.errors import MachineError
from glmctl.recipe.schema import TrainConfig

HALF_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
FIRST_SCALE = 2.0**16
WINDOW = 1000
HYSTERESIS = 2


def choose_device(asked: str | None) -> torch.device:
    """The device to compute on: cuda when there is one, unless told."""
    has_cuda = torch.cuda.is_available()
    if asked == "cuda" and not has_cuda:
        raise MachineError("--device cuda", "no CUDA GPU is found; use --device cpu")
    return torch.device(asked or ("cuda" if has_cuda else "cpu"))


def place(model: GLM, config: TrainConfig, device: torch.device) -> None:
    """Move the model to its device, give its weights their type, and set how it computes."""
    if config.deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.use_deterministic_algorithms(True)
    model.to(device, torch.float64 if config.precision == "fp64" else torch.float32)
    model.recomputes = config.activation_checkpointing
    if config.compile:
        model.compile_parts()


def arithmetic(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Around each forward: half-width products with float32 weights, or the type of the weights."""
    if config.precision in HALF_TYPES:
        return torch.autocast(device.type, HALF_TYPES[config.precision])
    return nullcontext()


@dataclass
class LossScale:
    """Keeps the small gradients of float16 above zero; every other precision has scale 1.

    As released: doubled after a thousand updates without an overflow, halved when the second
    overflow since then comes, never below 1. An overflow skips the update.
    """

    value: float
    clean_steps: int = 0
    patience: int = HYSTERESIS

    @classmethod
    def of(cls, config: TrainConfig) -> LossScale:
        return cls(FIRST_SCALE if config.precision == "fp16" else 1.0)

    @property
    def can_fall(self) -> bool:
        return self.value > 1

    def keep(self) -> None:
        """An update was done."""
        self.clean_steps += 1
        if self.can_fall and self.clean_steps % WINDOW == 0:
            self.value, self.patience = 2 * self.value, HYSTERESIS

    def fall(self) -> None:
        """A gradient overflowed."""
        self.clean_steps, self.patience = 0, self.patience - 1
        if self.patience <= 0:
            self.value = max(1.0, self.value / 2)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds of it; nothing without float16."""
        if not self.can_fall:
            return {}
        state = torch.tensor([self.value, self.clean_steps, self.patience], dtype=torch.float64)
        return {"loss_scale.state": state}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        if "loss_scale.state" in tensors:
            value, clean_steps, patience = tensors["loss_scale.state"].tolist()
            self.value, self.clean_steps, self.patience = value, int(clean_steps), int(patience)
