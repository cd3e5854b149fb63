"""What training changes: the weights, the optimizer's moments and the number of updates done."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from glmctl.core.checkpoint import durable
from glmctl.core.model.glm import GLM
from glmctl.core.parallel.replicas import ALONE, Replicas
from glmctl.core.train.precision import LossScale


@dataclass
class TrainState:
    """A model, its optimizer and the updates done."""

    model: GLM
    optimizer: Optimizer
    scale: LossScale
    step: int = 0
    replicas: Replicas = ALONE
    network: nn.Module = field(init=False)
    """The model as the loop calls it: its backward adds what all replicas found."""

    def __post_init__(self) -> None:
        self.network = self.replicas.wrap(self.model)

    @property
    def device(self) -> torch.device:
        return self.model.word_embedding.weight.device

    @property
    def num_parameters(self) -> int:
        return sum(weight.numel() for weight in self.weights().values())

    @property
    def num_trained_parameters(self) -> int:
        return sum(it.numel() for it in self.model.parameters() if it.requires_grad)

    def weights(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds: `model.NAME`, `optimizer.QUANTITY.NAME`, a loss scale.

        Weights that are not trained are those of the initial model.
        """
        trained = {n: it for n, it in self.model.named_parameters() if it.requires_grad}
        tensors = {f"model.{name}": weight.detach() for name, weight in trained.items()}
        for name, parameter in trained.items():
            for quantity, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{quantity}.{name}"] = value
        return tensors | self.scale.tensors()

    def restore(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Take over the tensors of a checkpoint of the same recipe."""
        self.step = step
        self.scale.restore(tensors)
        parameters = dict(self.model.named_parameters())
        with torch.no_grad():
            for key, tensor in tensors.items():
                part, rest = key.split(".", 1)
                if part == "model":
                    parameters[rest].copy_(tensor)
                elif part == "optimizer":
                    quantity, name = rest.split(".", 1)
                    self.optimizer.state[parameters[name]][quantity] = tensor.to(self.device)

    def parameter_digest(self) -> str:
        """One digest of all weights: equal runs have equal ones."""
        return durable.digest_all({n: durable.digest(w) for n, w in self.weights().items()})
