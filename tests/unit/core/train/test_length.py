"""How long a run is, and how many rows are held at once."""

import numpy as np
import pytest
import torch

from glmctl.core.data.order import RowOrder
from glmctl.core.train import length
from glmctl.core.train.length import settle_length, settle_micro_batch
from glmctl.errors import MachineError
from glmctl.recipe.load import load_recipe
from glmctl.recipe.schema import Recipe

CPU = torch.device("cpu")
GIB = 2**30


def tiny(*overrides: str) -> Recipe:
    return load_recipe("smoke/tiny", overrides)


def without_steps(*overrides: str) -> Recipe:
    recipe = tiny("train.global_batch_size=4", "train.micro_batch_size=2")
    values = dict(part.split("=") for part in overrides)
    numbers = {name: float(value) if "." in value else int(value) for name, value in values.items()}
    return length.with_train(recipe, {"steps": None, **numbers})


@pytest.fixture
def order() -> RowOrder:
    """22 rows an epoch, one document each: [CLS], 10 tokens, [eos]."""
    return RowOrder(np.full(22, 10), 24, pack=False, seed=1)


def test_steps_are_whole_batches(order):
    recipe, end_row = settle_length(tiny("train.steps=7"), order)
    assert (recipe.train.steps, end_row) == (7, 7 * 64)


def test_epochs_end_with_their_last_row(order):
    recipe, end_row = settle_length(without_steps("epochs=2"), order)
    assert (recipe.train.steps, end_row) == (11, 44)
    recipe, end_row = settle_length(without_steps("epochs=1"), order)
    assert (recipe.train.steps, end_row) == (6, 22)


def test_a_part_of_an_epoch_is_that_part_of_its_rows(order):
    recipe, end_row = settle_length(without_steps("epochs=1.5"), order)
    assert (recipe.train.steps, end_row) == (9, 33)


def test_tokens_are_rounded_up_to_whole_steps(order):
    assert order.tokens_per_row == 12
    recipe, _ = settle_length(without_steps("tokens=96"), order)  # 48 a step
    assert recipe.train.steps == 2
    recipe, _ = settle_length(without_steps("tokens=97"), order)
    assert recipe.train.steps == 3


def test_packed_rows_are_full():
    assert RowOrder(np.full(22, 10), 24, pack=True, seed=1).tokens_per_row == 24


def auto() -> Recipe:
    return load_recipe(
        "glm-base", ["train.micro_batch_size=auto", "train.activation_checkpointing=false"], gpus=1
    )


def test_the_largest_divisor_that_fits_is_chosen_and_said(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(length, "free_memory", lambda _: 40 * GIB)
    recipe = settle_micro_batch(auto(), None, CPU, said.append)
    monkeypatch.setattr(length, "free_memory", lambda _: 10 * GIB)
    smaller = settle_micro_batch(auto(), None, CPU, said.append)
    assert recipe.train.micro_batch_size == 128  # 26 of 32 usable GiB
    assert smaller.train.micro_batch_size == 32
    assert said[0].startswith("micro batch: 128 rows, ")
    assert recipe.train.global_batch_size == 1024


def test_a_run_keeps_the_size_that_it_began_with():
    recipe = settle_micro_batch(auto(), 8, CPU, pytest.fail)
    assert recipe.train.micro_batch_size == 8


def test_a_model_of_which_no_row_fits_is_refused_with_both_sizes(monkeypatch):
    monkeypatch.setattr(length, "free_memory", lambda _: GIB)
    with pytest.raises(MachineError, match=r"one row needs [\d.]+ GiB and 1.0 GiB are free"):
        settle_micro_batch(auto(), None, CPU, pytest.fail)
