"""Files that lie or carry code are refused: nothing runs, and no claim takes memory."""

import io
import json
import os
import pickle
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from glmctl.core.checkpoint.find import find
from glmctl.errors import InputError

EMBEDDING = "transformer.embedding.word_embeddings.weight"
GIB = 1 << 30


class Call:
    """Calls a function of another module when it is unpickled the plain way."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def header(entries: object, data: bytes = b"\0" * 64, size: int | None = None) -> bytes:
    """A safetensors file with this header."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def saved(content: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def repacked(content: bytes, method: int, extra: bytes = b"") -> bytes:
    """The same zip file with its entries compressed, and one more."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(out, "w", method) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
        if extra:
            new.writestr("archive/data/bomb", extra)
    return out.getvalue()


GOOD = {EMBEDDING: torch.ones(16, 8)}
WIDE = {EMBEDDING: torch.ones(1).expand(1 << 40)}


def claiming(size: int, stride: int) -> bytes:
    """A pickle that gives a square tensor a shape that its storage does not hold."""
    out = io.BytesIO()
    honest = saved({EMBEDDING: torch.ones(4).view(2, 2)})
    with zipfile.ZipFile(io.BytesIO(honest)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                number, step = (b"\x8a\x08" + struct.pack("<q", n) for n in (size, stride))
                assert b"K\x02K\x02\x86" in data
                assert b"K\x02K\x01\x86" in data
                data = data.replace(b"K\x02K\x02\x86", number + number + b"\x86")
                data = data.replace(b"K\x02K\x01\x86", step + b"K\x01\x86")
            new.writestr(name, data)
    return out.getvalue()


PICKLES = {
    "os.system": pickle.dumps(Call(os.system, "touch trap")),
    "os.mkdir in a tensor file": saved({**GOOD, "x": Call(os.mkdir, "trap")}),
    "os.mkdir in the old format": saved(
        {**GOOD, "x": Call(os.mkdir, "trap")}, _use_new_zipfile_serialization=False
    ),
    "eval": saved({"x": Call(eval, "__import__('os').mkdir('trap')")}),
    "exec": saved({"x": Call(exec, "import os; os.mkdir('trap')")}),
    "open for writing": saved({"x": Call(open, "trap", "w")}),
    "a class of torch": saved({"x": torch.nn.Linear(2, 2)}),
    "getattr": saved({"x": Call(getattr, "a", "upper")}),
    "import": saved({"x": Call(__import__, "antigravity")}),
    "no dictionary": saved([torch.ones(2)]),
    "nothing": saved({}),
    "numbers for tensors": saved({EMBEDDING: 3}),
    "numbers for names": saved({3: torch.ones(2)}),
    "tables for tensors": saved({EMBEDDING: {"a": torch.ones(2)}}),
    "a tensor of terabytes": saved(WIDE),
    "a shape beyond its storage": claiming(1 << 20, 1 << 20),
    "a shape that overlaps itself": claiming(1 << 20, 0),
    "a sparse tensor": saved({EMBEDDING: torch.eye(3).to_sparse()}),
    "a cut file": saved(GOOD)[:600],
    "a cut file of the old format": saved(GOOD, _use_new_zipfile_serialization=False)[:300],
    "an empty file": b"",
    "text": b"not a model",
    "a compressed zip": repacked(saved(GOOD), zipfile.ZIP_DEFLATED),
    "a zip bomb": repacked(saved(GOOD), zipfile.ZIP_DEFLATED, b"\0" * (1 << 26)),
    "a zip without a pickle": repacked(b"PK\5\6" + b"\0" * 18, zipfile.ZIP_STORED),
}
SAFETENSORS = {
    "a header of an exabyte": header({}, size=1 << 60),
    "a header of four gigabytes": header({}, size=1 << 32),
    "a header beyond the end": header({EMBEDDING: entry(0, 64, [4, 4])}, size=10_000),
    "a tensor beyond the end": header({EMBEDDING: entry(0, 1 << 50, [1 << 48])}),
    "a tensor of an exabyte": header({EMBEDDING: entry(0, 1 << 60, [1 << 58])}),
    "sizes that overflow": header({EMBEDDING: entry(0, 64, [1 << 62, 1 << 62, 16])}),
    "overlapping tensors": header({"a": entry(0, 64, [16]), "b": entry(32, 64, [8])}),
    "a hole": header({"a": entry(0, 16, [4]), "b": entry(32, 64, [8])}),
    "bytes that nobody owns": header({"a": entry(0, 16, [4])}),
    "offsets that run backwards": header({"a": entry(64, 0, [16])}),
    "a shape that is not its size": header({"a": entry(0, 64, [17])}),
    "an unknown type": header({"a": entry(0, 64, [16], "F9")}),
    "a negative size": header({"a": entry(0, 64, [-16])}),
    "a header that is no JSON": header(b"{{{{"),
    "a header that is a list": header([1, 2]),
    "a header of deep brackets": header(b"[" * 100_000),
    "a cut file": header({"a": entry(0, 64, [16])})[:30],
    "an empty file": b"",
}


@pytest.fixture
def refuse(released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Opens a folder with this file; it must be refused, without code and without memory."""
    monkeypatch.chdir(tmp_path)

    def check(name: str, content: bytes) -> str:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(released.CHATGLM2_CONFIG))
        (folder / name).write_bytes(content)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(InputError) as caught:
            find(folder, None)
        assert not (tmp_path / "trap").exists()
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert grown < GIB / 4
        assert str(folder) in caught.value.place
        return str(caught.value)

    return check


@pytest.mark.parametrize("name", PICKLES)
def test_a_hostile_pickle_is_refused(refuse, name):
    refuse("pytorch_model.bin", PICKLES[name])


@pytest.mark.parametrize("name", SAFETENSORS)
def test_hostile_safetensors_are_refused(refuse, name):
    refuse("model.safetensors", SAFETENSORS[name])


def test_the_code_that_a_pickle_names_is_told(refuse):
    message = refuse("pytorch_model.bin", PICKLES["os.mkdir in a tensor file"])
    assert "it names the code posix.mkdir" in message
    assert "nothing in it was executed" in message


def test_a_compressed_zip_is_told(refuse):
    message = refuse("pytorch_model.bin", PICKLES["a zip bomb"])
    assert "its entries are compressed, which those of torch.save are not" in message


def test_a_shape_that_the_file_does_not_hold_is_told(refuse):
    message = refuse("pytorch_model.bin", PICKLES["a tensor of terabytes"])
    assert f"'{EMBEDDING}' is no plain tensor with a name" in message


CONFIGS = {
    "deep brackets": b"[" * 1_000_000,
    "a number of a million digits": b'{"num_layers": ' + b"9" * 1_000_000 + b"}",
    "bytes that are no text": b"\xff\xfe\x00",
    "a bomb of layers": b'{"model_type": "chatglm", "num_layers": 1000000000000000}',
    "an infinite epsilon": b'{"model_type": "chatglm", "layernorm_epsilon": 1e999}',
    "tables for numbers": b'{"model_type": "chatglm", "num_layers": {"a": []}}',
    "nothing": b"{}",
    "an empty file": b"",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_config_is_refused(released, tmp_path, name):
    folder = released.write(
        tmp_path / "m", released.CHATGLM2_CONFIG, released.tensors_of(released.CHATGLM2)
    )
    (folder / "config.json").write_bytes(CONFIGS[name])
    with pytest.raises(InputError) as caught:
        find(folder, None)
    assert caught.value.place == str(folder / "config.json")
