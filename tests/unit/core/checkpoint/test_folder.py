"""Model folders: written whole, proved when they are read."""

import errno
import json
import os

import pytest
import torch

from glmctl.core.checkpoint.folder import (
    Found,
    is_model_folder,
    read_model_folder,
    write_model_folder,
)
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.errors import InputError, MachineError, UsageError
from glmctl.recipe.model import ModelConfig, TokenizerConfig

MODEL = ModelConfig(
    num_layers=1, hidden_size=4, num_attention_heads=1, max_positions=8, vocab_rows=128
)
TENSORS = {"word_embedding.weight": torch.arange(12.0).reshape(3, 4)}


@pytest.fixture
def tokenizer(tmp_path):
    path = tmp_path / "source" / "vocab.txt"
    path.parent.mkdir()
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    return load_tokenizer(TokenizerConfig(kind="wordpiece", path=str(path), special="glm-english"))


@pytest.fixture
def folder(tmp_path, tokenizer):
    return write_model_folder(
        tmp_path / "model",
        Found(
            MODEL,
            TENSORS,
            tokenizer,
            license="CC0-1.0",
            abilities=("token",),
            provenance={"recipe": "test"},
        ),
    )


def test_a_model_folder_comes_back_as_it_was_written(folder, tokenizer):
    assert is_model_folder(folder)
    read = read_model_folder(folder)
    assert read.config == MODEL
    assert torch.equal(read.tensors["word_embedding.weight"], TENSORS["word_embedding.weight"])
    assert read.tokenizer is not None
    assert read.tokenizer.fingerprint == tokenizer.fingerprint
    assert read.license == "CC0-1.0"
    assert read.abilities == ("token",)
    assert read.provenance == {"recipe": "test"}


def test_a_model_folder_can_be_moved(folder, tmp_path, tokenizer):
    moved = folder.rename(tmp_path / "elsewhere")
    read = read_model_folder(moved)
    assert read.tokenizer is not None
    assert read.tokenizer.fingerprint == tokenizer.fingerprint


def test_a_model_without_a_tokenizer_is_read_without_one(tmp_path):
    folder = write_model_folder(tmp_path / "bare", Found(MODEL, TENSORS, None))
    assert read_model_folder(folder).tokenizer is None


def test_a_flipped_bit_is_found(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        InputError, match=r"tensor word_embedding.weight: expected digest \w{32}, found \w{32}"
    ):
        read_model_folder(folder)


def test_a_missing_file_is_named(folder):
    (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"manifest.json: is missing"):
        read_model_folder(folder)


def test_a_config_with_an_unknown_key_is_refused(folder):
    with (folder / "config.toml").open("a") as file:
        file.write("\n[extra]\n")
    with pytest.raises(InputError, match=r"config.toml: is damaged: (.|\n)*extra"):
        read_model_folder(folder)


def test_a_newer_format_is_refused(folder):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 7}))
    with pytest.raises(InputError, match=r"format is 7, this version reads 1"):
        read_model_folder(folder)


def test_a_folder_of_something_else_is_not_overwritten(tmp_path, tokenizer):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "main.tex").write_text("")
    with pytest.raises(UsageError, match="holds files that are not a model"):
        write_model_folder(tmp_path / "thesis", Found(MODEL, TENSORS, tokenizer))


def test_a_full_disk_leaves_the_older_model(folder, tokenizer, monkeypatch):
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", fail)
        with pytest.raises(MachineError, match="No space left on device"):
            write_model_folder(folder, Found(MODEL, {}, tokenizer))
    assert read_model_folder(folder).tensors.keys() == TENSORS.keys()
    assert [path.name for path in folder.parent.iterdir() if "partial" in path.name] == []


def test_an_older_model_is_replaced(folder, tokenizer):
    newer = {"word_embedding.weight": torch.ones(3, 4)}
    write_model_folder(folder, Found(MODEL, newer, tokenizer))
    assert read_model_folder(folder).tensors["word_embedding.weight"][2, 3] == 1.0
    assert [path.name for path in folder.parent.iterdir() if "partial" in path.name] == []
