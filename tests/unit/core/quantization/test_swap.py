import pytest
import torch
from torch import nn
from torch.nn import functional as F

from glmctl.core.quantization import kernels, swap
from glmctl.core.quantization.absmax import pack
from glmctl.core.quantization.swap import QuantizedLinear, dequantized, swap_linears

X = torch.randn(5, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=[8, 4])
def linear(request: pytest.FixtureRequest) -> QuantizedLinear:
    """32 outputs of 64 inputs."""
    bits, generator = request.param, torch.Generator().manual_seed(2)
    limit = 2 ** (bits - 1) - 1
    values = torch.randint(-limit, limit + 1, (32, 64), generator=generator, dtype=torch.int8)
    made = QuantizedLinear(nn.Linear(64, 32), bits)
    made.weight = values if bits == 8 else pack(values)
    made.weight_scale = torch.rand(32, generator=generator).half() / limit
    made.values = values
    return made


def expected(linear: QuantizedLinear, x: torch.Tensor) -> torch.Tensor:
    weight = linear.values.double() * linear.weight_scale.double()[:, None]
    return F.linear(x.double(), weight, linear.bias.double())


def test_outputs_are_those_of_the_weights_that_the_integers_stand_for(linear):
    torch.testing.assert_close(linear(X).double(), expected(linear, X), rtol=1e-5, atol=1e-5)
    found = linear.double()(X.double())
    torch.testing.assert_close(found, expected(linear, X), rtol=1e-12, atol=1e-12)


def test_a_part_of_the_outputs_equals_that_part_of_all(linear):
    whole, x = linear.double()(X.double()), X.double()
    torch.testing.assert_close(linear.part(x, slice(8)), whole[:, :8], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(linear.part(x, slice(8, None)), whole[:, 8:], rtol=1e-12, atol=1e-12)


def test_a_few_rows_of_bfloat16_go_through_a_kernel_that_keeps_the_scales_exact(linear):
    half = linear.bfloat16()
    x = X.bfloat16()
    with torch.inference_mode():
        found = half(x)
    assert half.product is not None
    assert found.dtype == torch.bfloat16
    exact = expected(half, x)
    error = (found.double() - exact).norm() / exact.norm()
    assert error < 2.0**-8  # two roundings to bfloat16 of at most 2 ^ -9 each
    torch.testing.assert_close(found, half.part(x, slice(None)), rtol=0.02, atol=0.02)


def test_many_rows_and_other_types_do_without_a_kernel(linear, monkeypatch):
    monkeypatch.setattr(swap, "prepare", lambda *_: pytest.fail("a kernel was used"))
    with torch.inference_mode():
        linear(X)
        linear.bfloat16()(torch.cat([X, X]).bfloat16())


def test_a_torch_without_the_kernels_dequantizes(linear, monkeypatch):
    monkeypatch.setattr(torch.ops, "aten", object())
    kernels.works.cache_clear()
    half, x = linear.bfloat16(), X.bfloat16()
    with torch.inference_mode():
        assert torch.equal(half(x), half.part(x, slice(None)))
    assert half.product is None
    kernels.works.cache_clear()


def test_a_kernel_that_gives_other_products_is_not_used(linear, monkeypatch):
    right = kernels.lay_out
    monkeypatch.setattr(kernels, "lay_out", lambda *of: lambda x: right(*of)(x) + 1)
    kernels.works.cache_clear()
    half, x = linear.bfloat16(), X.bfloat16()
    with torch.inference_mode():
        assert torch.equal(half(x), half.part(x, slice(None)))
    kernels.works.cache_clear()


@pytest.mark.parametrize("shape", [(24, 64), (32, 48), (32, 40)])
def test_shapes_that_no_kernel_takes_are_dequantized(shape):
    made = QuantizedLinear(nn.Linear(shape[1], shape[0]), 4)
    made.weight = torch.full((shape[0], shape[1] // 2), 0x11, dtype=torch.int8)
    made.weight_scale = torch.ones(shape[0]).half()
    made.bias = None
    with torch.inference_mode():
        out = made(torch.ones(2, shape[1], dtype=torch.bfloat16))
    assert torch.equal(out, torch.full((2, shape[0]), shape[1], dtype=torch.bfloat16))


def test_gradients_flow_to_the_input_also_where_a_kernel_would_do(linear):
    half = linear.bfloat16()
    x = X.bfloat16().requires_grad_()
    half(x).sum().backward()
    weight = half.values.double() * half.weight_scale.double()[:, None]
    torch.testing.assert_close(x.grad[0].double(), weight.sum(0), rtol=0.02, atol=0.05)


def test_the_scales_stay_as_they_are_in_every_type(linear):
    before = linear.weight_scale.clone()
    for changed in (linear.bfloat16(), linear.half(), linear.double()):
        assert changed.weight.dtype == torch.int8
        assert changed.weight_scale.dtype == torch.float16
        assert torch.equal(changed.weight_scale, before)
        assert changed.bias.dtype != torch.float32


def test_swapped_linears_load_integers_and_scales_by_the_names_of_the_release(linear):
    model = nn.Sequential(nn.Linear(64, 32), nn.LayerNorm(32))
    state = {f"0.{name}": tensor for name, tensor in linear.state_dict().items()}
    assert set(state) == {"0.weight", "0.weight_scale", "0.bias"}
    swap_linears(model, state, linear.bits)
    model.load_state_dict(model[1].state_dict(prefix="1.") | state)
    assert torch.equal(model[0](X), linear(X))


def test_dequantized_tensors_are_those_of_a_plain_model(linear):
    state = {f"a.{name}": tensor for name, tensor in linear.state_dict().items()}
    plain = dequantized(state | {"norm.weight": torch.ones(2)}, linear.bits, torch.float32)
    assert plain.keys() == {"a.weight", "a.bias", "norm.weight"}
    exact = linear.values.float() * linear.weight_scale.float()[:, None]
    assert torch.equal(plain["a.weight"], exact)
