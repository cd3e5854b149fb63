"""What a recipe leaves to the corpora or to the machine: the steps of the run, the micro batch."""

import os
from collections.abc import Callable

import torch

from glmctl.core.data.order import RowOrder
from glmctl.errors import MachineError
from glmctl.recipe.plan import GIB, make_plan
from glmctl.recipe.schema import Recipe

USABLE_SHARE = 0.8  # of the free memory; the plan is an estimate


def settle_length(recipe: Recipe, order: RowOrder) -> tuple[Recipe, int]:
    """Fill in `train.steps`.

    Returns:
        The recipe, and the row after the last one that the run reads: a run of whole epochs ends
        with them, its last step is as small as what is left.
    """
    train = recipe.train
    if train.epochs is not None:
        whole, part = divmod(train.epochs, 1)
        begin, end = order.first_row(int(whole)), order.first_row(int(whole) + 1)
        num_rows = begin + round(part * (end - begin))
        steps = -(-num_rows // train.global_batch_size)
    elif train.tokens is not None:
        steps = -(-train.tokens // round(order.tokens_per_row * train.global_batch_size))
        num_rows = steps * train.global_batch_size
    else:
        assert train.steps is not None
        steps, num_rows = train.steps, train.steps * train.global_batch_size
    return with_train(recipe, {"steps": steps, "tokens": None, "epochs": None}), num_rows


def settle_micro_batch(
    recipe: Recipe, known: int | None, device: torch.device, note: Callable[[str], None]
) -> Recipe:
    """Fill in `train.micro_batch_size`: the most rows whose planned memory is free.

    A run keeps the size that it began with, if that is `known`; processes on one CPU share memory.
    """
    if recipe.train.micro_batch_size != "auto":
        return recipe
    if known is not None:
        return with_train(recipe, {"micro_batch_size": known})
    free = free_memory(device)
    if device.type == "cpu":
        free //= recipe.topology.gpus_per_node
    rows = recipe.train.global_batch_size // recipe.topology.data_parallel_size
    for size in range(rows, 0, -1):
        if rows % size:
            continue
        candidate = with_train(recipe, {"micro_batch_size": size})
        needed = make_plan(candidate).memory_per_gpu.total_bytes
        if needed <= USABLE_SHARE * free:
            note(f"micro batch: {size} rows, {needed / GIB:.1f} of {free / GIB:.1f} GiB planned")
            return candidate
    raise MachineError(
        "train.micro_batch_size",
        f"auto finds no size: one row needs {needed / GIB:.1f} GiB and {free / GIB:.1f} GiB are "
        "free; set train.activation_checkpointing = true, or train a smaller model",
    )


def free_memory(device: torch.device) -> int:
    """Bytes of the GPU, or of the machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def with_train(recipe: Recipe, values: dict[str, int | None]) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=values)})
