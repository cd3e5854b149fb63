"""Model replicas: each takes its share of a step's rows, and their sums are the step's.

Gradients are added, not averaged: the loss is divided by the targets of the whole global batch
before backward, so replicas only split the sum.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


@dataclass(frozen=True)
class Replicas:
    """Which of how many replicas this process is; alone, nothing is sent."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Self:
        """Meet the others, as the launcher's environment says."""
        dist.init_process_group(
            BACKENDS[device.type], device_id=device if device.type == "cuda" else None
        )
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """This one writes files and speaks."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over all replicas (works in place)."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def totals(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The sum of each number over all replicas."""
        if self.size == 1:
            return list(values)
        return self.total(torch.tensor(values, dtype=torch.float64, device=device)).tolist()

    def wrap(self, model: nn.Module) -> nn.Module:
        """The module to call: its backward adds the gradients of all replicas."""
        if self.size == 1:
            return model
        network = DistributedDataParallel(model, gradient_as_bucket_view=True)
        network.register_comm_hook(None, add_gradients)
        return network

    def keep_apart(self, network: nn.Module, is_last: bool) -> AbstractContextManager[object]:
        """Around all micro steps but the last: their gradients are not sent yet."""
        if is_last or not isinstance(network, DistributedDataParallel):
            return nullcontext()
        return network.no_sync()


ALONE = Replicas()


def add_gradients(
    _: object,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[Tensor]:
    """The sum of a bucket over the replicas, where torch's default takes the mean."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    return work.get_future().then(lambda done: done.value()[0])  # type: ignore[no-any-return]
