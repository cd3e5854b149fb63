import pytest
import torch

from glmctl.core.quantization.absmax import dequantize, pack, quantize, unpack
from glmctl.errors import InputError


def test_the_largest_weight_of_a_row_becomes_the_limit_and_halves_go_to_even():
    weight = torch.tensor([[127.0, -0.5, 1.5, 2.5], [7.0, -14.0, 0.0, 3.0]])
    values, scale = quantize(weight, 8, "w")
    assert values.tolist() == [[127, 0, 2, 2], [64, -127, 0, 27]]
    assert scale.tolist() == [1.0, 0.1102294921875]  # 14 / 127 as float16
    values, scale = quantize(weight, 4, "w")
    assert values.tolist() == [[7, 0, 0, 0], [4, -7, 0, 2]]
    assert scale.tolist() == [18.140625, 2.0]


def test_float16_weights_are_divided_in_float16():
    # 135 / 512 over float16(1 / 127) is 33.4884; in float16, whose steps are 1 / 32 there, 33.5.
    weight = torch.tensor([[1.0, 0.263671875]])
    assert quantize(weight, 8, "w")[0].tolist() == [[127, 33]]
    assert quantize(weight.half(), 8, "w")[0].tolist() == [[127, 34]]


@pytest.mark.parametrize("bits", [8, 4])
def test_a_row_of_zeros_or_of_weights_below_float16_becomes_0(bits):
    values, scale = quantize(torch.tensor([[0.0, 0.0], [1e-8, -1e-9]]), bits, "w")
    assert values.tolist() == [[0, 0], [0, 0]]
    assert scale.tolist() == [0.0, 0.0]
    assert dequantize(values, scale, torch.float32).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_integers_stay_within_the_limit_where_the_scale_is_a_coarse_float16():
    smallest = 2.0**-24
    values, scale = quantize(torch.tensor([[127 * 1.4 * smallest, -127 * 1.4 * smallest]]), 8, "w")
    assert scale.tolist() == [smallest]
    assert values.tolist() == [[127, -127]]


@pytest.mark.parametrize(
    ("weight", "problem"),
    [
        (float("nan"), "blocks.1: the largest weight of row 1 is nan, which has no float16 scale"),
        (float("inf"), "blocks.1: the largest weight of row 1 is inf"),
        (1e7, "row 1 is 1e[+]07"),
    ],
)
def test_a_weight_without_a_scale_is_refused(weight, problem):
    with pytest.raises(InputError, match=problem):
        quantize(torch.tensor([[1.0, 2.0], [1.0, weight]]), 8, "blocks.1")


def test_a_byte_holds_the_even_column_in_its_high_half():
    values = torch.tensor([[7, -7, 0, 3], [-1, 1, -8, 0]], dtype=torch.int8)
    packed = pack(values)
    assert [[byte & 0xFF for byte in row] for row in packed.tolist()] == [
        [0x79, 0x03],
        [0xF1, 0x80],
    ]
    assert torch.equal(unpack(packed), values)


def test_dequantized_weights_are_the_products_rounded_once():
    values, scale = torch.tensor([[127, -3]], dtype=torch.int8), torch.tensor([0.1]).half()
    exact = [127 * 0.0999755859375, -3 * 0.0999755859375]  # 0.1 as float16
    assert dequantize(values, scale, torch.float64).tolist() == [exact]
    assert dequantize(values, scale, torch.float16).tolist() == [[12.6953125, -0.2998046875]]
    assert dequantize(values, scale, torch.bfloat16).tolist() == [[12.6875, -0.30078125]]
