"""Absmax quantization against what the released ChatGLM code recorded."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from glmctl.core.checkpoint.find import find
from glmctl.core.open import load
from glmctl.core.quantization.absmax import dequantize, pack, quantize, unpack

CASES = [(dtype, bits) for dtype in ("fp16", "fp32") for bits in (8, 4)]


@pytest.fixture
def arrays(recorded) -> dict[str, Tensor]:
    with np.load(recorded("quantization/expected.npz")) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.mark.parametrize(("dtype", "bits"), CASES)
def test_integers_and_scales_equal_the_released_code(arrays, dtype, bits):
    values, scale = quantize(arrays[f"weight_{dtype}"], bits, "weight")
    assert torch.equal(values, arrays[f"{dtype}_int{bits}_q"])
    assert torch.equal(scale, arrays[f"{dtype}_int{bits}_scale_half"])


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_packed_bytes_equal_the_released_code_and_come_back(arrays, dtype):
    values, packed = arrays[f"{dtype}_int4_q"], arrays[f"{dtype}_int4_packed"]
    assert torch.equal(pack(values), packed)
    assert torch.equal(unpack(packed), values)


@pytest.mark.parametrize(("dtype", "bits"), CASES)
def test_dequantized_weights_equal_the_released_kernels(arrays, dtype, bits):
    name = f"{dtype}_int{bits}"
    values, scale = arrays[f"{name}_q"], arrays[f"{name}_scale_half"]
    for theirs in (arrays[f"{name}_dequant_float"], arrays[f"{name}_dequant_half"]):
        ours = dequantize(values, scale, theirs.dtype)
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("bits", [8, 4])
def test_outputs_of_a_linear_equal_the_released_kernels(arrays, bits):
    values, scale = arrays[f"fp16_int{bits}_q"], arrays[f"fp16_int{bits}_scale_half"]
    ours = F.linear(arrays["x"], dequantize(values, scale, torch.float32))
    theirs = arrays[f"fp16_int{bits}_linear_float"]
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
def test_every_linear_of_a_released_model_has_our_bytes_and_scales(recorded, bits):
    released = find(recorded(f"chatglm1_int{bits}"), None).tensors
    plain = find(recorded("chatglm1"), None).tensors
    linears = [name for name in released if f"{name}_scale" in released]
    assert linears
    for name in linears:
        values, scale = quantize(plain[name].half(), bits, name)  # as it was before it had integers
        assert torch.equal(values if bits == 8 else pack(values), released[name])
        assert torch.equal(scale, released[f"{name}_scale"])


@pytest.mark.parametrize("bits", [8, 4])
def test_a_released_quantized_model_is_written_anew_with_its_integers(recorded, bits, tmp_path):
    source = recorded(f"chatglm1_int{bits}")
    released = find(source, None)
    written = find(load(source).save(tmp_path / "copy"), None)
    assert written.quantize == released.quantize
    assert written.tensors.keys() == released.tensors.keys()
    for name, tensor in released.tensors.items():
        assert torch.equal(written.tensors[name], tensor), name
    with np.load(source / "expected.npz") as file:
        ids, theirs = torch.from_numpy(file["input_ids"]), file["logits"]
    with torch.inference_mode():
        ours = load(tmp_path / "copy", dtype="float32").logits(ids)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-4)
