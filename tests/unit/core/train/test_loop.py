"""One training step: what it computes, and when it refuses."""

import signal

import pytest
import torch

from glmctl.core.data.batch import Batch, StepData
from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.core.train.guard import StopSignalError, StopSignals
from glmctl.core.train.loop import losses_by_kind, train_step
from glmctl.core.train.optimizer import make_optimizer
from glmctl.core.train.precision import LossScale, place
from glmctl.core.train.state import TrainState
from glmctl.errors import InputError, NumericalError
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import OptimizerConfig, TrainConfig

CPU = torch.device("cpu")
# A sample of 6 tokens, 4 of them Part A, and one of 7, 5 of them Part A.
FIRST = ([5, 6, 1, 7, 2, 8], [[0, 1, 2, 3, 2, 2], [0, 0, 0, 0, 1, 2]], 4, [8, 3])
SECOND = ([9, 1, 4, 4, 6, 2, 7], [[0, 1, 2, 3, 4, 1, 1], [0, 0, 0, 0, 0, 1, 2]], 5, [7, 3])


def pack(*samples: tuple) -> Batch:
    ids, places, wanted, targets = [], [[], []], [], []
    for sample_ids, (row0, row1), part_a, sample_targets in samples:
        wanted += range(len(ids) + part_a, len(ids) + len(sample_ids))
        ids += sample_ids
        places[0] += row0
        places[1] += row1
        targets += sample_targets
    return Batch(
        torch.tensor(ids),
        torch.tensor(places),
        Segments(tuple(len(s[0]) for s in samples), tuple(s[2] for s in samples)),
        torch.tensor(wanted),
        torch.tensor(targets),
        torch.zeros(len(targets), dtype=torch.int64),
        len(targets),
    )


def data(*batches: Batch) -> StepData:
    return StepData(dict(enumerate(batches)), num_tokens=13, first_row=32, num_rows=2)


def config(**values: object) -> TrainConfig:
    defaults = {"steps": 10, "global_batch_size": 2, "micro_batch_size": 1, "precision": "fp64"}
    return TrainConfig(**defaults | values)


def make_state(train: TrainConfig, *, dropout: float = 0.0, kind: str = "adamw") -> TrainState:
    model = GLM(
        ModelConfig(
            num_layers=2,
            hidden_size=16,
            num_attention_heads=2,
            max_positions=8,
            vocab_rows=16,
            dropout=dropout,
            attention_dropout=dropout,
        )
    )
    model.init_weights(3)
    place(model, train, CPU)
    return TrainState(model, make_optimizer(model, OptimizerConfig(kind=kind)), LossScale.of(train))


def flat(state: TrainState) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in state.weights().values()]).clone()


def test_accumulated_micro_batches_equal_one_large_batch():
    one, two = make_state(config()), make_state(config())
    for _ in range(3):
        large = train_step(one, data(pack(FIRST, SECOND)), config(), 0.01, StopSignals())
        small = train_step(two, data(pack(FIRST), pack(SECOND)), config(), 0.01, StopSignals())
        assert small.loss == pytest.approx(large.loss, rel=1e-12)
        assert small.grad_norm == pytest.approx(large.grad_norm, rel=1e-12)
    torch.testing.assert_close(flat(two), flat(one), rtol=1e-12, atol=1e-14)


def test_every_target_token_weighs_the_same_whatever_its_micro_batch():
    long, short = pack(FIRST, SECOND), pack(FIRST)
    train = config(max_grad_norm=1e9)
    losses, moves = {}, {}
    for name, batches in {"long": [long], "short": [short], "both": [long, short]}.items():
        state = make_state(train, kind="sgd")
        state.optimizer.param_groups[0]["weight_decay"] = 0.0
        before = flat(state)
        losses[name] = train_step(state, data(*batches), train, 0.1, StopSignals()).loss
        moves[name] = flat(state) - before
    assert losses["both"] == pytest.approx((4 * losses["long"] + 2 * losses["short"]) / 6)
    expected = (4 * moves["long"] + 2 * moves["short"]) / 6
    torch.testing.assert_close(moves["both"], expected, rtol=1e-9, atol=1e-12)


def test_an_untrained_model_loses_the_logarithm_of_the_vocabulary():
    metrics = train_step(make_state(config()), data(pack(FIRST)), config(), 0.0, StopSignals())
    assert metrics.loss == pytest.approx(2.7726, abs=0.1)  # ln 16


def test_a_step_counts_itself_and_leaves_no_gradient():
    state = make_state(config())
    train_step(state, data(pack(FIRST)), config(), 0.01, StopSignals())
    assert state.step == 1
    assert all(parameter.grad is None for parameter in state.model.parameters())


def test_plain_sgd_takes_the_clipped_gradient_times_the_rate():
    train = config(max_grad_norm=0.5)
    state = make_state(train, kind="sgd")
    before = flat(state)
    metrics = train_step(state, data(pack(FIRST)), train, 0.1, StopSignals())
    assert metrics.grad_norm > 0.5
    moved = (flat(state) - before).norm().item()
    assert moved == pytest.approx(0.1 * 0.5, rel=0.1)  # the decay adds a little


def test_dropout_depends_on_the_step_alone():
    train = config(precision="fp32")
    one, two = make_state(train, dropout=0.5), make_state(train, dropout=0.5)
    torch.rand(7)
    first = train_step(one, data(pack(FIRST), pack(SECOND)), train, 0.0, StopSignals()).loss
    torch.rand(100)
    second = train_step(two, data(pack(FIRST), pack(SECOND)), train, 0.0, StopSignals()).loss
    third = train_step(two, data(pack(FIRST), pack(SECOND)), train, 0.0, StopSignals()).loss
    assert first == second
    assert third != second


def test_two_micro_steps_have_masks_of_their_own():
    train = config(precision="fp32")
    once, twice = make_state(train, dropout=0.5), make_state(train, dropout=0.5)
    single = train_step(once, data(pack(FIRST)), train, 0.0, StopSignals()).loss
    double = train_step(twice, data(pack(FIRST), pack(FIRST)), train, 0.0, StopSignals()).loss
    assert double != single


def test_a_step_without_any_target_is_an_error_that_names_its_rows():
    with pytest.raises(InputError, match=r"rows 32 to 33: hide no token at all.*data.pack = true"):
        train_step(make_state(config()), data(), config(), 0.0, StopSignals())


def test_a_loss_that_is_not_finite_stops_the_run_before_a_weight_changes():
    state = make_state(config())
    with torch.no_grad():
        state.model.final_norm.weight[0] = torch.nan
    before = flat(state)
    with pytest.raises(
        NumericalError,
        match=r"step 1: loss nan, gradient norm nan, learning rate 1.000e-02, rows 32 to 33; .*"
        r"lower optimizer.peak_lr",
    ):
        train_step(state, data(pack(FIRST)), config(), 0.01, StopSignals())
    assert torch.equal(flat(state).nan_to_num(), before.nan_to_num())
    assert state.step == 0


def test_a_gradient_that_is_not_finite_stops_the_run_though_the_loss_is():
    state = make_state(config())
    before = flat(state)
    state.model.final_norm.bias.register_hook(lambda grad: grad * torch.inf)
    with pytest.raises(NumericalError, match=r"loss 2\.\d+, gradient norm (inf|nan)"):
        train_step(state, data(pack(FIRST)), config(), 0.01, StopSignals())
    assert torch.equal(flat(state), before)


def test_a_float16_overflow_skips_the_update_and_a_later_step_goes_on():
    train = config(precision="fp16")
    state = make_state(train)
    state.scale.value = 1024.0
    before = flat(state)
    handle = state.model.final_norm.bias.register_hook(lambda grad: grad * torch.inf)
    skipped = train_step(state, data(pack(FIRST)), train, 0.01, StopSignals())
    assert skipped.is_skipped
    assert torch.equal(flat(state), before)
    handle.remove()
    done = train_step(state, data(pack(FIRST)), train, 0.01, StopSignals())
    assert not done.is_skipped
    assert state.step == 2
    assert not torch.equal(flat(state), before)


def test_float16_takes_the_step_of_float32():
    norms = {}
    for precision in ("fp32", "fp16"):
        train = config(precision=precision)
        state = make_state(train)
        if precision == "fp16":
            state.scale.value = 1024.0
        norms[precision] = train_step(state, data(pack(FIRST)), train, 0.0, StopSignals()).grad_norm
    assert norms["fp16"] == pytest.approx(norms["fp32"], rel=1e-2)


def test_losses_are_told_apart_by_objective_and_span_length():
    sums = torch.zeros(2, 5 * 5)
    sums[:, 0] = torch.tensor([6.0, 2.0])  # token objective, spans of 1: mean 3 of 2
    sums[:, 1] = torch.tensor([4.0, 4.0])  # token objective, spans of 2-3
    sums[:, 2 * 5 + 4] = torch.tensor([8.0, 2.0])  # document objective, 16 and more
    assert losses_by_kind(sums) == {
        "loss_token": pytest.approx(10 / 6),
        "loss_document": 4.0,
        "loss_by_span_length": {"1": 3.0, "2-3": 1.0, "16-": 4.0},
    }


def test_a_signal_ends_an_accumulation_before_a_weight_changes():
    state = make_state(config())
    before = flat(state)
    with StopSignals() as stop:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StopSignalError):
            train_step(state, data(pack(FIRST), pack(SECOND)), config(), 0.01, stop)
    assert stop.received is signal.SIGTERM
    assert torch.equal(flat(state), before)


def test_a_second_ctrl_c_acts_at_once():
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # none in the background
    with StopSignals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, previous)


def test_bfloat16_keeps_float32_weights_and_stays_near_float32():
    losses = {}
    for precision in ("fp32", "bf16"):
        train = config(precision=precision)
        state = make_state(train)
        losses[precision] = train_step(state, data(pack(FIRST)), train, 0.0, StopSignals()).loss
        assert state.model.word_embedding.weight.dtype == torch.float32
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=3e-2)
    assert losses["bf16"] != losses["fp32"]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_state_comes_back_from_its_tensors_and_trains_on_alike(kind):
    one = make_state(config(), kind=kind)
    train_step(one, data(pack(FIRST)), config(), 0.01, StopSignals())
    tensors = {name: tensor.clone() for name, tensor in one.tensors().items()}
    two = make_state(config(), kind=kind)
    two.restore(1, tensors)
    for state in (one, two):
        train_step(state, data(pack(SECOND)), config(), 0.01, StopSignals())
    assert two.step == 2
    assert two.parameter_digest() == one.parameter_digest()
