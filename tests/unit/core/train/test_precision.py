"""How the model computes: recomputed activations, and the loss scale of float16."""

import pytest
import torch

from glmctl.core.model.glm import GLM
from glmctl.core.model.sight import Segments
from glmctl.core.train.precision import LossScale, place
from glmctl.recipe.model import ModelConfig
from glmctl.recipe.schema import TrainConfig

CPU = torch.device("cpu")


def config(**values: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"steps": 1, "global_batch_size": 1, "micro_batch_size": 1, **values}
    )


def gradients(train: TrainConfig, dropout: float = 0.3) -> list[torch.Tensor]:
    sizes = {"num_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "max_positions": 8}
    model = GLM(ModelConfig.model_validate({**sizes, "vocab_rows": 16, "dropout": dropout}))
    model.init_weights(3)
    place(model, train, CPU)
    torch.manual_seed(5)
    total, _ = model(
        torch.tensor([5, 6, 1, 7, 2, 8]),
        torch.tensor([[0, 1, 2, 3, 2, 2], [0, 0, 0, 0, 1, 2]]),
        Segments((6,), (4,)),
        torch.tensor([4, 5]),
        torch.tensor([8, 3]),
    )
    total.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_recomputed_activations_give_the_same_gradients_dropout_included():
    kept = gradients(config())
    recomputed = gradients(config(activation_checkpointing=True))
    assert all(torch.equal(a, b) for a, b in zip(kept, recomputed, strict=True))


def test_recomputing_calls_each_layer_twice(monkeypatch):
    calls = []
    from glmctl.core.model.block import FeedForward

    original = FeedForward.forward
    monkeypatch.setattr(
        FeedForward, "forward", lambda self, x: calls.append(1) or original(self, x)
    )
    gradients(config())
    assert len(calls) == 2
    gradients(config(activation_checkpointing=True))
    assert len(calls) == 2 + 4


@pytest.mark.slow
def test_compiled_parts_give_the_same_gradients(tmp_path, monkeypatch):
    # Runs beside each other would otherwise compile into one folder.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain = gradients(config(), dropout=0.0)
    compiled = gradients(config(compile=True), dropout=0.0)
    for a, b in zip(plain, compiled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_scale_doubles_after_a_thousand_updates():
    scale = LossScale.of(config(precision="fp16"))
    for _ in range(999):
        scale.keep()
    assert scale.value == 2.0**16
    scale.keep()
    assert scale.value == 2.0**17


def test_the_second_overflow_halves_the_scale():
    scale = LossScale.of(config(precision="fp16"))
    scale.fall()
    assert scale.value == 2.0**16
    scale.fall()
    assert scale.value == 2.0**15


def test_the_scale_never_falls_below_one():
    scale = LossScale(2.0, patience=1)
    scale.fall()
    scale.fall()
    assert scale.value == 1.0
    assert not scale.can_fall


def test_other_precisions_have_scale_one_and_nothing_to_save():
    scale = LossScale.of(config(precision="bf16"))
    scale.keep()
    assert scale.value == 1.0
    assert scale.tensors() == {}


def test_a_scale_comes_back_from_a_checkpoint():
    one, two = (LossScale.of(config(precision="fp16")) for _ in range(2))
    one.keep()
    one.fall()
    two.restore(one.tensors())
    assert two == one
