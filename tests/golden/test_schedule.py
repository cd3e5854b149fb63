"""Learning rates and decay groups against those that the original code recorded."""

import json
import re

import numpy as np

from glmctl.core.checkpoint.dialects.original import our_name
from glmctl.core.model.glm import GLM
from glmctl.core.train.optimizer import decay_groups
from glmctl.core.train.schedule import learning_rate
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import ScheduleConfig


def test_learning_rates_are_those_of_the_original(recorded):
    with np.load(recorded("glm_orig/lr_schedule.npz")) as arrays:
        rates_of = {name: arrays[name] for name in arrays.files}
    checked = 0
    for name, expected in rates_of.items():
        kind, numbers = name.split("/")
        if kind == "exponential":  # a constant under another name in the original
            continue
        warmup, total, floor = re.fullmatch(r"w(\d+)_n(\d+)_r([\d.]+)", numbers).groups()
        config = ScheduleConfig(kind=kind, warmup_steps=int(warmup), min_ratio=float(floor))
        # The original's linear decay has no floor: it goes on below it, even below zero.
        defined = int(total) + 1 if kind == "linear" else len(expected)
        rates = [learning_rate(config, 1e-3, step, int(total)) for step in range(defined)]
        np.testing.assert_allclose(rates, expected[:defined], rtol=1e-12, err_msg=name)
        checked += 1
    assert checked >= 3


def test_the_eight_recorded_steps_have_their_learning_rates(recorded):
    config = ScheduleConfig(kind="cosine", warmup_steps=2, min_ratio=0.1)
    with np.load(recorded("glm_orig/train8.npz")) as arrays:
        expected = arrays["lrs"]
    rates = [learning_rate(config, 2e-3, step, 20) for step in range(8)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_the_decayed_parameters_are_those_of_the_original(recorded):
    names = json.loads(recorded("glm_orig/param_groups.json").read_text())
    sizes = json.loads(recorded("glm_orig/config.json").read_text())
    model = GLM(
        ModelConfig(
            num_layers=sizes["num_layers"],
            hidden_size=sizes["hidden_size"],
            num_attention_heads=sizes["num_attention_heads"],
            max_positions=sizes["max_sequence_length"],
            vocab_rows=sizes["vocab_size"],
        )
    )
    decayed, kept = decay_groups(model)
    assert set(decayed) == {our_name(name) for name in names["decay"]}
    assert set(kept) == {our_name(name) for name in names["no_decay"]}
