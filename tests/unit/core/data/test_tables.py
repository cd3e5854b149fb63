"""Documents from Parquet and from data sets of the library `datasets`."""

import os
import subprocess
import sys

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glmctl.core.data.documents import open_sources, read_documents
from glmctl.core.data.sharding import plan_shards, write_shards
from glmctl.core.data.shards import TokenStore
from glmctl.core.data.text import BrokenRows
from glmctl.core.tokenizer.load import load_tokenizer
from glmctl.errors import InputError, MachineError
from glmctl.recipe.model import TokenizerConfig
from glmctl.recipe.schema import CorpusConfig

TEXTS = [f"text {number}" for number in range(700)]
BAD_UTF8 = pa.StringArray.from_buffers(  # "a", then the byte ff, then "b"
    3, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffb")
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("GLMCTL_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def file(tmp_path):
    table = pa.table({"number": range(700), "text": TEXTS})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=200, compression="zstd")
    return tmp_path / "a.parquet"


def documents(broken: BrokenRows | None = None, **corpus: str) -> list[str]:
    sources = open_sources([CorpusConfig(name="a", **corpus)])
    broken = broken or BrokenRows("stop")
    return [text for source in sources for text in read_documents(source, broken)]


def test_a_column_of_parquet_is_read_in_order(file):
    assert documents(path=str(file)) == TEXTS


def test_a_folder_gives_its_parquet_files_among_the_others(file, tmp_path):
    (tmp_path / "b.txt").write_text("last\n")
    assert documents(path=str(tmp_path)) == [*TEXTS, "last"]


@pytest.mark.parametrize("share", [1, 2, 7])
def test_the_parts_of_a_parquet_file_share_its_rows_out(file, share):
    (source,) = open_sources([CorpusConfig(name="a", path=str(file))])
    parts = [*source.cut(source.cost // share + 4)]
    assert len(parts) == share
    assert sum(part.num_bytes for part in parts) == file.stat().st_size
    found = [[*read_documents(part, BrokenRows("stop"))] for part in parts]
    assert [text for texts in found for text in texts] == TEXTS
    assert sum(map(bool, found)) == min(share, 4)  # of four row groups


def test_categories_are_strings_too(tmp_path):
    table = pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "a.parquet")
    assert documents(path=str(tmp_path / "a.parquet")) == ["a", "b", "a"]


@pytest.mark.parametrize("column", ["body", "number"])
def test_a_column_that_cannot_be_read_is_refused(file, column):
    with pytest.raises(InputError) as caught:
        documents(path=str(file), column=column)
    assert str(caught.value) == (
        f"{file}: has no column {column!r} of strings; name another: number (int64), text (string)"
    )


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (pa.array(["a", None, "b"]), "null, not a string"),
        (BAD_UTF8, "not UTF-8: byte 0xff"),
    ],
)
def test_a_row_of_parquet_without_a_text_is_named_or_skipped(tmp_path, column, problem):
    file = tmp_path / "a.parquet"
    filler = pa.table({"text": [""] * 300})
    with pq.ParquetWriter(file, filler.schema) as writer:
        writer.write_table(filler)
        writer.write_table(pa.table({"text": column}))
    with pytest.raises(InputError, match=rf"a.parquet row 301 \(from 0\): {problem}; correct it"):
        documents(path=str(file))
    broken = BrokenRows("skip")
    assert documents(broken, path=str(file)) == ["a", "b"]
    assert [row.place for row in broken.first] == [301]


def cut(data: bytes, place: int) -> bytes:
    return data[:-10]


def zero(data: bytes, place: int) -> bytes:
    return data[: place + 30] + bytes(60) + data[place + 90 :]


@pytest.mark.parametrize("damage", [lambda *_: b"", lambda *_: b"PAR1 and not more", cut, zero])
def test_a_damaged_parquet_file_is_refused(file, damage):
    text = pq.read_metadata(file).row_group(2).column(1)
    file.write_bytes(damage(file.read_bytes(), text.dictionary_page_offset))
    with pytest.raises(
        InputError, match=r"a.parquet: damaged Parquet file \(.*\); copy or make it again"
    ):
        documents(path=str(file))


@pytest.fixture
def saved(tmp_path):
    rows = datasets.Dataset.from_dict({"number": range(700), "text": TEXTS})
    splits = datasets.DatasetDict({"train": rows, "test": rows.select(range(2))})
    splits.save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_split_of_a_saved_data_set_is_read(saved):
    assert documents(dataset=str(saved)) == TEXTS
    assert documents(dataset=str(saved), split="test") == TEXTS[:2]


def test_a_folder_with_files_is_read_as_datasets_reads_it(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"body": "one"}\n{"body": "two"}\n')
    (tmp_path / "set" / "test.jsonl").write_text('{"body": "three"}\n')
    place = str(tmp_path / "set")
    assert documents(dataset=place, column="body") == ["one", "two"]
    assert documents(dataset=place, column="body", split="test") == ["three"]
    assert documents(dataset=place, column="body", split="train[50%:]") == ["two"]


def test_the_parts_of_a_data_set_share_its_rows_out(saved):
    (source,) = open_sources([CorpusConfig(name="a", dataset=str(saved))])
    parts = [*source.cut(source.cost // 3)]
    assert len(parts) > 2
    assert sum(part.num_bytes for part in parts) == source.num_bytes
    found = [text for part in parts for text in read_documents(part, BrokenRows("stop"))]
    assert found == TEXTS


def test_a_row_of_a_data_set_without_a_text_is_named(tmp_path):
    datasets.Dataset.from_dict({"text": ["a"] * 300 + [None]}).save_to_disk(tmp_path / "one")
    with pytest.raises(
        InputError, match=r"hf:.*/one split train row 300 \(from 0\): null, not a string;"
    ):
        documents(dataset=str(tmp_path / "one"))


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ({"split": "dev"}, r"hf:.*saved split dev: cannot be read: .* has the splits train, test;"),
        ({"revision": "v1"}, r"saved@v1 split train: .*save_to_disk has no config and no revision"),
        ({"config": "en"}, r"saved config en split train: .* has no config and no revision"),
        ({"column": "body"}, r"has no column 'body' of strings; name another: number \(int64\), t"),
    ],
)
def test_what_a_data_set_does_not_have_is_named(saved, corpus, message):
    with pytest.raises(InputError, match=message):
        documents(dataset=str(saved), **corpus)


def test_a_data_set_of_one_split_has_no_other(tmp_path):
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "one")
    assert documents(dataset=str(tmp_path / "one")) == ["a"]
    with pytest.raises(InputError, match="this one has the splits train;"):
        documents(dataset=str(tmp_path / "one"), split="test")


def test_a_data_set_that_datasets_cannot_read_is_an_error_with_its_reason(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text('{"text": "one"}\n{"text":\n')
    with pytest.raises(InputError, match=r"set split train: cannot be read: .*JSON.*with path"):
        documents(dataset=str(tmp_path / "set"))
    (tmp_path / "set" / "train.jsonl").write_text('{"text": "one"}\n')
    with pytest.raises(InputError, match=r"split dev: cannot be read: Unknown split \"dev\""):
        documents(dataset=str(tmp_path / "set"), split="dev")


def test_offline_a_data_set_that_is_not_here_is_a_fault_of_the_machine():
    with pytest.raises(
        MachineError,
        match=r"^hf:nobody/nothing@abc split train: not on this machine, and the network is "
        r"switched off; unset GLMCTL_OFFLINE and HF_HUB_OFFLINE where .* files of your own with pa",
    ):
        documents(dataset="nobody/nothing", revision="abc")


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_tables_become_shards(saved, file, tmp_path, monkeypatch, processes):
    monkeypatch.setattr("glmctl.core.data.sharding.MIN_UNIT_BYTES", 3000)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ntext\n0\n")
    vocabulary = str(tmp_path / "vocab.txt")
    tokenizer = load_tokenizer(
        TokenizerConfig(kind="wordpiece", path=vocabulary, special="glm-english")
    )
    corpora = [
        CorpusConfig(name="set", dataset=str(saved)),
        CorpusConfig(name="file", path=str(file)),
    ]
    plan = plan_shards(corpora, tokenizer)
    done: list[int] = []
    manifest = write_shards(plan, tmp_path / "out", processes, advance=done.append)
    assert sum(done) == sum(source["num_bytes"] for source in manifest["sources"])
    assert len(manifest["shards"]) > 3
    store = TokenStore.open(tmp_path / "out")
    assert store.lengths.tolist() == [2] * 1400
    assert store.tokens(0, 0, 2).tolist() == store.tokens(700, 0, 2).tolist() == [5, 6]
    again = plan_shards(corpora, tokenizer)
    assert write_shards(again, tmp_path / "out", 1, advance=print) == manifest


def test_text_is_read_without_pyarrow_or_datasets(tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    code = (
        "import sys\n"
        "from glmctl.core.data.documents import open_sources, read_documents\n"
        "from glmctl.core.data.text import BrokenRows\n"
        "from glmctl.recipe.schema import CorpusConfig\n"
        "(source,) = open_sources([CorpusConfig(name='a', path='a.txt')])\n"
        "assert [*read_documents(source, BrokenRows('stop'))] == ['one']\n"
        "sys.exit(any(name in sys.modules for name in ('pyarrow', 'datasets', 'torch')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, check=False)
    assert done.returncode == 0
