import shutil

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from glmctl.core.tokenizer.load import find_tokenizer, load_tokenizer
from glmctl.errors import InputError, MachineError, UsageError
from glmctl.recipe.model import TokenizerConfig


def test_the_default_tokenizer_is_in_the_package():
    tokenizer = find_tokenizer()
    assert tokenizer.is_lossless
    assert tokenizer.config == TokenizerConfig()


def test_the_kind_is_seen_from_the_file_and_the_layout_is_the_usual_one(
    wordpiece_file, bpe_folder, own_file
):
    names = [wordpiece_file, wordpiece_file.parent, bpe_folder, own_file, own_file.parent]
    found = [find_tokenizer(str(name)).config for name in names]
    assert [(config.kind, config.special) for config in found] == [
        ("wordpiece", "glm-english"),
        ("wordpiece", "glm-english"),
        ("byte_bpe", "glm-english"),
        ("sentencepiece", "glmctl"),
        ("sentencepiece", "glmctl"),
    ]


def test_a_model_with_two_possible_layouts_must_be_told(lossy_file):
    with pytest.raises(UsageError, match="add --special glm-chinese or glm-chinese-10b"):
        find_tokenizer(str(lossy_file))
    assert find_tokenizer(str(lossy_file), special="glm-chinese").config.special == "glm-chinese"
    found = find_tokenizer(str(lossy_file), otherwise="glm-chinese-10b")
    assert found.config.special == "glm-chinese-10b"


def test_a_model_folder_says_itself_what_it_holds(wordpiece_file, tmp_path):
    shutil.copy(wordpiece_file, tmp_path / "vocab.txt")
    (tmp_path / "config.toml").write_text(
        '[tokenizer]\nkind = "wordpiece"\npath = "vocab.txt"\nspecial = "glm-english-task"\n'
    )
    assert find_tokenizer(str(tmp_path)).special.gmask is not None


def test_a_relative_path_starts_in_the_folder(wordpiece_file):
    config = TokenizerConfig(kind="wordpiece", path="vocab.txt", special="glm-english")
    assert load_tokenizer(config, wordpiece_file.parent).size == 17


def test_an_unknown_name_is_refused_with_what_is_possible():
    with pytest.raises(InputError, match=r"nope: no such tokenizer; name a file.*glmctl-default"):
        find_tokenizer("nope")


def test_a_folder_without_a_vocabulary_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no vocabulary"):
        find_tokenizer(str(tmp_path))


def test_a_folder_with_several_vocabularies_is_refused(own_file, tmp_path):
    shutil.copy(own_file, tmp_path / "a.model")
    shutil.copy(own_file, tmp_path / "b.model")
    with pytest.raises(InputError, match=r"holds 2 files \*.model"):
        find_tokenizer(str(tmp_path))


@pytest.mark.parametrize("variable", ["GLMCTL_OFFLINE", "HF_HUB_OFFLINE"])
def test_nothing_is_fetched_offline(variable, monkeypatch, tmp_path):
    asked = {}

    def snapshot_download(repository, *, local_files_only, **_):
        asked[repository] = local_files_only
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(
        MachineError, match="hf:some/model: not on this machine, and the network is"
    ):
        find_tokenizer("hf:some/model")
    assert asked == {"some/model": True}


def test_a_fetched_vocabulary_is_used(monkeypatch, wordpiece_file):
    asked = {}

    def snapshot_download(repository, *, revision, **_):
        asked[repository] = revision
        return str(wordpiece_file.parent)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert find_tokenizer("hf:some/model@v1").size == 17
    assert set(asked.values()) == {"v1"}


def test_a_path_may_hold_a_variable(own_file, monkeypatch):
    section = TokenizerConfig(path="${VOCABULARIES}/" + own_file.name)
    with pytest.raises(UsageError, match="needs the environment variable VOCABULARIES"):
        load_tokenizer(section)
    monkeypatch.setenv("VOCABULARIES", str(own_file.parent))
    assert load_tokenizer(section).is_lossless
