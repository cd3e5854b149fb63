import io

import pytest

from glmctl.errors import UsageError
from glmctl.recipe.schema import DecodeConfig
from glmctl.stages.infill import batches_of, decode_config


def test_lines_of_the_standard_input_are_read_in_batches(monkeypatch):
    stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"one\ntwo\r\n\nfour\nfive")))
    monkeypatch.setattr("sys.stdin", stream)
    batches = [*batches_of(None, 2)]
    assert batches == [[b"one", b"two"], [b"", b"four"], [b"five"]]


def test_texts_of_the_command_line_are_lines():
    assert [*batches_of(["one", "two", "b\udcff"], 2)] == [[b"one", b"two"], [b"b\xff"]]


def test_settings_come_from_flags_and_overrides():
    config = decode_config({"seed": 3, "top_k": None}, ["decode.temperature=0.5"])
    assert config == DecodeConfig(seed=3, temperature=0.5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("decode.top=4", "decode.top: unknown key; did you mean 'top_p'?"),
        ("decode.beams=4", "decode.beams: unknown key; known keys: max_new_tokens, temperature"),
        ("train.seed=4", "--set train.seed=4: is not of the form decode.key=value"),
        ("decode.temperature=-1", "decode.temperature: should be greater than or equal to 0; fou"),
        ("decode.seed=many", "decode.seed: should be a valid integer; found 'many'"),
        ("decode.top_k=4", "decode.top_k: 4 narrows a draw, and temperature 0 draws nothing; set"),
    ],
)
def test_every_wrong_setting_is_named(override, message):
    with pytest.raises(UsageError) as caught:
        decode_config({}, [override])
    assert message in str(caught.value)
