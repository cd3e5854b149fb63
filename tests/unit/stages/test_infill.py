import io

import pytest

from glmctl.errors import UsageError
from glmctl.recipe.schema import DecodeConfig
from glmctl.stages.infill import decode_config, read_line, text_of, windows_of


def test_lines_of_the_standard_input_are_read_in_windows_of_batches(monkeypatch):
    lines = b"one\ntwo\r\n\n" + b"more\n" * 30 + b"last"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(lines))))
    first, second, third = windows_of(None, 2)
    assert [*first.items()][:4] == [(1, b"one"), (2, b"two\r"), (3, b""), (4, b"more")]
    assert (len(first), second, third) == (32, {33: b"more"}, {34: b"last"})


def test_texts_of_the_command_line_are_lines():
    assert [*windows_of(["one", "b\udcff"], 2)] == [{1: b"one", 2: b"b\xff"}]


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (b'{"text": "a [MASK]", "id": 7}', {"text": "a [MASK]", "id": 7}),
        (b"a [MASK]", {"text": "a [MASK]"}),
        (b"a [MASK]\r", {"text": "a [MASK]"}),
        (b"{not [MASK]}", {"text": "{not [MASK]}"}),
        (b'{"word": "[MASK]"}', {"text": '{"word": "[MASK]"}'}),
    ],
)
def test_a_line_is_a_json_object_with_a_text_or_a_text_itself(line, read):
    assert read_line(line, {"text"}) == read


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"text": 5, "id": "b"}', 'not an object with a string "text"'),
        (b"\xff", "not UTF-8: byte 0xff at byte 0"),
        (rb'{"text": "a \ud800", "id": 1}', "half a surrogate pair at character 2"),
    ],
)
def test_a_line_without_a_text_says_what_is_wrong(line, problem):
    with pytest.raises(ValueError, match=problem):
        text_of(read_line(line, {"text"}))


def test_settings_come_from_flags_and_overrides():
    config = decode_config({"seed": 3, "top_k": None}, ["decode.temperature=0.5"])
    assert config == DecodeConfig(seed=3, temperature=0.5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("decode.beams=4", "decode.beams: unknown key; did you mean 'num_beams'?"),
        ("train.seed=4", "train: unknown key; known keys: decode"),
        (
            'decode.seed="4',
            "--set decode.seed=\"4: '\"4' is not a TOML value; close the quote or bracket",
        ),
        ("decode.temperature=-1", "decode.temperature: should be greater than or equal to 0; fou"),
        ("decode.seed=many", 'decode.seed: should be a valid integer; found "many"'),
        ("decode.top_k=4", "decode.top_k: 4 narrows a draw, and temperature 0 draws nothing; set"),
    ],
)
def test_every_wrong_setting_is_named(override, message):
    with pytest.raises(UsageError) as caught:
        decode_config({}, [override])
    assert message in str(caught.value)
