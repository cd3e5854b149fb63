"""Opening the texts of a recipe."""

import datasets
import pytest

from glmctl.core.data.sharding import plan_shards, write_shards
from glmctl.core.data.shards import TokenStore
from glmctl.core.data.sources import DataSources, data_fingerprint
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.errors import InputError, UsageError
from glmctl.recipe.model import TokenizerConfig
from glmctl.recipe.schema import CorpusConfig, DataConfig


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
    text = CorpusConfig(name="text", path=str(folder / "text.txt"))
    plan = plan_shards([text], load_tokenizer(section))
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


def test_a_data_set_is_tokenized_into_the_folder(section, tmp_path, monkeypatch):
    datasets.Dataset.from_dict({"text": ["a b a", "b"]}).save_to_disk(tmp_path / "saved")
    monkeypatch.setenv("GLMCTL_TEST_SET", str(tmp_path / "saved"))
    config = DataConfig(corpus=(CorpusConfig(name="one", dataset="${GLMCTL_TEST_SET}"),))
    tokenizer = load_tokenizer(section)
    notes: list[str] = []
    opened = DataSources(config, tokenizer, tmp_path / "data", verify=True, note=notes.append)
    (store,) = opened.corpora()
    assert store.lengths.tolist() == [3, 1]
    assert notes == ["tokenizing ${GLMCTL_TEST_SET}"]


def test_a_recipe_may_leave_broken_rows_out(section, tmp_path):
    (tmp_path / "text.jsonl").write_text('{"text": "a b"}\n{\n{"text": "b"}\n')
    corpus = (CorpusConfig(name="one", path=str(tmp_path / "text.jsonl")),)
    tokenizer, folder = load_tokenizer(section), tmp_path / "data"
    strict = DataSources(DataConfig(corpus=corpus), tokenizer, folder, verify=True, note=print)
    with pytest.raises(InputError, match=r'jsonl:2: not JSON: .*data.on_error = "skip"'):
        strict.corpora()
    config = DataConfig(corpus=corpus, on_error="skip")
    with pytest.warns(UserWarning, match=r"1 broken row left out: .*text.jsonl:2: not JSON"):
        (store,) = DataSources(config, tokenizer, folder, verify=True, note=print).corpora()
    assert store.lengths.tolist() == [2, 1]


def test_the_fingerprint_changes_with_all_that_decides_what_a_row_holds(section, tmp_path):
    store = TokenStore.open(make_shards(section, tmp_path))
    corpus = CorpusConfig(name="one", path="text")
    config = DataConfig(corpus=(corpus,))

    def fingerprint(store: TokenStore = store, seed: int = 1, weight: float = 1.0, **data):
        weighted = corpus.model_copy(update={"weight": weight})
        section = config.model_copy(update={"corpus": (weighted,), **data})
        return data_fingerprint(section, [store], seed)

    def changed(**values):
        return TokenStore(store.folder, {**store.manifest, **values})

    shard = {**store.manifest["shards"][0], "digest": "0"}
    other_index = {**store.manifest["shards"][0], "index_digest": "0"}
    variants = [
        fingerprint(),
        fingerprint(seed=2),
        fingerprint(weight=2.0),
        fingerprint(sequence_length=8),
        fingerprint(pack=False),
        fingerprint(store=changed(tokenizer="other")),
        fingerprint(store=changed(shards=[shard])),
        fingerprint(store=changed(shards=[other_index])),
    ]
    assert len(set(variants)) == len(variants)
    assert fingerprint(on_error="skip") == variants[0]  # the shards say what it did
    assert all(len(variant) == 32 for variant in variants)
