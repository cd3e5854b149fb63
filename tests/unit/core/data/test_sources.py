"""Opening the texts of a recipe."""

import pytest

from glmctl.core.data.sharding import plan_shards, write_shards
from glmctl.core.data.sources import DataSources
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.errors import InputError, UsageError
from glmctl.recipe.schema import CorpusConfig, DataConfig, TokenizerConfig


@pytest.fixture
def section(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n")
    (tmp_path / "text.txt").write_text("a b a\nb\n")
    return TokenizerConfig(
        kind="wordpiece", path=str(tmp_path / "vocab.txt"), special="glm-english"
    )


def sources(section, folder, *paths: str, names: tuple[str, ...] = ("one", "two"), verify=True):
    corpus = tuple(
        CorpusConfig(name=name, path=path) for name, path in zip(names, paths, strict=False)
    )
    notes: list[str] = []
    config = DataConfig(corpus=corpus, probe=paths[0])
    opened = DataSources(
        config, load_tokenizer(section), folder / "data", verify=verify, note=notes.append
    )
    return opened, notes


def make_shards(section, folder):
    plan = plan_shards([folder / "text.txt"], section)
    write_shards(plan, folder / "shards", 1, advance=lambda _: None)
    return folder / "shards"


def test_text_is_tokenized_once_into_the_folder(section, tmp_path):
    opened, notes = sources(section, tmp_path, str(tmp_path / "text.txt"))
    (store,) = opened.corpora()
    assert store.tokens(0, 0, 3).tolist() == [5, 6, 5]
    assert len(notes) == 1
    (tmp_path / "text.txt").write_text("b\n")
    (store,) = opened.corpora()
    assert store.lengths.tolist() == [3, 1]
    assert len(notes) == 1


def test_shards_are_used_where_they_lie(section, tmp_path):
    folder = make_shards(section, tmp_path)
    opened, notes = sources(section, tmp_path, str(folder))
    assert opened.corpora()[0].folder == folder
    assert opened.held_out().folder == folder
    assert notes == []


def test_shards_of_another_tokenizer_are_refused(section, tmp_path):
    folder = make_shards(section, tmp_path)
    (tmp_path / "other.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nb\na\n")
    other = section.model_copy(update={"path": str(tmp_path / "other.txt")})
    opened, _ = sources(other, tmp_path, str(folder))
    with pytest.raises(InputError, match="made with the tokenizer"):
        opened.corpora()


def test_a_damaged_shard_is_found_when_a_run_begins(section, tmp_path):
    folder = make_shards(section, tmp_path)
    path = folder / "shard-00000.tokens"
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    opened, _ = sources(section, tmp_path, str(folder))
    with pytest.raises(InputError, match=r"shard-00000.tokens: damaged: its digest is"):
        opened.corpora()


@pytest.mark.parametrize("names", [("a", "a"), ("held-out", "b"), ("../up", "b")])
def test_names_that_would_not_be_folders_of_their_own_are_refused(section, tmp_path, names):
    path = str(tmp_path / "text.txt")
    opened, _ = sources(section, tmp_path, path, path, names=names)
    with pytest.raises(UsageError, match=rf"the name '{names[0]}' cannot be that of a folder"):
        opened.corpora()


def test_a_variable_that_is_not_set_is_an_error_when_the_data_is_opened(section, tmp_path):
    opened, _ = sources(section, tmp_path, "${GLMCTL_TEST_NO_SUCH}/text")
    with pytest.raises(UsageError, match="needs the environment variable GLMCTL_TEST_NO_SUCH"):
        opened.corpora()
