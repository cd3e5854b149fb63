"""How fast a step was against what the machine can do."""

import resource
import time
from collections import Counter
from collections.abc import Iterable

import torch

from glmctl.core.data.batch import Batch
from glmctl.core.train.precision import arithmetic
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.plan import Sample, forward_flops
from glmctl.recipe.schema import TrainConfig

PEAK_SIZES = {"cpu": 1024, "cuda": 8192}  # of the square matrices whose product is timed
PEAK_ROUNDS = 5


def measured_peak(config: TrainConfig, device: torch.device) -> float:
    """Operations a second of a large matrix product in the precision of the run.

    On a CPU the time of the process is taken, so that a busy machine does not look slow.
    """
    size = PEAK_SIZES[device.type]
    dtype = torch.float64 if config.precision == "fp64" else torch.float32
    a, b = (torch.rand(size, size, device=device, dtype=dtype) for _ in range(2))
    clock, num_clocks = time.perf_counter, 1
    if device.type == "cpu":
        clock, num_clocks = time.process_time, torch.get_num_threads()
    best = float("inf")
    for _ in range(PEAK_ROUNDS + 1):  # the first one warms up
        wait_for(device)
        started_at = clock()
        with torch.no_grad(), arithmetic(config, device):
            a @ b
        wait_for(device)
        best = min(best, (clock() - started_at) / num_clocks)
    return 2 * size**3 / best


def needed_flops(config: ModelConfig, batches: Iterable[Batch]) -> float:
    """Operations of forward and backward that somebody needs, as the plan counts them."""
    num_flops = 0.0
    for batch in batches:
        num_in_a = batch.num_targets / len(batch.segments.lengths)  # masked LM has no Part B
        shapes = Counter(zip(batch.segments.lengths, batch.segments.part_a_lengths, strict=True))
        for (length, a), count in shapes.items():
            sample = Sample(1.0, a, length - a, 0.0, length - a or num_in_a)
            num_flops += 3 * count * forward_flops(config, sample)
    return num_flops


def peak_memory(device: torch.device) -> int:
    """Most bytes held so far: of the GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
